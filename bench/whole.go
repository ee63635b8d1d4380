package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// front is a real reverse proxy, configured with what `akprox snippet` prints.
type front struct {
	name, snippet string
	unix          bool
	asks          func(conf string, printed, auth target) string // puts who is asked in the place of akprox; nil: by the address
	start         func(l *lab, listen target, conf string) (*exec.Cmd, error)
	unguarded     func(conf string) string // the same without the question
}

func fronts() []front {
	noAuth := regexp.MustCompile(`(?m)^\s*auth_request\s+/.*$`)
	noForward := regexp.MustCompile(`(?s)\t+forward_auth .*?\n\t\t\t\}\n`)
	nginx := front{name: "nginx", snippet: "nginx", start: startNginx, unguarded: func(conf string) string { return noAuth.ReplaceAllString(conf, "") }}
	overUnix := nginx
	overUnix.name, overUnix.unix = "nginx, unix socket", true
	caddy := front{name: "Caddy", snippet: "caddy", start: startCaddy, unguarded: func(conf string) string { return noForward.ReplaceAllString(conf, "") }}
	overH2C := caddy
	overH2C.name = "Caddy, h2c"
	overH2C.asks = func(conf string, printed, auth target) string {
		return strings.ReplaceAll(conf, "forward_auth "+string(printed), "forward_auth h2c://"+string(auth))
	}
	caddyUnix := caddy
	caddyUnix.name, caddyUnix.unix = "Caddy, unix socket", true
	caddyUnix.asks = func(conf string, printed, auth target) string { // "unix//path" is written there
		return strings.ReplaceAll(conf, strings.Replace(string(printed), ":", "/", 1), strings.Replace(string(auth), ":", "/", 1))
	}
	traefik := front{name: "Traefik", snippet: "traefik", start: startTraefik, unguarded: func(conf string) string {
		return strings.ReplaceAll(conf, "middlewares: [akprox-wiki]", "middlewares: []")
	}}
	return []front{nginx, overUnix, caddy, caddyUnix, overH2C, traefik}
}

// wholeWay compares a proxy that asks akprox with the same one that asks the
// floor: throughput, and the latency that asking adds.
func wholeWay(l *lab, t trial) ([]row, error) {
	program, err := l.startFloor(reply{http.StatusOK, http.Header{"Content-Type": {"text/plain"}}, "the guarded program\n"}, "")
	if err != nil {
		return nil, err
	}
	defer program.kill()
	var rows []row
	for _, f := range fronts() {
		more, err := l.through(f, program.at)
		for i := range more {
			more[i].name = t.name + " through " + f.name + more[i].name
		}
		if err != nil {
			more = []row{{name: t.name + " through " + f.name, missing: err.Error()}}
		}
		rows = append(rows, more...)
	}
	return rows, nil
}

const (
	wholeConnections = 16
	wholeTime        = 1500 * time.Millisecond
)

// cpuWith answers the CPU time of a proxy, its children, and whom it asks.
func cpuWith(proxy, asked *server) (time.Duration, error) {
	pids := []int{proxy.pid()}
	if asked != nil {
		pids = append(pids, asked.pid())
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", proxy.pid(), proxy.pid()))
	if err != nil {
		return 0, err
	}
	for _, field := range strings.Fields(string(children)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			return 0, err
		}
		pids = append(pids, pid)
	}
	var all time.Duration
	for _, pid := range pids {
		used, err := cpu(pid)
		if err != nil {
			return 0, err
		}
		all += used
	}
	return all, nil
}

func (l *lab) through(f front, program target) ([]row, error) {
	ours, floor, err := l.pair(&cpuTrial{document: edit(smallDocument, refusedOnly, allLogged), path: traefikPath, headers: signedIn, status: http.StatusOK, unix: f.unix})
	if err != nil {
		return nil, err
	}
	defer ours.kill()
	defer floor.kill()
	printed, err := exec.Command(l.binary, "snippet", f.snippet, "--config", ours.config).Output()
	if err != nil {
		return nil, fmt.Errorf("akprox snippet: %w", err)
	}
	// What the browser sends: its session, and nothing of the proxy's.
	session := ours.requests[0][bytes.Index(ours.requests[0], []byte("Cookie: ")):]
	line, _, _ := strings.Cut(string(session), "\r\n")
	asked := asking{[][]byte{request("/page/of/a/wiki?id=42", line, "Accept: text/html", "User-Agent: Mozilla/5.0")}, http.StatusOK}
	var by [3]contestant // asks nobody, the floor, akprox
	for i, auth := range []target{"", floor.at, ours.at} {
		s, err := l.startFront(f, string(printed), ours.at, auth, program)
		if err != nil {
			return nil, err
		}
		defer s.kill()
		by[i] = contestant{s, asked}
	}
	return l.compareFronts(by, [3]*server{nil, floor.server, ours.server})
}

