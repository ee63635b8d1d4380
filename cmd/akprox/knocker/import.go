package knocker

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/akprox/akprox/outpost/config/strict"
	"github.com/akprox/akprox/providers/knock"
	"github.com/akprox/akprox/providers/knock/ranges"
	face "github.com/akprox/akprox/proxy/knock"
)

// importer turns a knocker.yaml into a document and says what it changed.
type importer struct {
	in       file
	out      strings.Builder
	warnings []string
	proxies  []netip.Prefix
	named    map[string]bool
}

func (m *importer) warn(format string, args ...any) {
	m.warnings = append(m.warnings, fmt.Sprintf(format, args...))
}

func (m *importer) printf(format string, args ...any) { fmt.Fprintf(&m.out, format, args...) }

// Import answers the document, and what a person has to know of it.
// held is a whitelist.json or empty. What Knocker would not start with is an
// error.
func Import(name string, data, held []byte, now time.Time) (string, []string, error) {
	m := &importer{named: map[string]bool{}}
	if err := m.read(name, data); err != nil {
		return "", m.warnings, err
	}
	m.unserved()
	m.server()
	if err := m.keys(); err != nil {
		return "", m.warnings, fmt.Errorf("%s: %w", name, err)
	}
	m.security()
	if err := m.leases(held, now); err != nil {
		return "", m.warnings, err
	}
	return m.out.String(), m.warnings, nil
}

// read is as strict about types as Knocker is, and as lax about keys that it
// does not know.
func (m *importer) read(name string, data []byte) error {
	r := &strict.Reader{File: name}
	r.Read(data, &m.in)
	var problems strict.Problems
	for _, p := range r.Problems() {
		switch {
		case strings.HasPrefix(p.Key, "firewalld."), strings.HasPrefix(p.Key, "documentation."):
		case p.Key == "security.excluded_paths_by_host" && strings.HasSuffix(p.Text, "got nothing"):
		case strings.HasPrefix(p.Text, "unknown key"):
			m.warn("%s; Knocker ignores it, and so is it here", p)
		case strings.HasSuffix(p.Text, "is empty") && strings.HasPrefix(p.Key, "security."): // told of below
		default:
			problems = append(problems, p)
		}
	}
	if m.in.Security.Rate.Successes < 0 || m.in.Security.Rate.Failures < 0 {
		problems = append(problems, strict.Problem{File: name, Line: r.Lines.Of("security.knock_rate_limit"), Key: "security.knock_rate_limit", Text: "a limit must not be negative"})
	}
	return problems.Err()
}

// unserved warns of what akprox does in another way or not at all.
func (m *importer) unserved() {
	if m.in.Firewalld.Enabled {
		m.warn("firewalld: akprox changes no firewall; ports that only Knocker's firewall rules kept closed are open from now on")
	}
	if m.in.Documentation.Enabled {
		m.warn("documentation: /docs, /redoc and /openapi.json are not served")
	}
	if m.in.Whitelist.Path != "" {
		m.warn("whitelist.storage_path: leases are kept in the store, akprox-data; --leases %s brings the old ones along", m.in.Whitelist.Path)
	}
}

func (m *importer) server() {
	for i, s := range m.in.Server.Proxies {
		p, ok := m.parse(fmt.Sprintf("server.trusted_proxies[%d]", i), s)
		switch {
		case ok && p.Bits() == 0:
			m.warn("server.trusted_proxies[%d]: %s trusts everybody to say who they are, so nobody's address would be known; left out", i, s)
		case ok:
			m.proxies = append(m.proxies, p)
		}
	}
	if len(m.proxies) == 0 {
		m.warn("server.trusted_proxies: there are none, so every client is the one that connects; name your reverse proxy")
	}
	port := m.in.Server.Port
	if port < 1 || port > 65535 {
		m.warn("server.port: %d is none; 8000 is served", port)
		port = 8000
	}
	host := m.in.Server.Host
	if _, err := netip.ParseAddr(host); err != nil && host != "" && host != "localhost" {
		m.warn("server.host: %s is no address; every address is served", strict.Quote(host))
		host = ""
	} else if host == "0.0.0.0" {
		host = ""
	}
	metrics := 9300
	if port == metrics {
		metrics++
	}
	m.printf(`# Made by "akprox import knocker". It holds your keys: keep it readable by akprox alone.
version: 1
server:
  http: %s
  https: ""
  metrics: "127.0.0.1:%d"
  compat: [knocker] # /knock, /verify, /health and /ready stay where they were
  trusted_proxies: %s
store: { kind: disk, path: akprox-data }
log: { level: %s }
`, strconv.Quote(net.JoinHostPort(host, strconv.Itoa(port))), metrics, prefixes(m.proxies), m.level())
}

