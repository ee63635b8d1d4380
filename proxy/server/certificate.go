package server

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

// certificateCheck is how often, at most, the files are looked at.
const certificateCheck = time.Second

// certificate is a pair of files that is read again when one of them changes.
type certificate struct {
	certFile, keyFile string
	log               *logrus.Logger
	now               func() time.Time

	mu      sync.Mutex
	current *tls.Certificate
	stamp   string    // of the files when they were last read, well or not
	checked time.Time // when the stamp was last compared
}

// load reads the pair for the first time.
func (c *certificate) load() error {
	c.stamp, c.checked = c.look(), c.now()
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("%s with %s: %w", c.certFile, c.keyFile, err)
	}
	c.current = &pair
	return nil
}

// get answers the newest good pair. A changed pair that is broken (or half
// written) is told once, and tried again when it changes again.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.now(); now.Sub(c.checked) >= certificateCheck {
		c.checked = now
		if stamp := c.look(); stamp != c.stamp {
			c.reload(stamp)
		}
	}
	return c.current, nil
}

func (c *certificate) reload(stamp string) {
	// The stamp is older than what is read: a change in between is seen.
	c.stamp = stamp
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		c.log.WithError(err).WithField("file", c.certFile).Error("the new certificate is not usable; the old one serves on")
		return
	}
	c.current = &pair
	c.log.WithField("file", c.certFile).Info("certificate read again")
}

// look answers what tells one state of the files from another.
func (c *certificate) look() string {
	stamp := ""
	for _, name := range []string{c.certFile, c.keyFile} {
		if info, err := os.Stat(name); err == nil {
			stamp += fmt.Sprint(info.ModTime().UnixNano(), ":", info.Size(), " ")
		}
	}
	return stamp
}
