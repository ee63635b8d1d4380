package canon

import (
	"net/netip"
	"strconv"
	"strings"
)

// MaxURI bounds a request URI in bytes; a longer one is Refused.
const MaxURI = 16 << 10

// Host answers host in the one form that everything else compares:
// lower-case, without one trailing dot and without the scheme's default port.
// Only [a-z0-9.-] or a bracketed IPv6 address, with a port, is a host; else it
// is Refused.
func Host(scheme, host string) (string, error) {
	name, port, err := splitPort(host)
	if err != nil {
		return "", err
	}
	if port == "80" && scheme == "http" || port == "443" && scheme == "https" {
		port = ""
	}
	if strings.HasPrefix(name, "[") {
		name, err = ipv6(name)
	} else {
		name, err = dnsName(name)
	}
	if err != nil || port == "" {
		return name, err
	}
	return name + ":" + port, nil
}

func splitPort(host string) (name, port string, err error) {
	i := strings.LastIndexByte(host, ':')
	if i < 0 || strings.HasSuffix(host, "]") {
		return host, "", nil
	}
	n, err := strconv.ParseUint(host[i+1:], 10, 16)
	if err != nil || n == 0 || host[i+1] == '+' {
		return "", "", refuse(BadHost, "port")
	}
	return host[:i], strconv.FormatUint(n, 10), nil
}

func ipv6(name string) (string, error) {
	if !strings.HasSuffix(name, "]") {
		return "", refuse(BadHost, "bracket")
	}
	a, err := netip.ParseAddr(name[1 : len(name)-1])
	if err != nil || !a.Is6() || a.Zone() != "" {
		return "", refuse(BadHost, "address")
	}
	return "[" + a.String() + "]", nil
}

func dnsName(name string) (string, error) {
	name = strings.TrimSuffix(name, ".")
	if name == "" || len(name) > 253 {
		return "", refuse(BadHost, "length")
	}
	upper, last := false, byte('.')
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case c >= 'A' && c <= 'Z':
			upper = true
		case c == '.' && last == '.':
			return "", refuse(BadHost, "empty label")
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '.':
		default:
			return "", refuse(BadHost, "character")
		}
		last = name[i]
	}
	if last == '.' {
		return "", refuse(BadHost, "empty label")
	}
	if upper {
		name = strings.ToLower(name)
	}
	return name, nil
}

// HostName answers a canonical host without its port.
func HostName(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		return host[:i]
	}
	return host
}

// Scheme answers http or https, lower-case, or Refused. The
// WebSocket schemes, which some proxies tell, mean their HTTP ones.
func Scheme(scheme string) (string, error) {
	switch {
	case strings.EqualFold(scheme, "https"), strings.EqualFold(scheme, "wss"):
		return "https", nil
	case strings.EqualFold(scheme, "http"), strings.EqualFold(scheme, "ws"):
		return "http", nil
	}
	return "", refuse(BadScheme, "")
}

// Method answers method in upper case; "" stays unknown, and what is
// no token (RFC 9110 5.6.2) is Refused.
func Method(method string) (string, error) {
	if len(method) > 32 {
		return "", refuse(BadMethod, "length")
	}
	for i := 0; i < len(method); i++ {
		if c := method[i] | 0x20; (c < 'a' || c > 'z') && method[i] != '-' && method[i] != '_' {
			return "", refuse(BadMethod, "character")
		}
	}
	return strings.ToUpper(method), nil
}

// SplitURI takes a request URI in origin form apart (RFC 9112 3.2.1) into the
// path and its readings, and the raw query.
func SplitURI(uri string) (Path, string, error) {
	if len(uri) > MaxURI {
		return Path{}, "", refuse(Oversized, "uri")
	}
	if uri == "" || uri[0] != '/' {
		return Path{}, "", refuse(BadURI, "not in origin form")
	}
	raw, query, _ := strings.Cut(uri, "?")
	for i := 0; i < len(query); i++ {
		if c := query[i]; c <= ' ' || c == 0x7f || c == '#' {
			return Path{}, "", refuse(BadURI, "character in the query")
		}
	}
	path, err := ReadPath(raw)
	return path, query, err
}

// SplitURL takes an absolute http or https URL apart without ever gluing it
// together again: scheme, canonical host, and the URI from the path on.
func SplitURL(raw string) (scheme, host, uri string, err error) {
	s, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return "", "", "", refuse(BadURI, "not an absolute URL")
	}
	if scheme, err = Scheme(s); err != nil {
		return "", "", "", err
	}
	i := strings.IndexAny(rest, "/?#\\")
	if i < 0 {
		i = len(rest)
	}
	if host, err = Host(scheme, rest[:i]); err != nil {
		return "", "", "", err
	}
	if uri = rest[i:]; uri == "" || uri[0] == '?' {
		uri = "/" + uri
	}
	return scheme, host, uri, nil
}
