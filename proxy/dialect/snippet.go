package dialect

import (
	"embed"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/canon"
)

// Site is what a reverse proxy is configured for: one application, and where
// the proxy reaches the outpost.
type Site struct {
	App     *outpost.Application
	Listen  string // server.http of the document
	GRPC    string // its server.grpc
	GRPCTLS bool
	Prefix  string
	Others  []*outpost.Application // those of the same document, App among them or not
}

// YourProgram stands in every snippet for the address of the guarded program,
// which the outpost does not know.
const YourProgram = "127.0.0.1:8080"

//go:embed snippet_*.tmpl
var snippetFiles embed.FS

// Snippets lists the names that Snippet takes.
func Snippets() []string {
	return []string{"nginx", "ingress-nginx", "traefik", "traefik-labels", "traefik-crd", "caddy", "envoy", "haproxy", "gateway-api"}
}

// Snippet answers the ready configuration of a reverse proxy for a site.
func Snippet(name string, s Site) (string, error) {
	if !slices.Contains(Snippets(), name) {
		return "", fmt.Errorf("no snippet for %q; there are %s", name, strings.Join(Snippets(), ", "))
	}
	if s.App.Upstream != nil {
		return "", fmt.Errorf("application %q has an upstream: akprox itself stands in front of it, and no other proxy has to ask", s.App.Name)
	}
	v, err := newSnippetView(s)
	if err != nil {
		return "", err
	}
	if err := v.beside(s); err != nil {
		return "", err
	}
	if err := v.fits(name); err != nil {
		return "", err
	}
	t, err := template.New("").ParseFS(snippetFiles, "snippet_*.tmpl")
	if err != nil {
		return "", err
	}
	var b strings.Builder
	err = t.ExecuteTemplate(&b, "snippet_"+name+".tmpl", v)
	return b.String(), err
}

// snippetView is what the templates read.
type snippetView struct {
	App          *outpost.Application
	Name, ID     string // ID is Name as nginx takes it for a variable
	External     outpost.External
	Host, Port   string // of External; Port is never ""
	Path         string // "/", or the application's own path
	Domain       string // "" for one host
	HostPattern  string // a regular expression for Domain
	Prefix       string
	Headers      []string // the mapped ones
	Consumed     []string // what the client sends for us alone: the program does not see it
	Address      string   // host:port of the outpost
	Unix         string   // its socket's path instead
	ListenPort   string
	GRPC         string // host:port where it is asked over gRPC, or its socket's path; "" for neither
	GRPCUnix     string // GRPC when it is a socket's path
	GRPCPort     string
	GRPCTLS      bool
	YourProgram  string
	ResponseSize int // the most that an answer of ours may hold, in bytes

	// Of the document's other applications: those that take requests from this
	// one, whether one would have them without it, and those on the same host.
	Narrower   []*snippetView
	Wider      bool
	Housemates []*snippetView
}

func newSnippetView(s Site) (*snippetView, error) {
	app := s.App
	v := &snippetView{
		App: app, Name: app.Name, ID: notWord.ReplaceAllString(app.Name, "_"), External: app.External, Path: app.External.Path,
		Host: canon.HostName(app.External.Host), Domain: app.Domain, Prefix: s.Prefix, Headers: app.Headers.Names(),
		YourProgram: YourProgram, ResponseSize: 1 << 20, GRPCTLS: s.GRPCTLS,
	}
	for _, name := range app.Consumed {
		if !slices.Contains(v.Headers, name) {
			v.Consumed = append(v.Consumed, name)
		}
	}
	v.Port = strings.TrimPrefix(strings.TrimPrefix(app.External.Host, v.Host), ":")
	if v.Port == "" {
		v.Port = map[string]string{"http": "80", "https": "443"}[app.External.Scheme]
	}
	if v.Domain != "" {
		v.Path = "/" // that of sign-in guards nothing
		v.HostPattern = `^(.+\.)?` + regexp.QuoteMeta(v.Domain) + `$`
	}
	if s.GRPC != "" {
		v.GRPC, v.GRPCUnix, v.GRPCPort = reach(s.GRPC)
	}
	return v, v.outpost(s.Listen)
}

// fits refuses what a proxy cannot be told.
func (v *snippetView) fits(name string) error {
	switch name {
	case "nginx", "caddy", "envoy", "haproxy":
		return nil
	case "gateway-api":
		if v.GRPCUnix != "" {
			return errors.New("gateway-api cannot ask over a unix socket; give server.grpc a port")
		}
		if _, err := netip.ParseAddr(strings.Trim(v.Host, "[]")); err == nil {
			return fmt.Errorf("gateway-api knows applications by the name of their host, and %s is an address", v.Host)
		}
	}
	if v.Unix != "" {
		return fmt.Errorf("%s cannot ask over a unix socket; give server.http a port", name)
	}
	return nil
}

var notWord = regexp.MustCompile(`[^A-Za-z0-9]`)

// outpost fills in how the proxy on the same machine reaches the outpost.
func (v *snippetView) outpost(listen string) error {
	if listen == "" {
		return errors.New("server.http is empty, so no reverse proxy can ask; give it an address")
	}
	v.Address, v.Unix, v.ListenPort = reach(listen)
	return nil
}

// reach answers how the proxy on the same machine reaches what listens there;
// of a socket, address is its path, too.
func reach(listen string) (address, unix, port string) {
	if path, ok := strings.CutPrefix(listen, "unix:"); ok {
		return path, path, ""
	}
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", "", ""
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port), "", port
}

