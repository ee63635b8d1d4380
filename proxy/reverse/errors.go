package reverse

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
)

// clientGone is the error of a request whose client left, or broke its body,
// before the upstream answered: not the upstream's fault.
type clientGone struct{ err error }

// Error answers what the upstream's side saw.
func (e *clientGone) Error() string { return "the client left: " + e.err.Error() }

// Unwrap answers the error behind.
func (e *clientGone) Unwrap() error { return e.err }

// Cause answers in one word why an upstream did not answer, for the page and
// the log:
//
//	client_gone     the client left first, or its body was broken
//	no_upstream     the application has none, or the request no path
//	bad_path        the path climbs above the upstream's own
//	name_not_found  the upstream's host name has no address
//	refused         nothing listens there
//	unreachable     there is no way there
//	tls             its certificate is not trusted, or it speaks no TLS
//	timeout         it did not connect or answer in time
//	closed          it closed the connection without an answer
//	protocol        it answered something that is no HTTP
func Cause(err error) string {
	var dns *net.DNSError
	var timeout net.Error
	switch {
	case is[*clientGone](err), errors.Is(err, context.Canceled):
		return "client_gone"
	case errors.Is(err, errNoUpstream), errors.Is(err, errNoPath):
		return "no_upstream"
	case errors.Is(err, errClimbs):
		return "bad_path"
	case errors.As(err, &dns) && !dns.IsTimeout:
		return "name_not_found"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "unreachable"
	case is[*tls.CertificateVerificationError](err), is[tls.RecordHeaderError](err), is[tls.AlertError](err):
		return "tls"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "closed"
	}
	return "protocol"
}

func is[E error](err error) bool {
	var e E
	return errors.As(err, &e)
}

// body is a request's body on its way to the upstream. It hands over the
// announced trailers that may pass, once they have come, and remembers whether
// it was the client's side that broke.
type body struct {
	io.ReadCloser
	in      *http.Request
	trailer http.Header
	closed  atomic.Bool
	broken  atomic.Bool
}

// Read reads from the client.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		for name := range b.trailer {
			b.trailer[name] = b.in.Trailer[name]
		}
	case !b.closed.Load():
		b.broken.Store(true)
	}
	return n, err
}

// Close ends reading; errors after it are not the client's.
func (b *body) Close() error {
	b.closed.Store(true)
	return b.ReadCloser.Close()
}

// torn reports whether the client broke off in the middle of the body.
func (b *body) torn() bool { return b != nil && b.broken.Load() }
