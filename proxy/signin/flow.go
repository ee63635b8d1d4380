package signin

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/limit"
	"github.com/akprox/akprox/outpost/store"
	"github.com/akprox/akprox/proxy/signin/returnurl"
)

const (
	flowLife    = 10 * time.Minute
	flowPrefix  = "flow:" // of their keys
	flowCookie  = "akprox_flow_"
	maxFlows    = 100_000 // in progress, of all browsers
	maxOwnFlows = 8       // in progress, of one browser
	stateLength = 43      // 256 random bits
	recount     = 10 * time.Second
)

// flow is a sign-in in progress.
type flow struct {
	App       string `json:"app"`
	Provider  string `json:"provider"`
	Nonce     string `json:"nonce"`
	Verifier  string `json:"verifier"`
	Redirect  string `json:"redirect_url"`
	ReturnURL string `json:"return_url"`
	Binding   []byte `json:"binding"` // hash of the cookie's value
	Begun     int64  `json:"begun"`   // Unix milliseconds
}

func (f flow) query(state string) outpost.AuthQuery {
	return outpost.AuthQuery{RedirectURL: f.Redirect, State: state, Nonce: f.Nonce, Verifier: f.Verifier}
}

// names answers where the flow of a state stands and what its cookie is
// called. A reader of the store cannot make the state of it.
func names(state string) (key, cookie string) {
	sum := sha256.Sum256([]byte(state))
	return flowPrefix + base64.RawURLEncoding.EncodeToString(sum[:]), flowCookie + hex.EncodeToString(sum[:4])
}

func random() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails: it ends the process instead
	return base64.RawURLEncoding.EncodeToString(b)
}

func hash(s string) []byte {
	sum := sha256.Sum256([]byte(s))
	return sum[:]
}

var (
	errCrowded = errors.New("too many sign-ins in progress")
	errIssuer  = errors.New("the issuer cannot be asked")
)

// begin makes a flow that leads to t and answers where the issuer goes on
// with it. Unless all of it has worked nothing is stored and no cookie set.
func (v *visit) begin(t returnurl.Target) (location string, err error) {
	if client := v.Client(v.r); client.IsValid() {
		if l, _ := v.clients.Take(v.ctx, limit.AddressKey(client)); !l.OK {
			return "", errCrowded
		}
	}
	if err := v.crowd.admit(v.ctx, v.Store, v.Now()); err != nil {
		return "", err
	}
	now := v.Now()
	state, binding := random(), strconv.FormatInt(now.Unix(), 36)+"."+random()
	f := flow{
		App: t.App.Name, Provider: t.App.SignIn.Provider, Nonce: random(), Verifier: random(),
		Redirect: t.App.External.Origin() + v.at.Callback, ReturnURL: t.URL, Binding: hash(binding), Begun: now.UnixMilli(),
	}
	location, err = t.App.SignIn.Issuer.AuthURL(v.ctx, f.query(state))
	if err != nil {
		return "", fmt.Errorf("%w: %w", errIssuer, err)
	}
	value, err := json.Marshal(f)
	if err != nil {
		return "", err
	}
	key, cookie := names(state)
	if err := v.Store.Put(v.ctx, key, store.Item{Value: value, Expires: now.Add(flowLife)}); err != nil {
		return "", err
	}
	v.makeRoom(t.App)
	http.SetCookie(v.w, v.cookie(t.App, cookie, binding, flowLife))
	return location, nil
}

// makeRoom expires the oldest flow cookies of a browser that has as many as
// it may. Without the cookie a flow is dead.
func (v *visit) makeRoom(app *outpost.Application) {
	var own []*http.Cookie
	for _, c := range v.r.Cookies() {
		if strings.HasPrefix(c.Name, flowCookie) && len(c.Name) == len(flowCookie)+8 {
			own = append(own, c)
		}
	}
	slices.SortStableFunc(own, func(a, b *http.Cookie) int { return cmp.Compare(begun(a), begun(b)) })
	for ; len(own) >= maxOwnFlows; own = own[1:] {
		http.SetCookie(v.w, v.cookie(app, own[0].Name, "", -1))
	}
}

// begun answers when the flow of a cookie began; a cookie that we did not
// make is the oldest.
func begun(c *http.Cookie) int64 {
	text, _, _ := strings.Cut(c.Value, ".")
	n, _ := strconv.ParseInt(text, 36, 64)
	return n
}

// errForeign says that the browser did not begin the flow that it ends.
var errForeign = errors.New("the flow's cookie is not there, or another one")

// take ends the flow of state and answers it: store.ErrNotFound when there is
// none, errForeign when this browser has not begun it.
func (v *visit) take(state string) (flow, error) {
	var f flow
	key, cookie := names(state)
	item, err := v.Store.Take(v.ctx, key)
	if err != nil {
		return f, err
	}
	if err := json.Unmarshal(item.Value, &f); err != nil {
		return f, store.ErrNotFound
	}
	for _, c := range v.r.CookiesNamed(cookie) {
		if subtle.ConstantTimeCompare(hash(c.Value), f.Binding) == 1 {
			return f, nil
		}
	}
	return f, errForeign
}

// crowd bounds the flows in progress. Its zero value is ready.
type crowd struct {
	mu      sync.Mutex
	n       int // never less than there are of ours
	counted time.Time
}

// admit counts one more flow, or answers errCrowded. The store is asked at
// first and when the bound is reached, because most flows have ended by then.
func (c *crowd) admit(ctx context.Context, st store.Store, now time.Time) error {
	counter, ok := st.(store.Counter)
	if !ok {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counted.IsZero() || c.n >= maxFlows && now.Sub(c.counted) >= recount {
		n, err := counter.Count(ctx, flowPrefix)
		if err != nil {
			return err
		}
		c.n, c.counted = n, now
	}
	if c.n >= maxFlows {
		return errCrowded
	}
	c.n++
	return nil
}
