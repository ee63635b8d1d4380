package token_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/store"
	kept "github.com/akprox/akprox/outpost/store/memory"
	"github.com/akprox/akprox/providers/token"
)

// shared opens a store that the outposts of a test share.
func shared(t testing.TB, now func() time.Time) *kept.Store {
	s := kept.New(kept.Options{Now: now})
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// silent is a store that can stop answering.
type silent struct {
	token.Shared
	off   atomic.Bool
	calls atomic.Int64
}

func (s *silent) Get(ctx context.Context, key string) (store.Item, error) {
	s.calls.Add(1)
	if s.off.Load() {
		<-ctx.Done()
		return store.Item{}, store.ErrUnavailable
	}
	return s.Shared.Get(ctx, key)
}

// outposts makes n of the same document that share st.
func (i *issuer) outposts(t testing.TB, n int, st token.Shared, change func(*token.IntrospectionOptions)) []*token.Introspection {
	var all []*token.Introspection
	for range n {
		all = append(all, i.introspection(t, func(o *token.IntrospectionOptions) {
			o.Shared = st
			if change != nil {
				change(o)
			}
		}))
	}
	return all
}

// slowly answers honestly after a while.
func (i *issuer) slowly(d time.Duration) {
	i.says("/introspect", func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		time.Sleep(d)
		i.mu.Lock()
		defer i.mu.Unlock()
		answer := object{"active": false}
		if told, ok := i.tokens[r.PostForm.Get("token")]; ok {
			answer = object{"active": true, "sub": told["sub"]}
		}
		reply(w, answer)
	})
}

func TestOneNewTokenAtThreeOutpostsIsOneQuestion(t *testing.T) {
	for bearer, want := range map[string]string{"good-token": good, "bad-token": invalidToken} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			i := newIssuer(t)
			i.knows("good-token", object{"sub": "alice"})
			i.slowly(300 * time.Millisecond)
			all := i.outposts(t, 3, shared(t, nil), func(o *token.IntrospectionOptions) { o.Timeout = 20 * time.Second })
			var wait sync.WaitGroup
			for n := range 51 {
				wait.Go(func() {
					if id, err := present(all[n%3], bearer); verdict(t, id, err) != want {
						t.Errorf("%v, %v", id, err)
					}
				})
			}
			wait.Wait()
			if n := i.count("/introspect"); n != 1 {
				t.Errorf("%d questions", n)
			}
			var answered uint64
			for _, k := range all {
				answered += k.Stats().Shared
			}
			if answered != 2 {
				t.Errorf("%d outposts were answered by the store", answered)
			}
		})
	}
}

func TestWhatIsSharedHoldsNoLongerThanTheCache(t *testing.T) {
	var now clock
	i := newIssuer(t)
	all := i.outposts(t, 4, shared(t, now.now), func(o *token.IntrospectionOptions) { o.Now = now.now })
	ask := func(k *token.Introspection, bearer, want string, questions int) {
		t.Helper()
		if id, err := present(k, bearer); verdict(t, id, err) != want {
			t.Errorf("%s: %v, %v, not %s", bearer, id, err, want)
		}
		if n := i.count("/introspect"); n != questions {
			t.Errorf("%s: %d questions, not %d", bearer, n, questions)
		}
	}
	i.knows("opaque-a", object{"sub": "alice"})
	i.knows("opaque-b", object{"sub": "bob", "exp": time.Now().Add(20 * time.Second).Unix()})
	ask(all[0], "opaque-a", good, 1)
	ask(all[0], "opaque-b", good, 2)
	i.revokes("opaque-a")
	ask(all[0], "opaque-c", invalidToken, 3)
	ask(all[1], "opaque-c", invalidToken, 3)
	now.move(token.DefaultNegativeCache)
	i.knows("opaque-c", object{"sub": "carol"})
	ask(all[1], "opaque-c", good, 4)
	now.move(25 * time.Second) // 30 s
	ask(all[1], "opaque-a", good, 4)
	ask(all[1], "opaque-b", invalidToken, 5) // it has expired: nobody keeps it beyond that
	now.move(29 * time.Second)
	ask(all[2], "opaque-a", good, 5)
	now.move(time.Second) // 60 s since it was asked, 30 and 1 since it was read
	ask(all[1], "opaque-a", invalidToken, 6)
	ask(all[2], "opaque-a", invalidToken, 6)
	ask(all[3], "opaque-a", invalidToken, 6)
}

