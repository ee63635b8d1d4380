package parts

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// SetMisc is the nginx module that brings set_escape_uri; see Nginx.
const SetMisc = "ngx_http_set_misc_module.so"

// Nginx starts Debian's nginx with conf as the contents of its http block and
// waits until it listens on port. Modules, such as SetMisc, are loaded only
// if named, so that a test shows what a plain nginx can do.
func Nginx(t testing.TB, port int, conf string, modules ...string) *Process {
	t.Helper()
	dir := t.TempDir()
	var b strings.Builder
	for _, module := range modules {
		if module == SetMisc {
			b.WriteString("load_module /usr/lib/nginx/modules/ndk_http_module.so;\n")
		}
		fmt.Fprintf(&b, "load_module /usr/lib/nginx/modules/%s;\n", module)
	}
	if os.Geteuid() == 0 {
		// Its workers would change to a user that may not enter dir.
		b.WriteString("user root;\n")
	}
	fmt.Fprintf(&b, `daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr info;
events { worker_connections 512; }
http {
	access_log /dev/stdout;
	client_body_temp_path body;
	proxy_temp_path proxy;
	fastcgi_temp_path fastcgi;
	uwsgi_temp_path uwsgi;
	scgi_temp_path scgi;
%s
}
`, conf)
	file := write(t, dir, "nginx.conf", b.String())
	return Start(t, Cmd{
		Name: "nginx",
		Path: Path(t, "nginx"),
		Args: []string{"-p", dir, "-e", "stderr", "-c", file},
		Dir:  dir,
		Port: port,
	})
}

// Which Caddy to start.
const (
	CaddyNew    = "caddy"        // the newest release that could be had
	CaddyKeeps  = "caddy-2.10"   // of those (2.9.0 to 2.11.1) that keep a client's header where forward_auth has no value for it
	CaddyDebian = "caddy-debian" // 2.6, with its own ways of forward_auth
)

// Caddy starts a Caddy, one of the above, with the sites of the given
// Caddyfile and waits until it listens on port. The Caddyfile must not have
// global options of its own.
func Caddy(t testing.TB, which string, port int, caddyfile string) *Process {
	t.Helper()
	dir := t.TempDir()
	file := write(t, dir, "Caddyfile", `{
	admin off
	auto_https off
	default_bind 127.0.0.1
	storage file_system data
}
`+caddyfile)
	return Start(t, Cmd{
		Name: which,
		Path: Path(t, which),
		Args: []string{"run", "--adapter", "caddyfile", "--config", file},
		Env:  []string{"XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir},
		Dir:  dir,
		Port: port,
	})
}

// Traefik starts Traefik with an entry point named web on port and the given
// dynamic configuration (YAML). It is up when the URL route, which has to be
// one that the configuration serves, is no longer a 404: Traefik listens
// before it has read the file. More command line options may follow.
func Traefik(t testing.TB, port int, dynamic, route string, args ...string) *Process {
	t.Helper()
	file := write(t, t.TempDir(), "dynamic.yml", dynamic)
	client := Client(t)
	return Start(t, Cmd{
		Name: "traefik",
		Path: Path(t, "traefik"),
		Args: append([]string{
			fmt.Sprintf("--entryPoints.web.address=127.0.0.1:%d", port),
			"--providers.file.filename=" + file,
			"--global.checkNewVersion=false",
			"--global.sendAnonymousUsage=false",
			"--log.level=INFO",
			"--accessLog=true",
		}, args...),
		Port:    port,
		Timeout: 60 * time.Second,
		Ready: func() error {
			resp, err := client.Get(route)
			if err != nil {
				return err
			}
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusNotFound {
				return fmt.Errorf("no route for %s yet", route)
			}
			return nil
		},
	})
}

// HAProxy starts HAProxy with the complete configuration cfg and waits until
// it listens on port. It runs in a folder with the given files, by name, so
// that cfg can refer to them without a path.
func HAProxy(t testing.TB, port int, cfg string, files map[string]string) *Process {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		write(t, dir, name, text)
	}
	return Start(t, Cmd{
		Name: "haproxy",
		Path: Path(t, "haproxy"),
		Args: []string{"-db", "-f", write(t, dir, "haproxy.cfg", cfg)},
		Dir:  dir,
		Port: port,
	})
}

// Redis starts a Redis that keeps nothing on disk, with more settings as on
// its command line ("--requirepass", "secret").
func Redis(t testing.TB, args ...string) *Process {
	t.Helper()
	port := Port(t)
	dir := t.TempDir()
	return Start(t, Cmd{
		Name: "redis-server",
		Path: Path(t, "redis-server"),
		Args: append([]string{
			"--port", fmt.Sprint(port), "--bind", "127.0.0.1", "--dir", dir,
			"--save", "", "--appendonly", "no",
		}, args...),
		Dir:  dir,
		Port: port,
	})
}

// write writes a file of a part and returns its path.
func write(t testing.TB, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