// compareFronts compares the three proxies; asked are who they ask.
func (l *lab) compareFronts(by [3]contestant, asked [3]*server) ([]row, error) {
	var rates, costs, delays [3][]float64
	for round := range l.rounds + 1 {
		for n := range by {
			i := (n + round) % len(by) // nobody is always the first after another
			c := by[i]
			before, err := cpuWith(c.server, asked[i])
			if err != nil {
				return nil, err
			}
			rate, err := c.at.rate(c.asking, wholeConnections, wholeTime)
			if err != nil {
				return nil, err
			}
			after, err := cpuWith(c.server, asked[i])
			if err != nil {
				return nil, err
			}
			took, err := c.alone(300)
			if err != nil {
				return nil, err
			}
			if round > 0 { // the first warms up
				rates[i], delays[i] = append(rates[i], rate), append(delays[i], took.Seconds()*1000)
				costs[i] = append(costs[i], (after-before).Seconds()*1e6/(rate*wholeTime.Seconds()))
			}
		}
	}
	through := ratio(rates[2], rates[1])
	bare, floor, ours := median(delays[0]), median(delays[1]), median(delays[2])
	return []row{
		{
			name: ", requests a second", floor: fmt.Sprintf("%.0f", median(rates[1])), akprox: fmt.Sprintf("%.0f", median(rates[2])),
			ratio: fmt.Sprintf("%.2f", through), target: "≥ 0.85", value: 0.85, limit: through,
		},
		{
			name: ", CPU time of the proxy and of whom it asks", floor: micros(median(costs[1])), akprox: micros(median(costs[2])),
			ratio: fmt.Sprintf("%.2f", ratio(costs[2], costs[1])), why: "the line above holds it",
		},
		{
			name: ", latency that asking adds", floor: fmt.Sprintf("%.3f ms", floor-bare), akprox: fmt.Sprintf("%.3f ms", ours-bare),
			ratio: fmt.Sprintf("%.2f", (ours-bare)/(floor-bare)), why: "a small difference of medians that a shared machine moves",
		},
	}, nil
}

// alone answers the median of how long one client waits that asks one by one.
func (c contestant) alone(requests int) (time.Duration, error) {
	var all []time.Duration
	err := c.at.each(1, c.status, func(_ int, one *client) error {
		for range requests {
			start := time.Now()
			if err := one.ask(c.requests[0]); err != nil {
				return err
			}
			all = append(all, time.Since(start))
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return percentile(all, .5), nil
}

// startFront starts the proxy with the printed configuration, but that it asks
// auth in the place of printed; "" asks nobody.
func (l *lab) startFront(f front, conf string, printed, auth, program target) (*server, error) {
	if auth == "" {
		conf, auth = f.unguarded(conf), printed
	}
	if f.asks != nil {
		conf = f.asks(conf, printed, auth)
	}
	conf = edit(conf, string(printed), string(auth), "127.0.0.1:8080", string(program))
	at, err := l.freeAddr()
	if err != nil {
		return nil, err
	}
	cmd, err := f.start(l, at, conf)
	if err != nil {
		return nil, err
	}
	out, err := os.Create(l.file(f.snippet + ".log"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = out.Close() }()
	cmd.Stdout, cmd.Stderr = out, out
	s, err := begin(cmd, at)
	for range 100 {
		if err != nil {
			break
		}
		var heard reply
		if heard, err = s.heard(request("/akprox/ping", "Connection: close")); err == nil && heard.Status == http.StatusNoContent || auth != printed {
			time.Sleep(500 * time.Millisecond) // Traefik listens before it has read its routes
			return s, err
		}
		time.Sleep(100 * time.Millisecond)
	}
	text, _ := os.ReadFile(out.Name())
	return nil, fmt.Errorf("%s: not up: %w\n%s", f.name, err, text[max(0, len(text)-1000):])
}

// part answers the path of a program that `make parts` has built.
func part(name string) (string, error) {
	text, err := os.ReadFile("e2e/parts/parts.txt")
	if err != nil {
		return "", err
	}
	dir := os.Getenv("AKPROX_PARTS")
	if home, err := os.UserHomeDir(); dir == "" && err == nil {
		dir = filepath.Join(home, ".cache", "akprox", "parts")
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == name {
			path := filepath.Join(dir, name+"-"+fields[1])
			if _, err := os.Stat(path); err == nil {
				return path, nil
			}
		}
	}
	return "", fmt.Errorf("%w: %s is not here (make parts)", errMissing, name)
}

func startNginx(l *lab, at target, conf string) (*exec.Cmd, error) {
	path, err := exec.LookPath("/usr/sbin/nginx")
	if err != nil {
		return nil, fmt.Errorf("%w: nginx is not here", errMissing)
	}
	dir := l.file("nginx")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;\n"
	}
	file, err := l.write("nginx.conf", user+`daemon off;
worker_processes auto;
pid nginx.pid;
error_log stderr error;
events { worker_connections 512; }
http {
	access_log off;
	keepalive_requests 1000000000; # a client is one connection
	client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
`+strings.ReplaceAll(conf, "listen 80;", "listen "+string(at)+";")+"\n}\n")
	return exec.Command(path, "-p", dir, "-e", "stderr", "-c", file), err
}

func startCaddy(l *lab, at target, conf string) (*exec.Cmd, error) {
	path, err := part("caddy")
	if err != nil {
		return nil, err
	}
	_, port, _ := strings.Cut(string(at), ":")
	file, err := l.write("Caddyfile", "{\n\tadmin off\n\tauto_https off\n\tdefault_bind 127.0.0.1\n\tstorage file_system "+l.file("caddy")+"\n}\n"+
		strings.ReplaceAll(conf, "http://"+host+" {", "http://"+host+":"+port+" {"))
	return exec.Command(path, "run", "--adapter", "caddyfile", "--config", file), err
}

func startTraefik(l *lab, at target, conf string) (*exec.Cmd, error) {
	path, err := part("traefik")
	if err != nil {
		return nil, err
	}
	file, err := l.write("traefik.yml", conf)
	return exec.Command(path, "--entryPoints.web.address="+string(at), "--providers.file.filename="+file,
		"--global.checkNewVersion=false", "--global.sendAnonymousUsage=false", "--log.level=ERROR"), err
}