func TestWhatDependsOnOtherSettingsIsNotShared(t *testing.T) {
	i, st := newIssuer(t), shared(t, nil)
	i.knows("opaque-a", object{"sub": "alice", "aud": "api", "iss": "https://i", "client_id": "web"})
	for n, change := range []func(*token.IntrospectionOptions){
		nil,
		func(o *token.IntrospectionOptions) { o.Name = "other" },
		func(o *token.IntrospectionOptions) { o.URL += "?x" },
		func(o *token.IntrospectionOptions) { o.ClientID = "other" },
		func(o *token.IntrospectionOptions) { o.Auth = token.AuthPost },
		func(o *token.IntrospectionOptions) { o.Issuer = "https://i" },
		func(o *token.IntrospectionOptions) { o.Audience = []string{"api"} },
		func(o *token.IntrospectionOptions) { o.ClientIDs = []string{"web"} },
		func(o *token.IntrospectionOptions) { o.Claims.Username = "sub" },
	} {
		for _, k := range i.outposts(t, 2, st, change) {
			if _, err := present(k, "opaque-a"); err != nil {
				t.Error(err)
			}
		}
		if got := i.count("/introspect"); got != n+1 {
			t.Errorf("row %d: %d questions", n, got)
		}
	}
	for _, k := range i.outposts(t, 2, st, func(o *token.IntrospectionOptions) { o.Cache = 0 }) {
		before := i.count("/introspect")
		if _, err := present(k, "opaque-a"); err != nil || i.count("/introspect") != before+1 {
			t.Errorf("with cache: 0, %d questions, %v", i.count("/introspect")-before, err)
		}
	}
}

func TestNoTokenIsStored(t *testing.T) {
	const bearer = "secret/token+of-alice"
	i, st := newIssuer(t), shared(t, nil)
	all := i.outposts(t, 2, st, nil)
	look := func(want int) {
		t.Helper()
		answers := 0
		err := st.List(t.Context(), "", func(key string, item store.Item) error {
			if len(item.Value) > 0 {
				answers++
			}
			for _, secret := range []string{bearer, strings.ReplaceAll(bearer, "/", `\/`)} {
				if strings.Contains(key, secret) || bytes.Contains(item.Value, []byte(secret)) {
					t.Errorf("%s: %s", key, item.Value)
				}
			}
			return nil
		})
		if err != nil || answers != want {
			t.Errorf("%d answers are stored, not %d; %v", answers, want, err)
		}
	}
	for _, body := range []string{
		`{"active":true,"sub":"alice","access_token":"` + bearer + `"}`,
		`{"active":true,"sub":"alice","access_token":"` + strings.ReplaceAll(bearer, "/", `\/`) + `"}`,
		`{"active":true,"sub":"alice","x":"` + strings.Repeat("x", store.MaxValue) + `"}`,
	} {
		i.says("/introspect", answers(200, body))
		k := i.outposts(t, 1, st, nil)[0]
		if _, err := present(k, bearer); err != nil {
			t.Error(err)
		}
		look(0)
	}
	i.says("/introspect", answers(200, `{"active":true,"sub":"alice"}`))
	for _, k := range all {
		if _, err := present(k, bearer); err != nil {
			t.Error(err)
		}
	}
	look(1)
}

func TestAnOutpostThatDoesNotAnswerIsNotWaitedForLongerThanTheIssuer(t *testing.T) {
	t.Parallel() // it waits, most of its time
	i, st := newIssuer(t), shared(t, nil)
	i.knows("opaque-a", object{"sub": "alice"})
	i.says("/introspect", hang(t))
	dead := i.outposts(t, 1, st, func(o *token.IntrospectionOptions) { o.Timeout = time.Minute })[0]
	ctx, leave := context.WithCancel(t.Context())
	gone := make(chan struct{})
	go func() {
		_, _ = dead.Identify(ctx, request("Bearer opaque-a"))
		close(gone)
	}()
	for i.count("/introspect") == 0 {
		time.Sleep(time.Millisecond)
	}
	i.says("/introspect", nil)
	alive := i.outposts(t, 1, st, func(o *token.IntrospectionOptions) { o.Timeout = 4 * time.Second })[0]
	if _, err := present(alive, "opaque-a"); err != nil {
		t.Error(err)
	}
	if n := i.count("/introspect"); n != 2 {
		t.Errorf("%d questions", n)
	}
	leave()
	<-gone
}

