package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"
)

// ErrNobody says that no akprox serves the store.
var ErrNobody = errors.New("no akprox serves this store")

// Remote is the sessions of the akprox that has a store open.
type Remote struct{ client *http.Client }

// Dial finds the akprox that serves the store in folder; ErrNobody when there
// is none, or one has died.
func Dial(ctx context.Context, folder string) (Remote, error) {
	path, err := socketPath(folder)
	if err != nil {
		return Remote{}, err
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "unix", path)
	}
	conn, err := dial(ctx, "", "")
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTSOCK):
		return Remote{}, ErrNobody
	case errors.Is(err, fs.ErrPermission):
		return Remote{}, fmt.Errorf("%s is closed to you; run this as the user that akprox runs as", path)
	case err != nil:
		return Remote{}, err
	}
	_ = conn.Close()
	return Remote{&http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}, nil
}

// List implements Sessions.
func (r Remote) List(ctx context.Context, subject, provider string, each func(Session) error) error {
	query := url.Values{"subject": {subject}, "provider": {provider}}
	_, err := r.ask(ctx, http.MethodGet, "/sessions?"+query.Encode(), nil, each)
	return err
}

// End implements Sessions.
func (r Remote) End(ctx context.Context, subject, provider string) (int, error) {
	body, err := json.Marshal(order{subject, provider})
	if err != nil {
		return 0, err
	}
	return r.ask(ctx, http.MethodPost, "/sessions/end", body, func(Session) error { return nil })
}

// ask makes one request, tells each of the sessions in the answer, and answers
// how many were ended.
func (r Remote) ask(ctx context.Context, method, path string, body []byte, each func(Session) error) (int, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://akprox"+path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return 0, fmt.Errorf("ask the running akprox: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	lines := json.NewDecoder(resp.Body)
	for {
		var l line
		switch err := lines.Decode(&l); {
		case errors.Is(err, io.EOF):
			return 0, errors.New("the running akprox broke off its answer; ask again")
		case err != nil:
			return 0, fmt.Errorf("the running akprox answers something else (HTTP %d); is it of another version?", resp.StatusCode)
		case l.Error != "":
			return l.Ended, errors.New("the running akprox says: " + l.Error)
		case l.Done:
			return l.Ended, nil
		case l.Session != nil:
			if err := each(*l.Session); err != nil {
				return 0, err
			}
		}
	}
}
