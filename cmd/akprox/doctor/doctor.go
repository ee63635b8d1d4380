// Package doctor is the verb of that name: it reads the flags and the document,
// lets package exam ask the site, and prints the report. What it needs of the
// rest of the program is handed in.
package doctor

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/akprox/akprox/cmd/akprox/doctor/exam"
	"github.com/akprox/akprox/cmd/akprox/doctor/finding"
	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/canon"
	"github.com/akprox/akprox/outpost/config"
	"github.com/akprox/akprox/proxy/dialect"
)

// maxVisit bounds what the doctor takes in all.
const maxVisit = 3 * time.Minute

// Visit is what `akprox doctor` was asked.
type Visit struct {
	o                                     exam.Options
	url, preset, ca, cookie, headerOfFlag string
	insecure, json                        bool
}

// Means is what the doctor borrows from the rest of the program.
type Means struct {
	Read         func(path string) (*config.Document, error)
	Parse        func(text string) (*config.Document, error)
	Applications func(*config.Document) (*outpost.Applications, error) // with nobody behind their credentials
	Decide       func(doc *config.Document, url string) string         // the outcome for nobody; "" when it cannot be told
	Line         func() (string, error)                                // of standard input
}

// Flags makes the flags of `akprox doctor`.
func Flags(f *flag.FlagSet) *Visit {
	v := &Visit{o: exam.Options{Resolve: map[string]string{}}}
	v.flags(f)
	return v
}

// Run examines a site and prints the report: 0 all is good, 1 something is
// wrong, 2 it could not be examined. The document at path has to be there when
// it is named.
func (v *Visit) Run(ctx context.Context, m Means, path string, named bool, out, errs io.Writer) int {
	ctx, cancel := context.WithTimeout(ctx, maxVisit)
	defer cancel()
	err := v.prepare(m, path, named)
	var report *finding.Report
	if err == nil {
		report, err = exam.Run(ctx, v.o)
	}
	if err == nil && v.json {
		err = report.JSON(out)
	} else if err == nil {
		report.Text(out)
	}
	switch {
	case err != nil:
		fmt.Fprintln(errs, "akprox: "+err.Error())
		return 2
	case len(report.Findings()) > 0:
		return 1
	}
	return 0
}

func (v *Visit) flags(f *flag.FlagSet) {
	f.StringVar(&v.url, "url", "", "a guarded page, as the browser shows it")
	f.Func("resolve", "host:port:address to connect to, as curl has it; * is any host; may be repeated", v.resolve)
	f.StringVar(&v.ca, "ca", "", "a file with the certificates of authorities that are believed too")
	f.BoolVar(&v.insecure, "insecure", false, "believe any certificate")
	f.BoolVar(&v.json, "json", false, "print JSON")
	f.StringVar(&v.o.Metrics, "metrics", "", "where akprox's metrics listener is, such as http://127.0.0.1:9300; else as the document says")
	f.StringVar(&v.o.Proxy, "proxy", "", "which proxy it is, where it does not say so: a name that akprox snippet takes")
	f.StringVar(&v.preset, "preset", "", "without a document: the preset of the identity headers")
	f.StringVar(&v.o.User, "user", "", "sign in as this user; the password is read from standard input")
	f.StringVar(&v.cookie, "cookie", "", "the name of a cookie to send; its value is read from standard input")
	f.StringVar(&v.headerOfFlag, "header", "", "the name of a header to send, such as Authorization; its value is read from standard input")
	f.StringVar(&v.o.Echo, "echo", "", "a path where the program shows the headers that it got")
	f.StringVar(&v.o.Listen, "listen", "", "stand in the program's place at this address, such as 127.0.0.1:8080")
}

// resolve reads one --resolve.
func (v *Visit) resolve(s string) error {
	host, rest, _ := strings.Cut(s, ":")
	port, address, ok := strings.Cut(rest, ":")
	if !ok || host == "" || port == "" || address == "" {
		return errors.New("write host:port:address")
	}
	if _, _, err := net.SplitHostPort(address); err != nil {
		address = net.JoinHostPort(strings.Trim(address, "[]"), port)
	}
	v.o.Resolve[host+":"+port] = address
	return nil
}

func (v *Visit) prepare(m Means, path string, named bool) (err error) {
	if v.o.URL, err = url.Parse(v.url); err != nil || v.o.URL.Host == "" || v.o.URL.Scheme != "http" && v.o.URL.Scheme != "https" {
		return errors.New("--url is no absolute URL; write a guarded page as the browser shows it, such as https://wiki.example.com/")
	}
	if v.o.Proxy != "" && !slices.Contains(dialect.Snippets(), v.o.Proxy) {
		return fmt.Errorf("--proxy: there is no %q; there are %s", v.o.Proxy, strings.Join(dialect.Snippets(), ", "))
	}
	if err = v.trust(); err == nil {
		err = v.secret(m)
	}
	if err != nil {
		return err
	}
	doc, err := v.document(m, path, named)
	if err != nil {
		return err
	}
	return v.know(m, doc)
}