func TestAFailedQuestionIsAskedByTheNext(t *testing.T) {
	i, st := newIssuer(t), shared(t, nil)
	i.knows("opaque-a", object{"sub": "alice"})
	i.says("/introspect", answers(503, ""))
	all := i.outposts(t, 2, st, func(o *token.IntrospectionOptions) { o.Timeout = 30 * time.Second })
	if _, err := present(all[0], "opaque-a"); !errors.Is(err, outpost.ErrUnavailable) {
		t.Error(err)
	}
	i.says("/introspect", nil)
	began := time.Now()
	if _, err := present(all[1], "opaque-a"); err != nil || time.Since(began) > 15*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}

func TestAStoreThatIsSilentOrDamagedRefusesNobody(t *testing.T) {
	i := newIssuer(t)
	i.knows("opaque-a", object{"sub": "alice"})
	st := &silent{Shared: shared(t, nil)}
	if _, err := present(i.outposts(t, 1, st, nil)[0], "opaque-a"); err != nil {
		t.Fatal(err)
	}
	err := st.Shared.(*kept.Store).List(t.Context(), "", func(key string, item store.Item) error {
		item.Value = []byte(`{"observed":1,"answer":{"active":`)
		return st.Put(t.Context(), key, item)
	})
	if err != nil {
		t.Fatal(err)
	}
	for n, damage := range []string{"", "{}", "null", "[]", `{"observed":9999999999999,"answer":{"active":true}}`, `{"answer":{"active":true,"sub":"eve"}}`, `{"observed":9999999999999,"refused":"no","answer":{"active":true,"sub":"eve"}}`} {
		err := st.Shared.(*kept.Store).List(t.Context(), "", func(key string, item store.Item) error {
			if strings.HasSuffix(key, "claim") {
				return st.Delete(t.Context(), key)
			}
			item.Value = []byte(damage)
			return st.Put(t.Context(), key, item)
		})
		if err != nil {
			t.Fatal(err)
		}
		id, err := present(i.outposts(t, 1, st, nil)[0], "opaque-a")
		if damage == `{"observed":9999999999999,"answer":{"active":true}}` { // it names nobody, which is a refusal
			if verdict(t, id, err) != invalidToken {
				t.Errorf("%s: %v, %v", damage, id, err)
			}
			continue
		}
		if err != nil || id.Subject != "alice" {
			t.Errorf("row %d, %s: %v, %v", n, damage, id, err)
		}
	}
	st.off.Store(true)
	k := i.outposts(t, 1, st, nil)[0]
	if _, err := present(k, "opaque-a"); err != nil {
		t.Error(err)
	}
	before := st.calls.Load()
	for range 20 { // and nobody waits for it again and again
		_, _ = present(k, "unknown"+strings.Repeat("x", int(st.calls.Load())))
	}
	if n := st.calls.Load() - before; n > 1 {
		t.Errorf("asked %d times while it is silent", n)
	}
}

// FuzzSharedAnswer puts anything under a token that the issuer does not vouch
// for: who is let in is who the answer names.
func FuzzSharedAnswer(f *testing.F) {
	observed := time.Now().UnixMilli()
	for _, seed := range []string{
		`{"active":true,"sub":"alice"}`, `{"active":false}`, `{"active":true,"sub":"alice","exp":1}`, `{"active":true,"sub":"a","sub":"b"}`, `null`, `{`, ``,
	} {
		f.Add(`{"observed":` + strconv.FormatInt(observed, 10) + `,"answer":` + seed + `}`)
		f.Add(seed)
	}
	f.Add(`{"observed":1,"refused":"x"}`)
	i, st := newIssuer(f), shared(f, nil)
	key := ""
	if _, err := present(i.outposts(f, 1, st, nil)[0], "opaque-a"); err == nil {
		f.Fatal("the token is good")
	}
	err := st.List(f.Context(), "", func(k string, _ store.Item) error {
		if !strings.HasSuffix(k, "claim") {
			key = k
		}
		return nil
	})
	if err != nil || key == "" {
		f.Fatal(key, err)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if len(value) > store.MaxValue {
			return
		}
		if err := st.Put(t.Context(), key, store.Item{Value: []byte(value), Expires: time.Now().Add(time.Minute)}); err != nil {
			t.Fatal(err)
		}
		if err := st.Delete(t.Context(), key+"claim"); err != nil { // whom it would wait for
			t.Fatal(err)
		}
		id, err := present(i.outposts(t, 1, st, nil)[0], "opaque-a")
		if verdict(t, id, err) != good {
			return
		}
		var told struct{ Answer map[string]any }
		if err := json.Unmarshal([]byte(value), &told); err != nil || told.Answer["active"] != true || told.Answer["sub"] != id.Subject && told.Answer["client_id"] != id.Subject {
			t.Fatalf("%q lets %q in", value, id.Subject)
		}
	})
}
