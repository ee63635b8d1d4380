package parts

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// RedisOptions are how a Redis server is started; the zero value is one without
// password, TLS and persistence.
type RedisOptions struct {
	Password string     // of the default user
	TLS      *RedisTLS  // only TLS is spoken, and a client's certificate is asked for
	Keep     bool       // what was acknowledged is there after Kill and Restart
	Socket   bool       // listens on a socket too, at RedisServer.Socket
	Args     []string   // more arguments
	Users    [][]string // ACL SETUSER, once it is up
}

// RedisTLS is a CA with a certificate for 127.0.0.1 and localhost, and one for a
// client, all as PEM files.
type RedisTLS struct{ CA, Cert, Key, ClientCert, ClientKey string }

// RedisServer is a running redis-server. Beside what a Process can, it pauses.
type RedisServer struct {
	*Process
	Socket  string
	options RedisOptions
}

// RedisWith starts a single server.
func RedisWith(t testing.TB, o RedisOptions) *RedisServer {
	t.Helper()
	return startRedis(t, o, nil)
}

func startRedis(t testing.TB, o RedisOptions, args []string) *RedisServer {
	t.Helper()
	Need(t)
	dir, port := t.TempDir(), Port(t)
	r := &RedisServer{options: o}
	all := []string{"--bind", "127.0.0.1", "--dir", dir, "--save", "", "--repl-diskless-sync-delay", "0"}
	if o.TLS == nil {
		all = append(all, "--port", strconv.Itoa(port))
	} else {
		all = append(all, "--port", "0", "--tls-port", strconv.Itoa(port), "--tls-ca-cert-file", o.TLS.CA,
			"--tls-cert-file", o.TLS.Cert, "--tls-key-file", o.TLS.Key, "--tls-replication", "yes", "--tls-cluster", "yes")
	}
	if o.Password != "" {
		all = append(all, "--requirepass", o.Password, "--masterauth", o.Password)
	}
	if o.Keep {
		all = append(all, "--appendonly", "yes", "--appendfsync", "always")
	}
	if o.Socket {
		r.Socket = filepath.Join(dir, "s")
		all = append(all, "--unixsocket", r.Socket)
	}
	r.Process = Start(t, Cmd{
		Name: fmt.Sprint("redis-server ", port), Path: Path(t, "redis-server"),
		Args: append(append(all, o.Args...), args...), Dir: dir, Port: port,
	})
	for _, user := range o.Users {
		r.Do(t, append([]string{"ACL", "SETUSER"}, user...)...)
	}
	return r
}

// Pause stops the process where it is: connections stay, and nobody answers.
func (r *RedisServer) Pause() { r.Signal(syscall.SIGSTOP) }

// Resume lets it go on.
func (r *RedisServer) Resume() { r.Signal(syscall.SIGCONT) }

// Do runs a command by redis-cli and answers what it prints.
func (r *RedisServer) Do(t testing.TB, command ...string) string {
	t.Helper()
	out, err := r.Try(t, command...)
	if err != nil {
		t.Fatalf("redis-cli %s: %v\n%s", command, err, out)
	}
	return out
}

