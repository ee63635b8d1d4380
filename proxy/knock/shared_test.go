package knock

import (
	"net/http"
	"testing"
	"time"

	"github.com/akprox/akprox/e2e/parts"
	"github.com/akprox/akprox/outpost/store/redis/redistest"
)

func TestTwoInstancesLimitKnocksTogether(t *testing.T) {
	r := parts.Redis(t)
	var both [2]*Handler
	for i := range both {
		both[i] = handler(t, Options{Door: newGate(), Shared: redistest.Open(t, r.Addr()), Limits: Limits{Window: time.Hour, Successes: 3, Failures: 4}})
	}
	ask := func(i, want int, key, from string) {
		t.Helper()
		w := call(both[i].Knock, "POST", "", "X-Api-Key", key, "X-Forwarded-For", from)
		if w.Code != want || (want == http.StatusTooManyRequests) != (w.Header().Get("Retry-After") != "") {
			t.Errorf("%s from %s at %d: %d, not %d; %v", key, from, i, w.Code, want, w.Header())
		}
	}
	for i := range 3 {
		ask(i%2, http.StatusOK, "good", "192.0.2.1")
	}
	for i := range 4 {
		ask(i%2, http.StatusUnauthorized, "bad", "192.0.2.2")
	}
	for i := range both {
		ask(i, http.StatusTooManyRequests, "good", "192.0.2.1")
		ask(i, http.StatusTooManyRequests, "good", "192.0.2.2")
	}
	ask(0, http.StatusOK, "good", "192.0.2.3")
	r.Stop()
	ask(0, http.StatusInternalServerError, "good", "192.0.2.3")
	ask(1, http.StatusInternalServerError, "bad", "192.0.2.3")
}