func (m *importer) level() string {
	levels := map[string]string{"DEBUG": "debug", "INFO": "info", "WARNING": "warn", "ERROR": "error", "CRITICAL": "error"}
	level, ok := levels[strings.ToUpper(m.in.Logging.Level)]
	if !ok {
		m.warn("logging.level: %s is none; info is served", strict.Quote(m.in.Logging.Level))
	}
	return cmp.Or(level, "info")
}

// parse reads an address or a range as Knocker does.
func (m *importer) parse(at, s string) (netip.Prefix, bool) {
	p, err := ranges.Parse(s)
	if err != nil {
		m.warn("%s: %s is neither an address nor a range; left out", at, strict.Quote(s))
	}
	return p, err == nil
}

func (m *importer) keys() error {
	m.printf("providers:\n  - name: door\n    kind: knock\n    keys:\n")
	seen := map[string]int{}
	written := 0
	for i, k := range m.in.Keys {
		at := fmt.Sprintf("api_keys[%d]", i)
		if first, ok := seen[k.Key]; ok {
			return fmt.Errorf("%s.key: it is that of api_keys[%d], too; Knocker does not start with it", at, first)
		}
		seen[k.Key] = i
		switch {
		case k.TTL == 0 && k.MaxTTL == 0:
			return fmt.Errorf("%s: has neither max_ttl nor ttl", at)
		case k.TTL != 0 && k.MaxTTL != 0 && k.TTL != k.MaxTTL:
			m.warn("%s: max_ttl counts, and ttl does not", at)
		}
		ttl := min(cmp.Or(k.MaxTTL, k.TTL), knock.MaxTTL)
		name := m.name(at, k.Name, i)
		if _, err := knock.New(knock.Options{Keys: []knock.Key{{Name: name, Key: k.Key, TTL: ttl}}}); err != nil {
			m.warn("%s.key: %s; left out", at, strings.TrimPrefix(err.Error(), "keys[0]: "))
			continue
		}
		written++
		m.printf("      - { name: %s, key: { value: %s }, ttl: %d, allow_remote_whitelist: %v }\n", strconv.Quote(name), strconv.Quote(k.Key), ttl, k.Remote)
	}
	if written == 0 {
		return errors.New("api_keys: no key is left that could be served")
	}
	return nil
}

// name answers the name of a key, which has to be plain and its own.
func (m *importer) name(at, name string, i int) string {
	plain := strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f || c == '"' || c == '\\' || c > '~' {
			return '-'
		}
		return c
	}, strings.TrimSpace(name))
	plain = cmp.Or(plain, fmt.Sprintf("key-%d", i+1))
	for own, n := plain, 2; m.named[plain]; n++ {
		plain = fmt.Sprintf("%s-%d", own, n)
	}
	if m.named[plain] = true; name != "" && plain != name {
		m.warn("%s.name: %s is called %s", at, strict.Quote(name), plain)
	}
	return plain
}

func (m *importer) security() {
	s := m.in.Security
	var always []netip.Prefix
	for i, text := range s.Always {
		at := fmt.Sprintf("security.always_allowed_ips[%d]", i)
		p, ok := m.parse(at, text)
		if !ok {
			continue
		}
		always = append(always, p)
		if p.Bits() == 0 {
			m.warn("%s: %s admits everybody, without a knock", at, text)
		} else if slices.ContainsFunc(m.proxies, p.Overlaps) {
			m.warn("%s: %s holds a trusted proxy; whatever the proxy itself asks for is admitted without a knock", at, text)
		}
	}
	m.printf("    always_allowed_ips: %s\n    max_leases: %d\n", prefixes(always), s.Entries)
	m.printf("    limits: { window: %ds, successes: %d, failures: %d }\n", s.Rate.Window, s.Rate.Successes, s.Rate.Failures)
	m.printf("    cors_origin: %s\n", strconv.Quote(m.origin()))
	m.printf("    excluded_paths: %s\n", quoted(m.excluded("security.excluded_paths", s.Excluded)))
	m.byHost(s.ByHost)
}

func (m *importer) byHost(lists map[string][]string) {
	var lines []string
	for _, host := range slices.Sorted(maps.Keys(lists)) {
		at := "security.excluded_paths_by_host." + strict.Quote(host)
		list := m.excluded(at, lists[host])
		if _, err := face.New(face.Options{ExcludedByHost: map[string][]string{host: nil}}); err != nil {
			m.warn("%s: is no host; left out", at)
			continue
		}
		lines = append(lines, fmt.Sprintf("      %q: %s\n", host, quoted(list)))
	}
	if len(lines) == 0 {
		lines = []string{"      {}\n"}
	}
	m.printf("    excluded_paths_by_host:\n%s", strings.Join(lines, ""))
}

