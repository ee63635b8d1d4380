package parts

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"
)

// OryHydra is a running Ory Hydra. It has no users and no pages: its admin
// port says who signs in, and introspects without credentials.
type OryHydra struct {
	*Process
	URL   string // the issuer
	Admin string
}

// Hydra starts Ory Hydra with the given clients. It keeps nothing over a
// restart. A client may ask for the scopes that its name is given in scopes.
func Hydra(t testing.TB, clients []OAuthClient, scopes string) *OryHydra {
	t.Helper()
	Need(t)
	public, admin := Port(t), Port(t)
	h := &OryHydra{URL: fmt.Sprintf("http://127.0.0.1:%d", public), Admin: fmt.Sprintf("http://127.0.0.1:%d/admin", admin)}
	h.Process = Start(t, Cmd{
		Name: "hydra",
		Path: Path(t, "hydra"),
		Args: []string{"serve", "all", "--dev", "--sqa-opt-out"},
		Env: []string{
			"DSN=memory", "SQA_OPT_OUT=true", "LOG_LEVEL=warn", "SECRETS_SYSTEM=a-system-secret-for-tests-only-0001",
			"SERVE_PUBLIC_HOST=127.0.0.1", fmt.Sprintf("SERVE_PUBLIC_PORT=%d", public),
			"SERVE_ADMIN_HOST=127.0.0.1", fmt.Sprintf("SERVE_ADMIN_PORT=%d", admin),
			"URLS_SELF_ISSUER=" + h.URL, "URLS_LOGIN=" + h.URL + "/no-page/login", "URLS_CONSENT=" + h.URL + "/no-page/consent",
		},
		Dir:      t.TempDir(),
		Port:     public,
		ReadyURL: fmt.Sprintf("http://127.0.0.1:%d/health/ready", admin),
		Timeout:  60 * time.Second,
	})
	h.makeKeys(t)
	for _, c := range clients {
		grants := c.GrantTypes
		if len(grants) == 0 {
			grants = []string{"authorization_code"}
		}
		h.Ask(t, http.MethodPost, "/clients", map[string]any{
			"client_id": c.ID, "client_secret": c.Secret, "grant_types": grants, "response_types": []string{"code"},
			"scope": scopes, "redirect_uris": orEmpty(c.RedirectURIs), "token_endpoint_auth_method": "client_secret_basic",
		})
	}
	return h
}

// makeKeys has Hydra make its keys, which it does for the first who asks, and
// for longer than that one may wait, or Hydra itself, where there is much to do.
func (h *OryHydra) makeKeys(t testing.TB) {
	t.Helper()
	var err error
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(time.Second) {
		if err = answersWithin(20*time.Second, h.URL+"/.well-known/jwks.json"); err == nil {
			return
		}
	}
	t.Fatalf("hydra: its keys: %v", err)
}

// Ask asks the admin port and answers what it says.
func (h *OryHydra) Ask(t testing.TB, method, path string, body any) map[string]any {
	t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, h.Admin+path, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var answer map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode >= 300 {
		t.Fatalf("hydra: %s %s: %s, %v %v", method, path, resp.Status, answer, err)
	}
	return answer
}
