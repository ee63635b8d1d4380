package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// target is where a server listens: "host:port", or "unix:/path".
type target string

func (t target) dial() (net.Conn, error) {
	if path, ok := strings.CutPrefix(string(t), "unix:"); ok {
		return net.Dial("unix", path)
	}
	return net.Dial("tcp", string(t))
}

// asking is what clients ask: each of the requests in turn, and the status
// that every answer has to have.
type asking struct {
	requests [][]byte
	status   int
}

// client is one kept-alive connection.
type client struct {
	conn   net.Conn
	r      *bufio.Reader
	status string
	asked  bool
}

func (t target) client(status int) (*client, error) {
	conn, err := t.dial()
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(5 * time.Minute))
	return &client{conn: conn, r: bufio.NewReaderSize(conn, 16<<10), status: strconv.Itoa(status)}, nil
}

func (c *client) close() { _ = c.conn.Close() }

// ask sends one request and reads its answer.
func (c *client) ask(request []byte) error {
	if _, err := c.conn.Write(request); err != nil {
		return err
	}
	if c.asked {
		status, err := c.answered()
		if err == nil && status != c.status {
			err = fmt.Errorf("answered %s, want %s", status, c.status)
		}
		return err
	}
	c.asked = true // once with all of HTTP, to be sure that answers have no surprises
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(resp.Status, c.status) {
		return fmt.Errorf("answered %s, want %s", resp.Status, c.status)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return errors.Join(err, resp.Body.Close())
}

// answered reads one answer and tells its status.
func (c *client) answered() (string, error) {
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return "", err
	}
	if len(line) < 12 {
		return "", fmt.Errorf("answered %q", line)
	}
	status, length, chunked := c.status, 0, false
	if string(line[9:12]) != status {
		status = string(line[9:12])
	}
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return "", err
		}
		if len(line) <= 2 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return "", err
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = true
		}
	}
	if !chunked {
		_, err = c.r.Discard(length)
		return status, err
	}
	return status, c.skipChunks()
}

func (c *client) skipChunks() error {
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return err
		}
		n, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 16, 32)
		if err != nil {
			return err
		}
		if _, err := c.r.Discard(int(n) + 2); err != nil || n == 0 {
			return err
		}
	}
}

// each runs do over so many connections at once, and answers the first error.
func (t target) each(connections, status int, do func(n int, c *client) error) error {
	var wg sync.WaitGroup
	errs := make(chan error, connections)
	for n := range connections {
		wg.Go(func() {
			c, err := t.client(status)
			if err == nil {
				defer c.close()
				err = do(n, c)
			}
			if err != nil {
				errs <- err
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

// connections is how many clients ask at once where nothing else is said.
const connections = 8

// drive asks so many times, as fast as answers come.
func (t target) drive(a asking, requests int) error {
	return t.each(connections, a.status, func(n int, c *client) error {
		for i := range requests / connections {
			if err := c.ask(a.requests[(n*len(a.requests)/connections+i)%len(a.requests)]); err != nil {
				return err
			}
		}
		return nil
	})
}

// rate answers how many requests a second are answered over so many
// connections.
func (t target) rate(a asking, connections int, d time.Duration) (float64, error) {
	var mu sync.Mutex
	total := 0
	start := time.Now()
	err := t.each(connections, a.status, func(n int, c *client) error {
		i := 0
		for ; time.Since(start) < d; i++ {
			if err := c.ask(a.requests[(n+i)%len(a.requests)]); err != nil {
				return err
			}
		}
		mu.Lock()
		defer mu.Unlock()
		total += i
		return nil
	})
	return float64(total) / time.Since(start).Seconds(), err
}

// pace asks at a constant rate whether answers come or not, and tells how long
// each took. A question that had to wait for its connection, because the answer
// before was late, counts from when it was due.
func (t target) pace(a asking, rate float64, connections int, d time.Duration) ([]time.Duration, error) {
	var mu sync.Mutex
	var all []time.Duration
	gap := time.Duration(float64(connections) / rate * float64(time.Second))
	start := time.Now().Add(50 * time.Millisecond)
	err := t.each(connections, a.status, func(n int, c *client) error {
		var took []time.Duration
		due := start.Add(gap * time.Duration(n) / time.Duration(connections))
		free := time.Now()
		for i := 0; due.Sub(start) < d; i++ {
			wait(due)
			from := time.Now()
			if free.After(due) {
				from = due
			}
			if err := c.ask(a.requests[(n+i)%len(a.requests)]); err != nil {
				return err
			}
			free = time.Now()
			took = append(took, free.Sub(from))
			due = due.Add(gap)
		}
		mu.Lock()
		defer mu.Unlock()
		all = append(all, took...)
		return nil
	})
	return all, err
}

func wait(due time.Time) {
	if d := time.Until(due); d > 0 {
		time.Sleep(d)
	}
}