// TLS reports whether people reach the site by https.
func (v *snippetView) TLS() bool { return v.External.Scheme == "https" }

// Var answers a header's name as nginx has it in variables.
func (v *snippetView) Var(header string) string {
	return strings.ToLower(strings.ReplaceAll(header, "-", "_"))
}

// NginxHost answers how nginx writes the host that people ask for: of one host,
// as the document has it, because a server block that is nginx's default gets
// every other host, too. $host has no port, and the port that nginx listens on
// may be mapped to another: the document knows the one that browsers use.
func (v *snippetView) NginxHost() string {
	if v.Domain == "" {
		return v.External.Host
	}
	return "$host" + strings.TrimPrefix(v.External.Host, v.Host)
}

// UnderPath is a regular expression for Path and what is below it, by whole
// segments and with its own letters, as the outpost reads it.
func (v *snippetView) UnderPath() string { return "^" + regexp.QuoteMeta(v.Path) + "(/|$)" }

// Returned answers the headers that the proxy takes from our answers; one that
// is listed and never answered is thereby taken away.
func (v *snippetView) Returned() []string {
	return append(slices.Clone(v.Headers), v.Consumed...)
}

// List joins names with commas.
func (v *snippetView) List(names []string) string { return strings.Join(names, ",") }

// Rule answers Traefik's rule for the hosts of the site.
func (v *snippetView) Rule() string {
	if v.Domain != "" {
		return "HostRegexp(`" + v.HostPattern + "`)"
	}
	return "Host(`" + v.Host + "`)"
}

// AppRule is Rule for the guarded program alone.
func (v *snippetView) AppRule() string {
	if v.Path == "/" {
		return v.Rule()
	}
	return v.Rule() + " && (Path(`" + v.Path + "`) || PathPrefix(`" + v.Path + "/`))"
}

// Compose writes s so that docker compose does not take its "$" for a variable.
func (v *snippetView) Compose(s string) string { return strings.ReplaceAll(s, "$", "$$") }

// Sites answers the addresses of the site in a Caddyfile.
func (v *snippetView) Sites() string {
	if v.Domain == "" {
		return v.External.Origin()
	}
	port := strings.TrimPrefix(v.External.Host, v.Host)
	return v.External.Scheme + "://" + v.Domain + port + ", " + v.External.Scheme + "://*." + v.Domain + port
}

// Upstream answers the outpost's address in a Caddyfile.
func (v *snippetView) Upstream() string {
	if v.Unix != "" {
		return "unix/" + v.Unix
	}
	return v.Address
}

// Slug answers the application's name as files and objects are named.
func (v *snippetView) Slug() string {
	return asName(strings.Trim(notSlug.ReplaceAllString(v.Name, "-"), "-"))
}

var notSlug = regexp.MustCompile(`[^A-Za-z0-9_-]+`)

// DNS answers the application's name as Kubernetes names objects (RFC 1123).
func (v *snippetView) DNS() string {
	name := strings.ToLower(notWord.ReplaceAllString(v.Name, "-"))
	return asName(strings.Trim(name[:min(len(name), 50)], "-"))
}

// asName answers name as one that is text in every YAML, "application" for none.
func asName(name string) string {
	if name == "" || !textual(name) {
		return strings.TrimSuffix("application-"+name, "-")
	}
	return name
}

// textual reports whether YAML takes a word of letters, digits, "-" and "_" for
// text: 12 is a number, and for some readers yes is true.
func textual(word string) bool {
	switch strings.ToLower(word) {
	case "y", "n", "yes", "no", "true", "false", "on", "off", "null":
		return false
	}
	return word != "" && word[0] > '9'
}

// Text answers the name of a header as YAML takes it for text.
func (v *snippetView) Text(name string) string {
	if textual(name) {
		return name
	}
	return `"` + name + `"`
}

// Lower answers s in lower case, as HTTP/2 has the names of headers.
func (v *snippetView) Lower(s string) string { return strings.ToLower(s) }

// Told answers the client's headers that a decision may depend on.
func (v *snippetView) Told() []string {
	names := []string{"Accept", "Authorization", "Cookie", "Sec-Fetch-Mode", "Sec-Websocket-Version", "X-Api-Key", "X-Requested-With"}
	for _, name := range v.App.Consumed {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// Asked is Told and what the proxy itself adds.
func (v *snippetView) Asked() []string {
	return append(v.Told(), "X-Forwarded-For", "X-Forwarded-Proto")
}

// Hostnames answers the hosts of the site, as Envoy and the Gateway API write
// them.
func (v *snippetView) Hostnames() []string {
	if v.Domain != "" {
		return []string{v.Domain, "*." + v.Domain}
	}
	return []string{v.Host}
}

// EnvoyDomains is Hostnames with and without the port: Envoy compares both.
func (v *snippetView) EnvoyDomains() []string {
	names := v.Hostnames()
	for _, name := range v.Hostnames() {
		names = append(names, name+":"+v.Port)
	}
	return names
}

// EnvoyAddress answers host:port as Envoy has it.
func (v *snippetView) EnvoyAddress(at string) string {
	host, port, _ := net.SplitHostPort(at)
	return fmt.Sprintf(`{ address: "%s", port_value: %s }`, host, port)
}
