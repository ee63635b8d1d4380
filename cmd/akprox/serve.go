package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/akprox/akprox/cmd/akprox/heap"
	"github.com/akprox/akprox/cmd/akprox/stores"
	"github.com/akprox/akprox/cmd/akprox/telemetry"
	"github.com/akprox/akprox/outpost/config"
	"github.com/akprox/akprox/providers/file"
	"github.com/akprox/akprox/proxy/extauthz"
	"github.com/akprox/akprox/proxy/server"
)

func runServe(ctx context.Context, c *console) int {
	path := c.configFlag()
	if _, status, ok := c.parse(); !ok {
		return status
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	context.AfterFunc(ctx, func() { time.AfterFunc(leaveTime, stop) }) // whoever signals again does not want to wait
	heap.Pace()
	log, closeLog := telemetry.NewLogger(c.out)
	defer closeLog()
	if err := serve(ctx, log, *path); err != nil {
		return c.fail(err)
	}
	return 0
}

// serve runs the outpost of the document at path until ctx ends.
func serve(ctx context.Context, log *logrus.Logger, path string) error {
	doc, err := readDocument(path)
	if err != nil {
		return err
	}
	rt, err := start(ctx, log, doc)
	if err != nil {
		return err
	}
	defer rt.close()
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	source := file.Source{Path: path, Reload: hup}
	go func() {
		err := source.Follow(ctx, rt.secretFiles, func(data []byte, err error) { rt.reload(ctx, path, data, err) })
		if err != nil {
			log.Warnf("the document is not watched any more, SIGHUP alone reloads it: %v", err)
		}
	}()
	return rt.listen(ctx, doc.Server, func() {})
}

// settleTime is how long a stop waits for sessions that are being refreshed.
const settleTime = 15 * time.Second

// start opens the store of doc and takes the document over.
func start(ctx context.Context, log *logrus.Logger, doc *config.Document) (*running, error) {
	telemetry.Configure(log, doc.Log)
	st, err := stores.Open(doc)
	if err != nil {
		return nil, err
	}
	rt, err := newRunning(ctx, log, doc, st)
	if err != nil {
		_ = st.Close()
		return nil, err
	}
	stopControl := rt.control(doc)
	rt.close = func() {
		stopControl()
		// A refresh token that the issuer has given out is written first.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTime)
		defer cancel()
		if err := rt.sessions.Close(ctx); err != nil {
			log.Errorf("sessions are still being refreshed: %v", err)
		}
		if err := st.Close(); err != nil {
			log.Error(err)
		}
	}
	return rt, nil
}

// leaveTime is how long a stop still takes connections and questions, telling
// with each answer that no more may follow on its connection.
const leaveTime = time.Second

// listen serves until ctx ends and what is under way has been answered. ready
// is called once the addresses are bound.
func (rt *running) listen(ctx context.Context, s config.Server, ready func()) error {
	if s.TLS.CertFile == "" {
		s.HTTPS = "" // only with tls
	}
	srv, err := server.Listen(server.Options{
		HTTP: s.HTTP, HTTPS: s.HTTPS, GRPC: s.GRPC, Metrics: s.Metrics,
		CertFile: s.TLS.CertFile, KeyFile: s.TLS.KeyFile, GRPCTLS: s.GRPCTLS,
		Handler: rt.live, GRPCService: extauthz.New(rt.live.Check), MetricsHandler: rt.metrics.Handler(), Ready: rt.readiness, Log: rt.log,
		Limits: server.Limits{Delay: leaveTime},
	})
	if err != nil {
		return err
	}
	at := srv.Addrs()
	rt.log.WithFields(logrus.Fields{"version": version, "http": at.HTTP, "https": at.HTTPS, "grpc": at.GRPC, "metrics": at.Metrics}).Info("serving")
	ready()
	err = srv.Serve(ctx)
	rt.log.Info("stopped")
	return err
}