func (m *importer) origin() string {
	origin := m.in.CORS.Origin
	if strings.ContainsFunc(origin, func(c rune) bool { return c < ' ' || c > '~' }) {
		m.warn("cors.allowed_origin: it holds characters that no header carries; * is served")
		return "*"
	}
	return origin
}

// excluded reads paths as Knocker does, decoded and with dot segments
// resolved, and leaves out what would open everything.
func (m *importer) excluded(at string, paths []string) (all []string) {
	for i, path := range paths {
		decoded, err := url.PathUnescape(path)
		if err != nil {
			decoded = path
		}
		var segments []string
		for s := range strings.SplitSeq(decoded, "/") {
			switch {
			case s == "..":
				segments = segments[:max(len(segments)-1, 0)]
			case s != "" && s != ".":
				segments = append(segments, s)
			}
		}
		usual := "/" + strings.Join(segments, "/")
		switch _, err := face.Exclusion(usual); {
		case usual == "/":
			m.warn("%s[%d]: %s opens every path to everybody; left out", at, i, strict.Quote(path))
			continue
		case err != nil:
			m.warn("%s[%d]: %s %s; left out", at, i, strict.Quote(path), err)
			continue
		case usual != strings.TrimRight(path, "/"):
			m.warn("%s[%d]: %s means %s, and is written so", at, i, strict.Quote(path), strict.Quote(usual))
		}
		all = append(all, usual)
	}
	return all
}

// leases brings the leases of a whitelist.json along that have not ended, the
// longest first, no more than there may be.
func (m *importer) leases(held []byte, now time.Time) error {
	if held == nil {
		return nil
	}
	var entries map[string]json.RawMessage
	if err := json.Unmarshal(held, &entries); err != nil {
		return fmt.Errorf("the leases are no whitelist.json, an object of addresses and times: %w", err)
	}
	found := m.living(entries, now)
	if most := m.in.Security.Entries; len(found) > most {
		m.warn("leases: there are %d, and %d may be; the longest are brought along", len(found), most)
		found = found[:most]
	}
	if len(found) == 0 {
		m.warn("leases: none of the %d has a time to come", len(entries))
		return nil
	}
	m.printf("    leases: # each ends with its time or with its line\n")
	for _, l := range found {
		m.printf("      - { address: %q, expires: %q }\n", l.address, l.expires.Format(time.RFC3339))
	}
	return nil
}

// lease is one that is brought along.
type lease struct {
	address netip.Prefix
	expires time.Time
}

// living answers what of entries is no refused range and has time left.
func (m *importer) living(entries map[string]json.RawMessage, now time.Time) []lease {
	longest := map[netip.Prefix]int64{}
	for _, text := range slices.Sorted(maps.Keys(entries)) {
		at := "leases." + strict.Quote(text)
		p, ok := m.parse(at, text)
		if !ok {
			continue
		}
		if err := ranges.Admissible(p, append(ranges.Reserved(), m.proxies...)); err != nil {
			m.warn("%s: %s; left out", at, err)
			continue
		}
		seconds, err := strconv.ParseFloat(strings.Trim(string(entries[text]), `"`), 64)
		if err != nil || math.IsNaN(seconds) || math.IsInf(seconds, 0) {
			m.warn("%s: %s is no time; left out", at, strict.Quote(string(entries[text])))
			continue
		}
		longest[p] = int64(min(max(seconds, float64(longest[p])), float64(now.Unix()+knock.MaxTTL)))
	}
	var all []lease
	for p, seconds := range longest {
		if seconds > now.Unix() {
			all = append(all, lease{p, time.Unix(seconds, 0).UTC()})
		}
	}
	slices.SortFunc(all, func(a, b lease) int {
		return cmp.Or(b.expires.Compare(a.expires), a.address.Compare(b.address))
	})
	return all
}

func prefixes(all []netip.Prefix) string {
	texts := make([]string, len(all))
	for i, p := range all {
		texts[i] = p.String()
	}
	return quoted(texts)
}

// quoted answers a list in YAML.
func quoted(texts []string) string {
	all := make([]string, len(texts))
	for i, s := range texts {
		all[i] = strconv.Quote(s)
	}
	return "[" + strings.Join(all, ", ") + "]"
}
