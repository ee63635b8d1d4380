package telemetry

import (
	"bufio"
	"io"
	"os"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/akprox/akprox/outpost/config"
)

// FlushEvery bounds how long a line waits in memory.
const FlushEvery = 100 * time.Millisecond

// sink buffers log lines, so that a decision costs no system call. Close
// writes what is left; a line is lost only when the process is killed.
type sink struct {
	mu   sync.Mutex
	buf  *bufio.Writer
	done chan struct{}
	wg   sync.WaitGroup
}

func newSink(w io.Writer) *sink {
	s := &sink{buf: bufio.NewWriterSize(w, 64<<10), done: make(chan struct{})}
	s.wg.Go(s.flushing)
	return s
}

// Write implements io.Writer.
func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(p)
}

func (s *sink) flushing() {
	ticker := time.NewTicker(FlushEvery)
	defer ticker.Stop()
	for {
		select {
		case <-s.done:
			return
		case <-ticker.C:
			s.flush()
		}
	}
}

func (s *sink) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.buf.Flush() // there is nowhere to tell
}

// Close writes what is left.
func (s *sink) Close() {
	close(s.done)
	s.wg.Wait()
	s.flush()
}

// NewLogger answers a logger that writes to a buffered out; close flushes it.
func NewLogger(out io.Writer) (log *logrus.Logger, closeLog func()) {
	s := newSink(out)
	log = logrus.New()
	log.SetOutput(s)
	log.SetFormatter(formatter("json"))
	log.ExitFunc = os.Exit
	return log, s.Close
}

// Configure makes log what the document says.
func Configure(log *logrus.Logger, c config.Log) {
	if level, err := logrus.ParseLevel(c.Level); err == nil {
		log.SetLevel(level)
	}
	log.SetFormatter(formatter(c.Format))
}

// formatter answers the formatter of everything that is logged beside
// decisions: "text" for people, else JSON.
func formatter(format string) logrus.Formatter {
	if format == "text" {
		return &logrus.TextFormatter{DisableColors: true, FullTimestamp: true}
	}
	return &logrus.JSONFormatter{}
}
