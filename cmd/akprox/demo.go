package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/akprox/akprox/cmd/akprox/demo"
	"github.com/akprox/akprox/cmd/akprox/kinds"
	"github.com/akprox/akprox/cmd/akprox/stores"
	"github.com/akprox/akprox/cmd/akprox/telemetry"
	"github.com/akprox/akprox/outpost/config"
)

func runDemo(ctx context.Context, c *console) int {
	listen := c.flags.String("listen", "127.0.0.1:9000", "where the demo is reached, a loopback address")
	if _, status, ok := c.parse(); !ok {
		return status
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	context.AfterFunc(ctx, func() { time.AfterFunc(leaveTime, stop) }) // whoever signals again does not want to wait
	log, closeLog := telemetry.NewLogger(c.err)
	defer closeLog()
	if err := serveDemo(ctx, c, log, *listen); err != nil {
		return c.fail(err)
	}
	return 0
}

// serveDemo runs an issuer, two programs and the outpost in front of them,
// all in this process, until ctx ends.
func serveDemo(ctx context.Context, c *console, log *logrus.Logger, listen string) error {
	host, port, err := net.SplitHostPort(listen)
	if ip := net.ParseIP(host); err != nil || host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("--listen %s: write a loopback address and a port, such as 127.0.0.1:9000; the demo's passwords are public", listen)
	}
	wiki, notes := "http://localhost:"+port, "http://"+net.JoinHostPort(strings.Replace(host, "localhost", "127.0.0.1", 1), port)
	client := demo.Client{
		ID: "akprox", Secret: rand.Text(),
		Redirects: []string{wiki, notes},
	}
	issuer, err := demoIssuer(ctx, client)
	if err != nil {
		return err
	}
	wikiUpstream, err := beside(ctx, demo.Program("wiki"))
	if err != nil {
		return err
	}
	notesUpstream, err := beside(ctx, demo.Program("notes"))
	if err != nil {
		return err
	}
	text := demoDocument(listen, issuer, client.Secret, wiki, wikiUpstream, notes, notesUpstream)
	doc, problems := config.Parse([]byte(text), "demo.yaml", kinds.Settings(), stores.Kinds())
	if len(problems) > 0 {
		return problems
	}
	rt, err := start(ctx, log, doc)
	if err != nil {
		return err
	}
	defer rt.close()
	if err := rt.listen(ctx, doc.Server, func() { greet(c, wiki, notes, issuer) }); err != nil {
		return fmt.Errorf("%w\n(akprox demo --listen 127.0.0.1:9100 takes another address)", err)
	}
	return nil
}

// demoIssuer serves the issuer on a free port and answers its URL.
func demoIssuer(ctx context.Context, client demo.Client) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	url := "http://" + l.Addr().String()
	issuer, err := demo.NewIssuer(url, client, demo.Users())
	if err != nil {
		return "", err
	}
	serveBeside(ctx, l, issuer)
	return url, nil
}

// beside serves h on a free port of this machine and answers its URL.
func beside(ctx context.Context, h http.Handler) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	serveBeside(ctx, l, h)
	return "http://" + l.Addr().String(), nil
}

func serveBeside(ctx context.Context, l net.Listener, h http.Handler) {
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { _ = s.Close() })
	go func() { _ = s.Serve(l) }()
}

func demoDocument(listen, issuer, secret, wiki, wikiUpstream, notes, notesUpstream string) string {
	return fmt.Sprintf(`version: 1
server: { http: %q, https: "", metrics: "" }
store: { kind: memory }
log: { format: text, decisions: refused }
providers:
  - name: demo
    kind: oidc
    issuer: %s
    client_id: akprox
    client_secret: { value: %q }
    scopes: [openid, profile, email, groups]
applications:
  - name: wiki
    mode: proxy
    external_url: %s
    upstream: %s
    credentials: [demo]
    rules:
      - { paths: [/public/**], allow: anyone }
      - { paths: [/admin/**], groups: [admin] }
  - name: notes
    mode: proxy
    external_url: %s
    upstream: %s
    credentials: [demo]
    rules:
      - { paths: [/public/**], allow: anyone }
      - { paths: [/admin/**], groups: [admin] }
`, listen, issuer, secret, wiki, wikiUpstream, notes, notesUpstream)
}

func greet(c *console, wiki, notes, issuer string) {
	var people strings.Builder
	for _, u := range demo.Users() {
		fmt.Fprintf(&people, "    %-8s password %-10s groups %s\n", u.Username, u.Password, strings.Join(u.Groups, ", "))
	}
	fmt.Fprintf(c.out, `akprox demo: an issuer, two guarded programs and akprox in front of them,
all in this process, on this machine, gone when you stop it (Ctrl-C).

  Open in a browser, and sign in:
    %[1]s/         a wiki, for everybody who has signed in
    %[1]s/admin    for the group admin
    %[1]s/public   for anybody
    %[2]s/         notes: another application, with a session of its own
    %[1]s/akprox/sign_out   asks, and signs you out

  The people are:
%[3]s
  The issuer is %[4]s. Refusals and sign-ins are logged below.
`, wiki, notes, people.String(), issuer)
	_ = os.Stdout.Sync()
}
