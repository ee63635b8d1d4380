package server

import (
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
)

// The tests run as users who may bind every port, and as others.
func Test_low_port_without_the_right_to_it_tells_the_mend(t *testing.T) {
	err := &net.OpError{Op: "listen", Net: "tcp", Err: os.NewSyscallError("bind", syscall.EACCES)}
	if got := mend(err); !strings.Contains(got, "above 1023") || !strings.Contains(got, "CAP_NET_BIND_SERVICE") {
		t.Error(got)
	}
}
