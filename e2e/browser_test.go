package e2e_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/akprox/akprox/e2e/parts"
)

// TestChromium is a person with a real browser, at domain level behind nginx.
// The screenshots stay as artefacts.
func TestChromium(t *testing.T) {
	t.Parallel()
	s := newStage(t, nginx, "forward_domain", "oidc-provider")
	ctx, _ := parts.Browser(t)
	do := func(steps ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		if err := chromedp.Do(ctx, steps...); err != nil {
			t.Fatal(err)
		}
	}
	here := func() string {
		t.Helper()
		location, err := chromedp.Run(ctx, chromedp.Location())
		if err != nil {
			t.Fatal(err)
		}
		return location
	}
	type css = chromedp.CSS
	page := func(address, host string) {
		t.Helper()
		if got := here(); got != address {
			t.Fatalf("the browser is at %s, not %s", got, address)
		}
		text, err := chromedp.Run(ctx, chromedp.Text(css("body")))
		if err != nil {
			t.Fatal(err)
		}
		var seen parts.Echoed
		if json.Unmarshal([]byte(text), &seen) != nil || !strings.HasPrefix(seen.Host, host) || seen.Header.Get("X-Auth-Username") != "alice" {
			t.Fatalf("%s shows %s", address, text)
		}
	}

	do(chromedp.Navigate(s.app + "/app?a=1&b=2"))
	if !strings.HasPrefix(here(), s.issuer.URL) {
		t.Fatalf("not at the issuer but at %s", here())
	}
	parts.Screenshot(t, ctx, "domain-1-issuer")
	do(
		chromedp.SendKeys(css("[name=login]"), "alice"), chromedp.SendKeys(css("[name=password]"), "x"),
		chromedp.Submit(css("form")),
		chromedp.WaitReady(css("input[name=prompt][value=consent]")),
		chromedp.Submit(css("form")),
		chromedp.WaitReady(css("pre")), // how Chromium shows JSON
	)
	page(s.app+"/app?a=1&b=2", appHost)
	parts.Screenshot(t, ctx, "domain-2-signed-in")

	do(chromedp.Navigate(s.other + "/there"))
	page(s.other+"/there", otherHost)
	parts.Screenshot(t, ctx, "domain-3-second-host")

	do(chromedp.Navigate(s.origin(authHost) + "/akprox/sign_out"))
	parts.Screenshot(t, ctx, "domain-4-sign-out")
	do(chromedp.EmulateViewport(360, 640), parts.ColorScheme("dark"))
	parts.Screenshot(t, ctx, "domain-4-sign-out-dark-phone")
	do(
		chromedp.Submit(css("form")),
		chromedp.WaitReady(css("[name=logout]")), // the issuer asks as well
		chromedp.Click(css("[name=logout]")),
		chromedp.WaitReady(css("pre")),
	)
	if got := here(); got != s.app+"/public/bye" {
		t.Errorf("after signing out the browser is at %s", got)
	}
	do(chromedp.Navigate(s.app + "/app"))
	if at, err := url.Parse(here()); err != nil || at.Host != strings.TrimPrefix(s.issuer.URL, "http://") {
		t.Errorf("after signing out, the page is at %s", here())
	}
}
