package signin

import (
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/akprox/akprox/proxy/signin/returnurl"
)

const (
	roundsCookie = "akprox_tries_"
	roundsLife   = time.Minute
	maxRounds    = 3
)

// roundsName is the cookie that counts how often a browser was brought to t.
// Many tabs have many targets; a loop has one.
func roundsName(t returnurl.Target) string {
	return roundsCookie + hex.EncodeToString(hash(t.App.Name + "\n" + t.URL)[:4])
}

// rounds answers how often this browser was brought to t within a minute.
func (v *visit) rounds(t returnurl.Target) int {
	c, err := v.r.Cookie(roundsName(t))
	if err != nil {
		return 0
	}
	n, err := strconv.ParseUint(c.Value, 10, 8)
	if err != nil {
		return 0
	}
	return int(n)
}

// countRound adds one.
func (v *visit) countRound(t returnurl.Target) {
	http.SetCookie(v.w, v.cookie(t.App, roundsName(t), strconv.Itoa(min(v.rounds(t)+1, maxRounds)), roundsLife))
}

// forgetRounds is for people who sign out: the next sign-in is a new one.
func (v *visit) forgetRounds(t returnurl.Target) {
	for _, c := range v.r.Cookies() {
		if strings.HasPrefix(c.Name, roundsCookie) {
			http.SetCookie(v.w, v.cookie(t.App, c.Name, "", -1))
		}
	}
}

// beginRounds counts from the beginning for who begins anew.
func (v *visit) beginRounds(t returnurl.Target, anew bool) {
	if anew {
		http.SetCookie(v.w, v.cookie(t.App, roundsName(t), "", -1))
	}
}