func (v *Visit) trust() error {
	v.o.TLS = &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: v.insecure} //nolint:gosec // G402: the person says so by --insecure
	if v.ca == "" {
		return nil
	}
	pem, err := os.ReadFile(v.ca)
	if err != nil {
		return err
	}
	if v.o.TLS.RootCAs, err = x509.SystemCertPool(); err != nil {
		v.o.TLS.RootCAs = x509.NewCertPool()
	}
	if !v.o.TLS.RootCAs.AppendCertsFromPEM(pem) {
		return fmt.Errorf("--ca: %s holds no certificate", v.ca)
	}
	return nil
}

// secret reads what must not stand in a command line.
func (v *Visit) secret(m Means) error {
	asked := 0
	for _, name := range []string{v.o.User, v.cookie, v.headerOfFlag} {
		if name != "" {
			asked++
		}
	}
	if asked == 0 {
		return nil
	}
	if asked > 1 {
		return errors.New("one of --user, --cookie and --header: standard input holds one secret")
	}
	value, err := m.Line()
	switch {
	case err != nil:
		return err
	case v.o.User != "":
		v.o.Password = value
	case v.cookie != "":
		v.o.Header = http.Header{"Cookie": {v.cookie + "=" + value}}
	default:
		v.o.Header = http.Header{http.CanonicalHeaderKey(v.headerOfFlag): {value}}
	}
	return nil
}

// stub is the document of a site of which nothing is known.
const stub = `version: 1
providers:
  - { name: company, kind: oidc, issuer: "https://id.example.com", client_id: akprox }
applications:
  - { name: app, mode: forward_single, external_url: %q, credentials: [company], headers: { preset: %q } }
`

// document reads the operator's, if there is one here, or makes one of what
// is plain to see.
func (v *Visit) document(m Means, path string, named bool) (*config.Document, error) {
	_, err := os.Stat(path)
	if v.o.Document.Given = named || !errors.Is(err, fs.ErrNotExist); v.o.Document.Given {
		return m.Read(path)
	}
	return m.Parse(fmt.Sprintf(stub, v.o.URL.Scheme+"://"+strings.ToLower(v.o.URL.Host), cmp.Or(v.preset, outpost.Presets()[0])))
}

// know tells the doctor what the document says about the site.
func (v *Visit) know(m Means, doc *config.Document) error {
	apps, err := m.Applications(doc)
	if err != nil {
		return err
	}
	app := v.application(apps)
	d := &v.o.Document
	d.Prefix, d.InFront, d.Headers = doc.Server.Prefix, app.Upstream != nil, app.Headers.Names()
	d.Snippet = func(proxy string) string {
		text, _ := dialect.Snippet(proxy, dialect.Site{App: app, Listen: doc.Server.HTTP, Prefix: doc.Server.Prefix}) // "" where there is none
		return text
	}
	d.Identity = func(p exam.Person) map[string]string {
		all := map[string]string{}
		id := &outpost.Identity{Subject: p.Subject, Username: p.Username, Name: p.Name, Email: p.Email, Groups: p.Groups, Provider: p.Provider}
		for _, h := range app.Headers.Headers(id) {
			all[h.Name] = h.Values[0]
		}
		return all
	}
	if !d.Given {
		return nil
	}
	d.Expected = func(u string) string { return m.Decide(doc, u) }
	d.Covering = func(host string) (domain string, any bool) { return covering(doc, host) }
	if host, port, err := net.SplitHostPort(doc.Server.Metrics); err == nil && v.o.Metrics == "" {
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
			host = "127.0.0.1"
		}
		v.o.Metrics = "http://" + net.JoinHostPort(host, port)
	}
	return nil
}

// application answers the one that guards the URL, or any: its headers are
// what is wrong then least.
func (v *Visit) application(apps *outpost.Applications) *outpost.Application {
	r := &outpost.Request{}
	scheme, host, uri, err := canon.SplitURL(v.url)
	if err == nil {
		r.Scheme, r.Host = scheme, host
		r.Path, r.Query, err = canon.SplitURI(uri)
	}
	if err == nil {
		if app, err := apps.Find(r); err == nil {
			return app
		}
	}
	return apps.All()[0]
}

// covering answers the cookie domain that host lies under, and whether the
// document has any.
func covering(doc *config.Document, host string) (domain string, any bool) {
	for _, a := range doc.Applications {
		if a.CookieDomain == "" {
			continue
		}
		any = true
		if host == a.CookieDomain || strings.HasSuffix(host, "."+a.CookieDomain) {
			domain = a.CookieDomain
		}
	}
	return domain, any
}