// Try is Do for a command that may fail.
func (r *RedisServer) Try(t testing.TB, command ...string) (string, error) {
	t.Helper()
	args := []string{"-p", strconv.Itoa(r.Port()), "-e"}
	if tls := r.options.TLS; tls != nil {
		args = append(args, "--tls", "--cacert", tls.CA, "--cert", tls.ClientCert, "--key", tls.ClientKey)
	}
	cmd := exec.CommandContext(t.Context(), Path(t, "redis-cli"), append(args, command...)...) // #nosec G204 -- the test's own
	cmd.Env = os.Environ()
	if r.options.Password != "" {
		cmd.Env = append(cmd.Env, "REDISCLI_AUTH="+r.options.Password)
	}
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// RedisCluster starts a Cluster of three primaries with so many replicas each.
// A primary that does not answer for a second is replaced.
func RedisCluster(t testing.TB, o RedisOptions, replicas int) []*RedisServer {
	t.Helper()
	var nodes []*RedisServer
	var addresses []string
	for range 3 * (1 + replicas) {
		n := startRedis(t, o, []string{
			"--cluster-enabled", "yes", "--cluster-node-timeout", "1000",
			"--cluster-port", strconv.Itoa(Port(t)), "--cluster-replica-validity-factor", "0",
		})
		nodes, addresses = append(nodes, n), append(addresses, n.Addr())
	}
	create := append(append([]string{"--cluster", "create"}, addresses...), "--cluster-replicas", strconv.Itoa(replicas), "--cluster-yes")
	nodes[0].Do(t, create...)
	for _, n := range nodes {
		eventually(t, "the Cluster", func() bool {
			return strings.Contains(n.Do(t, "CLUSTER", "INFO"), "cluster_state:ok") &&
				strings.Count(n.Do(t, "CLUSTER", "NODES"), "slave") == 3*replicas
		})
	}
	return nodes
}

// RedisSentinels is a primary with replicas, watched by three sentinels.
type RedisSentinels struct {
	Sentinels []*RedisServer
	Servers   []*RedisServer // the first was the primary at the start
	Master    string         // the name that the sentinels have for it
}

// Sentinel starts a primary with so many replicas and three sentinels, which
// ask for sentinelPassword. A primary that does not answer for a second is
// replaced.
func Sentinel(t testing.TB, o RedisOptions, replicas int, sentinelPassword string) *RedisSentinels {
	t.Helper()
	s := &RedisSentinels{Master: "main"}
	for i := range 1 + replicas {
		var args []string
		if i > 0 {
			args = []string{"--replicaof", "127.0.0.1", strconv.Itoa(s.Servers[0].Port())}
		}
		s.Servers = append(s.Servers, startRedis(t, o, args))
	}
	for range 3 {
		s.Sentinels = append(s.Sentinels, startSentinel(t, s, o, sentinelPassword))
	}
	for _, w := range s.Sentinels {
		eventually(t, "the sentinels", func() bool {
			state := strings.Fields(w.Do(t, "SENTINEL", "MASTER", s.Master))
			is := func(key string, want int) bool {
				for i := 0; i+1 < len(state); i++ {
					if state[i] == key {
						return state[i+1] == strconv.Itoa(want)
					}
				}
				return false
			}
			return is("num-other-sentinels", 2) && is("num-slaves", replicas)
		})
	}
	return s
}

func startSentinel(t testing.TB, s *RedisSentinels, o RedisOptions, password string) *RedisServer {
	t.Helper()
	dir, port := t.TempDir(), Port(t)
	lines := []string{
		"bind 127.0.0.1", "dir " + dir,
		fmt.Sprintf("sentinel monitor %s 127.0.0.1 %d 2", s.Master, s.Servers[0].Port()),
		"sentinel down-after-milliseconds " + s.Master + " 1000",
		"sentinel failover-timeout " + s.Master + " 5000",
	}
	if o.Password != "" {
		lines = append(lines, "sentinel auth-pass "+s.Master+" "+o.Password)
	}
	if password != "" {
		lines = append(lines, "requirepass "+password, "sentinel sentinel-pass "+password)
	}
	if o.TLS == nil {
		lines = append(lines, fmt.Sprint("port ", port))
	} else {
		lines = append(lines, "port 0", fmt.Sprint("tls-port ", port), "tls-ca-cert-file "+o.TLS.CA,
			"tls-cert-file "+o.TLS.Cert, "tls-key-file "+o.TLS.Key, "tls-replication yes")
	}
	file := filepath.Join(dir, "sentinel.conf")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return &RedisServer{
		options: RedisOptions{Password: password, TLS: o.TLS},
		Process: Start(t, Cmd{
			Name: fmt.Sprint("sentinel ", port), Path: Path(t, "redis-server"), Args: []string{file, "--sentinel"}, Dir: dir, Port: port,
		}),
	}
}

// Addrs are the addresses of the sentinels.
func (s *RedisSentinels) Addrs() []string { return Addrs(s.Sentinels) }

// Primary answers the server that the sentinels hold to be the primary.
func (s *RedisSentinels) Primary(t testing.TB) *RedisServer {
	t.Helper()
	for _, w := range s.Sentinels {
		out, err := w.Try(t, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", s.Master)
		for _, r := range s.Servers {
			if err == nil && strings.HasSuffix(out, strconv.Itoa(r.Port())) {
				return r
			}
		}
	}
	t.Fatal("no sentinel knows a primary")
	return nil
}

// Addrs are the addresses of servers.
func Addrs(servers []*RedisServer) []string {
	all := make([]string, len(servers))
	for i, s := range servers {
		all[i] = s.Addr()
	}
	return all
}

func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if is() {
			return
		}
	}
	t.Fatalf("%s did not come up", what)
}

// NewRedisTLS makes a CA and what it certifies.
func NewRedisTLS(t testing.TB) *RedisTLS {
	t.Helper()
	dir := t.TempDir()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "redis"}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	caKey := certify(t, ca, ca, nil, file("ca.pem"), file("ca.key"))
	certify(t, leaf, ca, caKey, file("server.pem"), file("server.key"))
	leaf.SerialNumber, leaf.Subject.CommonName = big.NewInt(3), "akprox"
	certify(t, leaf, ca, caKey, file("client.pem"), file("client.key"))
	return &RedisTLS{file("ca.pem"), file("server.pem"), file("server.key"), file("client.pem"), file("client.key")}
}

// certify writes a certificate and its key; without a signer's key it signs
// itself.
func certify(t testing.TB, c, by *x509.Certificate, signer *ecdsa.PrivateKey, cert, key string) *ecdsa.PrivateKey {
	t.Helper()
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if signer == nil {
		signer = own
	}
	der, err := x509.CreateCertificate(rand.Reader, c, by, own.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return own
}
