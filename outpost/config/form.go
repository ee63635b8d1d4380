package config

import (
	"net"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/net/publicsuffix"

	"github.com/akprox/akprox/outpost/canon"
)

// fault says what is wrong with a text that should be of the form that a form
// tag names; "" when nothing is.
func fault(form, text string) string {
	switch form {
	case "name":
		return badName(text)
	case "text":
		return badText(text)
	case "listen":
		return badListen(text)
	case "prefix":
		return badPrefix(text)
	case "external":
		return badExternal(text)
	case "url":
		return badURL(text)
	case "redis":
		return badRedis(text)
	case "address":
		return badAddress(text)
	case "domain":
		return badDomain(text)
	case "host":
		return badHost(strings.TrimPrefix(text, "*."))
	case "path":
		return badPath(text)
	case "method":
		return badMethod(text)
	case "scope":
		return badScope(text)
	default:
		return "this build does not know the form " + form
	}
}

func badText(text string) string {
	if strings.ContainsFunc(text, unicode.IsControl) {
		return "must not hold control characters"
	}
	return ""
}

func badName(text string) string {
	if strings.TrimSpace(text) != text {
		return "must not begin or end with a space"
	}
	if strings.ContainsAny(text, `"\`) {
		return "must not hold quotes or backslashes"
	}
	return badText(text)
}

func badScope(text string) string {
	if strings.Contains(text, " ") {
		return "a scope has no spaces; write each scope as an item of its own"
	}
	return badName(text)
}

func badMethod(text string) string {
	switch upper, err := canon.Method(text); {
	case err != nil:
		return "is not an HTTP method"
	case upper != text:
		return "methods are case-sensitive; write " + upper
	default:
		return ""
	}
}

func badListen(text string) string {
	if socket, ok := strings.CutPrefix(text, "unix:"); ok {
		if !strings.HasPrefix(socket, "/") || badText(socket) != "" {
			return `expected an absolute path after "unix:"`
		}
		return ""
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil || strings.ContainsAny(host, " /") {
		return `expected "host:port", ":port", "unix:/path" or ""`
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "the port has to be a number up to 65535"
	}
	return ""
}

// safePath reports whether p is a path that every server reads alike.
func safePath(p string) bool {
	for i := range len(p) {
		c := p[i] | 0x20
		if (c < 'a' || c > 'z') && (p[i] < '0' || p[i] > '9') && !strings.ContainsRune("/._~-", rune(p[i])) {
			return false
		}
	}
	return path.IsAbs(p) && path.Clean(p) == p
}

func badPrefix(text string) string {
	if !safePath(text) || text == "/" {
		return "expected a path such as /akprox: of letters, digits, . _ ~ and -, and without a slash at its end"
	}
	return ""
}

// badExternal wants the one form that requests are compared with; a slash at
// the end is left to Parse.
func badExternal(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return "expected an absolute URL such as https://wiki.example.com"
	}
	if u.User != nil || strings.ContainsAny(text, "?#") {
		return "must not have a user, a query or a fragment"
	}
	if strings.Contains(u.Host, "*") {
		return "is one address, without *; to guard every host of a domain, write mode: forward_domain, the domain as cookie_domain, and here the host where sign-in happens"
	}
	host, err := canon.Host(u.Scheme, strings.TrimSuffix(u.Host, ":"))
	if n, bad := strconv.ParseUint(u.Port(), 10, 16); u.Port() != "" && (bad != nil || n == 0) {
		return "its port has to be a number from 1 to 65535"
	}
	if err != nil {
		return "its host is not one; an international name is written in its xn-- form"
	}
	if name := canon.HostName(host); endsInNumber(name) && !isAddress(name) {
		return "its host is not an address"
	}
	want, p := u.Scheme+"://"+host, strings.TrimSuffix(u.EscapedPath(), "/")
	if p != "" && badPrefix(p) != "" {
		return "its path may only have letters, digits, . _ ~ and - between single slashes"
	}
	if want += p; strings.TrimSuffix(text, "/") != want {
		return "write it as " + want
	}
	return ""
}

func badURL(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http" {
		return "expected an absolute URL such as http://127.0.0.1:8080"
	}
	if u.User != nil || strings.ContainsAny(text, "?#") {
		return "must not have a user, a query or a fragment"
	}
	return ""
}

func badHost(text string) string {
	host, err := canon.Host("https", text)
	switch {
	case err != nil:
		return "is not a host name"
	case canon.HostName(host) != text:
		return "write it as " + canon.HostName(host)
	default:
		return ""
	}
}

// badDomain wants what browsers accept as the domain of a cookie.
func badDomain(text string) string {
	if strings.Contains(text, "*") {
		return "write the domain without *; every host at or under it is guarded"
	}
	domain := strings.TrimPrefix(text, ".")
	suffix, _ := publicsuffix.PublicSuffix(domain)
	switch wrong := badHost(domain); {
	case wrong != "":
		return wrong
	case isAddress(domain) || endsInNumber(domain):
		return "browsers take no cookie for an address; use a domain"
	case suffix == domain:
		return "browsers take no cookie for a public suffix; use a domain under it"
	default:
		return ""
	}
}

// endsInNumber reports whether browsers take a host for an IPv4 address,
// however it is written.
func endsInNumber(host string) bool {
	last := host[strings.LastIndexByte(host, '.')+1:]
	_, err := strconv.ParseUint(last, 0, 64)
	return err == nil
}

func isAddress(host string) bool {
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil
}

func badPath(text string) string {
	escape, err := regexp.MatchString(`%[0-9A-Fa-f]{2}`, text)
	for segment := range strings.SplitSeq(text, "/") {
		if segment == "." || segment == ".." {
			return "must not have a segment " + segment
		}
		if strings.Contains(segment, "**") && segment != "**" {
			return "** has to be a whole segment, as in /orders/**"
		}
	}
	switch {
	case !strings.HasPrefix(text, "/"):
		return "has to begin with /"
	case err != nil || escape:
		return "has an escape; write the character itself"
	case strings.ContainsAny(text, "?#"):
		return "must not have ? or #; only the path is judged"
	case strings.Contains(text, "//") || strings.Contains(text, `\`):
		return `must not have // or \; write single slashes`
	default:
		return badText(text)
	}
}

// badRedis does not repeat what it finds: somebody may have written a password.
func badRedis(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Opaque != "" || u.Fragment != "" {
		return "expected redis://host:port/db, rediss://host:port/db or unix:///path"
	}
	if u.User != nil {
		return "a URL holds no user and no password here; they are username and password"
	}
	database := strings.TrimPrefix(u.Path, "/")
	switch {
	case u.Scheme == "unix" && u.Host == "" && len(u.Path) > 1:
		database = u.Query().Get("db")
	case (u.Scheme == "redis" || u.Scheme == "rediss") && u.Hostname() != "" && u.RawQuery == "":
	default:
		return "expected redis://host:port/db, rediss://host:port/db or unix:///path"
	}
	if _, err := strconv.ParseUint(database, 10, 16); err != nil && database != "" {
		return "the database is a number, as in redis://host:6379/3"
	}
	return ""
}

func badAddress(text string) string {
	host, port, err := net.SplitHostPort(text)
	if _, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || host == "" || strings.ContainsAny(host, " /@") {
		return "expected host:port"
	}
	return ""
}
