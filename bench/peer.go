package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
)

// besidePeer compares akprox with oauth2-proxy on the same work: a session in a
// cookie there and in the disk store here, or in Redis; with a log line for each
// request and without.
func besidePeer(l *lab, t trial) ([]row, error) {
	binary, err := l.build("bench/peers/oauth2-proxy", "oauth2-proxy", "github.com/oauth2-proxy/oauth2-proxy/v7")
	if err != nil {
		return nil, err
	}
	var rows []row
	for _, c := range []struct {
		name, store    string
		inRedis, lines bool
	}{
		{"disk store here, cookie there; no log", diskStore(l.file("store")), false, false},
		{"disk store here, cookie there; a line for each", diskStore(l.file("store")), false, true},
		{"Redis; no log", redisStore, true, false},
		{"Redis; a line for each", redisStore, true, true},
	} {
		document := edit(smallDocument, memoryStore, c.store)
		if c.lines {
			document = edit(document, refusedOnly, allLogged)
		}
		r, err := l.comparePeer(binary, document, c.inRedis, c.lines)
		if err != nil {
			return rows, err
		}
		r.name = t.name + ": " + c.name
		rows = append(rows, r)
	}
	return rows, nil
}

func (l *lab) comparePeer(binary, document string, inRedis, lines bool) (row, error) {
	trial := &cpuTrial{document: document, path: nginxPath, headers: with(nginxAsks, cookie("COOKIE")), status: http.StatusOK}
	ours, floor, err := l.pair(trial)
	if err != nil {
		return row{}, err
	}
	defer ours.kill()
	defer floor.kill()
	peer, err := l.startPeer(binary, inRedis, lines)
	if err != nil {
		return row{}, err
	}
	defer peer.kill()
	costs, err := l.costs(floor, ours, peer)
	if err != nil {
		return row{}, err
	}
	return atMost(row{
		floor: micros(median(costs[0])), akprox: micros(median(costs[1])), peer: micros(median(costs[2])), target: "≤ 0.50 of the peer",
	}, ratio(costs[1], costs[2]), 0.5), nil
}

// startPeer starts oauth2-proxy with what is fastest there, and signs alice in.
func (l *lab) startPeer(binary string, inRedis, lines bool) (contestant, error) {
	at, err := l.freeAddr()
	if err != nil {
		return contestant{}, err
	}
	args := []string{
		"--provider=oidc", "--oidc-issuer-url=http://" + string(l.issuer.peer), "--client-id=akprox", "--client-secret=bench-secret",
		"--redirect-url=http://" + host + "/oauth2/callback", "--cookie-secret=MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
		"--scope=openid profile email groups", "--email-domain=*", "--reverse-proxy=true", "--trusted-proxy-ip=127.0.0.1/32", "--http-address=" + string(at), "--upstream=static://202",
		"--set-xauthrequest=true", "--code-challenge-method=S256", "--skip-provider-button=true", "--cookie-secure=false",
	}
	if inRedis {
		if err := l.startRedis(); err != nil {
			return contestant{}, err
		}
		args = append(args, "--session-store-type=redis", "--redis-connection-url=redis://"+string(l.redis.at))
	} else {
		args = append(args, "--session-cookie-minimal=true")
	}
	if !lines {
		args = append(args, "--request-logging=false", "--auth-logging=false")
	}
	out, err := os.Create(l.file("peer.log"))
	if err != nil {
		return contestant{}, err
	}
	defer func() { _ = out.Close() }()
	cmd := exec.Command(binary, args...)
	cmd.Stdout, cmd.Stderr = out, out
	s, err := begin(cmd, at)
	if err == nil {
		var session string
		if session, err = l.issuer.signIn(s.at, "/oauth2/start?rd=/"); err == nil {
			headers := with(nginxAsks, cookie(session), "X-Forwarded-Uri: /page/of/a/wiki?id=42")
			return contestant{s, asking{[][]byte{request("/oauth2/auth", headers...)}, http.StatusAccepted}}, nil
		}
		s.kill()
	}
	text, _ := os.ReadFile(out.Name())
	return contestant{}, fmt.Errorf("oauth2-proxy: %w\n%s", err, text)
}
