package signin

import (
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	roundsCookie = "akprox_tries_"
	roundsLife   = time.Minute
	maxRounds    = 3
)

// roundsName is the cookie that counts how often a browser was brought to t.
// Many tabs have many targets; a loop has one.
func roundsName(t target) string {
	return roundsCookie + hex.EncodeToString(hash(t.app.Name + "\n" + t.url)[:4])
}

// rounds answers how often this browser was brought to t within a minute.
func (v *visit) rounds(t target) int {
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
func (v *visit) countRound(t target) {
	http.SetCookie(v.w, v.cookie(t.app, roundsName(t), strconv.Itoa(min(v.rounds(t)+1, maxRounds)), roundsLife))
}

// forgetRounds is for people who sign out: the next sign-in is a new one.
func (v *visit) forgetRounds(t target) {
	for _, c := range v.r.Cookies() {
		if strings.HasPrefix(c.Name, roundsCookie) {
			http.SetCookie(v.w, v.cookie(t.app, c.Name, "", -1))
		}
	}
}
