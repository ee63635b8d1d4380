package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// connections is how many clients ask at once.
const connections = 8

// drive sends requests over kept-alive connections and checks each status.
func drive(addr string, request []byte, status string, requests int) error {
	var wg sync.WaitGroup
	errs := make(chan error, connections)
	for range connections {
		wg.Go(func() {
			if err := client(addr, request, status, requests/connections); err != nil {
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

func client(addr string, request []byte, status string, requests int) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(2 * time.Minute))
	r := bufio.NewReaderSize(conn, 16<<10)
	for i := range requests {
		if _, err := conn.Write(request); err != nil {
			return err
		}
		if i == 0 { // once with all of HTTP, to be sure that answers have no surprises
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				return err
			}
			if !strings.HasPrefix(resp.Status, status) {
				return fmt.Errorf("answered %s, want %s", resp.Status, status)
			}
			_, err = io.Copy(io.Discard, resp.Body)
			if err = errors.Join(err, resp.Body.Close()); err != nil {
				return err
			}
			continue
		}
		if err := skip(r, status); err != nil {
			return err
		}
	}
	return nil
}

// skip reads one answer.
func skip(r *bufio.Reader, status string) error {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return err
	}
	if got := string(line[9:12]); got != status {
		return fmt.Errorf("answered %s, want %s", got, status)
	}
	length := 0
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) <= 2 {
			break
		}
		if n, ok := strings.CutPrefix(string(line), "Content-Length: "); ok {
			_, _ = fmt.Sscan(n, &length)
		}
	}
	_, err = r.Discard(length)
	return err
}
