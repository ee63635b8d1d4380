package parts

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"sync"
)

// secrets are those that the tests of this process have made or met so far:
// cookies, codes, states, nonces, tokens, keys and passwords. What akprox
// writes must hold none of them.
var secrets registry

const (
	// minSecret is how long a secret has to be, in bytes, to be looked for: a
	// shorter one may be a word of any text. So may one of few characters.
	minSecret, minDistinct = 12, 8
	// window is what is looked up, enough is how much of a longer secret, in
	// one piece, is a leak, and stride is how far apart its windows are.
	window, enough, stride = 12, 24, 48
)

// registry finds known secrets in a text. Its zero value is ready.
type registry struct {
	mu    sync.Mutex
	known map[string]bool
	kinds map[string]int // how many there are
	at    map[[window]byte]place
}

// place is a piece of a form of a secret.
type place struct {
	kind, form string
	offset     int
}

// add takes note of a secret; kind says what it is.
func (r *registry) add(kind, value string) {
	if len(value) < minSecret || distinct(value) < minDistinct {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known[value] {
		return
	}
	if r.known == nil {
		r.known, r.kinds, r.at = map[string]bool{}, map[string]int{}, map[[window]byte]place{}
	}
	r.known[value] = true
	r.kinds[kind]++
	for how, form := range forms(value) {
		for _, offset := range offsets(len(form)) {
			key := [window]byte([]byte(form[offset : offset+window]))
			if _, taken := r.at[key]; !taken {
				r.at[key] = place{kind + how, form, offset}
			}
		}
	}
}

// offsets are where the windows of a form of n bytes begin: some inside, and
// the last one.
func offsets(n int) []int {
	var all []int
	for o := 0; o+window < n; o += stride {
		all = append(all, o)
	}
	return append(all, n-window)
}

// forms are the ways in which a value may be written, by what tells them apart.
// Base64 has three for each of its alphabets, by where in a longer text the
// value begins; its ends depend on what stands beside.
func forms(value string) map[string]string {
	all := map[string]string{"": value, " in hex": hex.EncodeToString([]byte(value))}
	if escaped := url.QueryEscape(value); escaped != value {
		all[" in a query"] = escaped
	}
	if escaped := url.PathEscape(value); escaped != value {
		all[" in a path"] = escaped
	}
	for shift := range 3 {
		text := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + value))
		inner := text[(shift*8+5)/6 : len(text)-1]
		if len(inner) < window {
			continue
		}
		all[fmt.Sprint(" in base64, ", shift)] = inner
		if safe := strings.NewReplacer("+", "-", "/", "_").Replace(inner); safe != inner {
			all[fmt.Sprint(" in base64url, ", shift)] = safe
		}
	}
	return all
}

func distinct(s string) int {
	seen := map[byte]bool{}
	for i := range len(s) {
		seen[s[i]] = true
	}
	return len(seen)
}

// shapes are secrets that are known by their looks, whoever made them.
var shapes = map[string]*regexp.Regexp{
	"a JWT":            regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}`),
	"a session cookie": regexp.MustCompile(`MT[c-g][A-Za-z0-9_-]{80,}`), // base64 of a time of this decade, and 64 bytes more
}

// leaks names the secrets that text holds, each with what stands around it,
// ten of them at most.
func (r *registry) leaks(text string) []string {
	var found []string
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := 0; i+window <= len(text) && len(found) < 10; i++ {
		p, ok := r.at[[window]byte([]byte(text[i:i+window]))]
		if !ok {
			continue
		}
		from, to := i, i+window
		for o := p.offset; o > 0 && from > 0 && text[from-1] == p.form[o-1]; o-- {
			from--
		}
		for o := p.offset + window; o < len(p.form) && to < len(text) && text[to] == p.form[o]; o++ {
			to++
		}
		if to-from >= min(len(p.form), enough) {
			found = append(found, fmt.Sprintf("%s: …%s…", p.kind, around(text, from, to)))
			i = to - 1
		}
	}
	for name, shape := range shapes {
		if at := shape.FindStringIndex(text); at != nil {
			found = append(found, fmt.Sprintf("%s by its looks: …%s…", name, around(text, at[0], at[1])))
		}
	}
	return found
}

func around(text string, from, to int) string {
	return text[max(0, from-160):min(len(text), to+80)]
}

// Secret makes value one of the secrets that no output of akprox may hold, as
// are those that Client sends and gets, that akprox reads from its document and
// that it keeps in a store on disk. Kind is for the message.
func Secret(kind, value string) { secrets.add(kind, value) }

// Secrets answers how many secrets are known of each kind.
func Secrets() map[string]int {
	secrets.mu.Lock()
	defer secrets.mu.Unlock()
	all := map[string]int{}
	for kind, n := range secrets.kinds {
		all[kind] = n
	}
	return all
}
