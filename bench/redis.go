package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/akprox/akprox/outpost/store"
	"github.com/akprox/akprox/outpost/store/redis"
)

var inRedis = edit(peopleDocument, memoryStore, redisStore)

// peopleInRedis makes sessions in Redis and answers their Cookie headers.
func (l *lab) peopleInRedis(sessions int) ([]string, error) {
	if err := l.startRedis(); err != nil {
		return nil, err
	}
	seal, err := key("store")
	if err != nil {
		return nil, err
	}
	st, err := redis.New(redis.Options{URL: "redis://" + string(l.redis.at), Keys: [][]byte{seal}})
	if err != nil {
		return nil, err
	}
	for range 200 { // it connects by itself
		if _, err = st.Get(context.Background(), "ready"); err == nil || errors.Is(err, store.ErrNotFound) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	var cookies []string
	err = signInMany(st, sessions, 8000*time.Hour, func(cookie string) error {
		cookies = append(cookies, cookie)
		return nil
	})
	return cookies, errors.Join(err, st.Close())
}

// firstSight counts what Redis is asked when an instance meets a session.
func firstSight(l *lab, t trial) ([]row, error) {
	const sessions = 5000
	cookies, err := l.peopleInRedis(sessions)
	if err != nil {
		return nil, err
	}
	s, err := l.startAkprox(inRedis, "")
	if err != nil {
		return nil, err
	}
	defer s.kill()
	before, err := l.redisInfo()
	if err != nil {
		return nil, err
	}
	cpuBefore, err := cpu(s.pid())
	if err != nil {
		return nil, err
	}
	err = s.at.each(1, 200, func(_ int, c *client) error {
		for _, cookie := range cookies {
			if err := c.ask(request(traefikPath, with(traefikAsks, cookie)...)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	cpuAfter, err := cpu(s.pid())
	if err != nil {
		return nil, err
	}
	after, err := l.redisInfo()
	trips := (after["total_reads_processed"] - before["total_reads_processed"]) / sessions
	gets := (after["get"] - before["get"]) / sessions
	return []row{{
		name: t.name, target: "1 round trip", value: math.Round(trips*100) / 100, limit: 1.02,
		akprox: fmt.Sprintf("%.2f GET, %.2f round trips, %s", gets, trips, micros(float64((cpuAfter-cpuBefore).Microseconds())/sessions)),
	}}, err
}

// redisInfo answers the numbers of INFO, and how often each command was called.
func (l *lab) redisInfo() (map[string]float64, error) {
	_, port, _ := strings.Cut(string(l.redis.at), ":")
	out, err := exec.Command("redis-cli", "-p", port, "INFO", "everything").Output()
	if err != nil {
		return nil, fmt.Errorf("redis-cli: %w", err)
	}
	all := map[string]float64{}
	for line := range strings.Lines(string(out)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if command, ok := strings.CutPrefix(name, "cmdstat_"); ok {
			name = command
			value, _, _ = strings.Cut(strings.TrimPrefix(value, "calls="), ",")
		}
		if n, err := strconv.ParseFloat(value, 64); err == nil {
			all[name] = n
		}
	}
	return all, nil
}

// endedSession measures how long another instance accepts a session that has
// been signed out at this one, from the sending of the sign-out on.
func endedSession(l *lab, t trial) ([]row, error) {
	const sessions = 1000
	cookies, err := l.peopleInRedis(sessions)
	if err != nil {
		return nil, err
	}
	here, err := l.startAkprox(inRedis, "")
	if err != nil {
		return nil, err
	}
	defer here.kill()
	there, err := l.startAkprox(inRedis, "")
	if err != nil {
		return nil, err
	}
	defer there.kill()
	atHere, err := here.at.client(200)
	if err != nil {
		return nil, err
	}
	defer atHere.close()
	atThere, err := there.at.client(200)
	if err != nil {
		return nil, err
	}
	defer atThere.close()
	var took []time.Duration
	late := 0
	for _, cookie := range cookies {
		check := request(traefikPath, with(traefikAsks, cookie)...)
		if err := errors.Join(atThere.ask(check), atHere.ask(check)); err != nil {
			return nil, fmt.Errorf("before the sign-out: %w", err)
		}
		start := time.Now()
		if _, err := atHere.tell(request("/akprox/sign_out", cookie, "Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: navigate", "Accept: text/html")); err != nil {
			return nil, err
		}
		status, err := atHere.tell(check)
		if err != nil {
			return nil, err
		}
		if status == "200" {
			late++
		}
		for {
			if status, err = atThere.tell(check); err != nil {
				return nil, err
			}
			if status != "200" {
				break
			}
			if time.Since(start) > 10*time.Second {
				return nil, errors.New("a session that was signed out goes on elsewhere")
			}
		}
		took = append(took, time.Since(start))
	}
	p99 := percentile(took, .99)
	return []row{
		{
			name: t.name + ", refused by another instance over Redis: 99th percentile of 1,000", akprox: fmt.Sprintf("%s (median %s, longest %s)", millis(p99), millis(percentile(took, .5)), millis(percentile(took, 1))),
			target: "≤ 100 ms", value: p99.Seconds(), limit: 0.1,
		},
		{name: t.name + ", accepted once more by the instance that ended it", akprox: fmt.Sprintf("%d of %s", late, thousands(sessions)), target: "0", value: float64(late), limit: 0.5},
	}, nil
}

// tell asks and tells the answer's status.
func (c *client) tell(request []byte) (string, error) {
	if _, err := c.conn.Write(request); err != nil {
		return "", err
	}
	return c.answered()
}
