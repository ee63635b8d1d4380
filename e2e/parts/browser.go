package parts

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// browserTimeout bounds all that one test does with its browser.
const browserTimeout = 3 * time.Minute

// Browser starts a headless Chromium with a fresh profile and returns the
// context for chromedp's functions. The names that the tests use for their
// sites (*.test, *.example.com and the like) lead to 127.0.0.1. It ends with
// the test, or before by cancel. The window has 1280 by 800 pixels; more
// options may follow. For a page as narrow as on a telephone use
// chromedp.EmulateViewport, because windows have a least width.
func Browser(t testing.TB, options ...chromedp.ExecAllocatorOption) (ctx context.Context, cancel context.CancelFunc) {
	t.Helper()
	options = append(append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(Path(t, "chromium")),
		chromedp.NoSandbox, // does not start as root with it
		chromedp.DisableGPU,
		chromedp.WindowSize(1280, 800),
		chromedp.UserDataDir(t.TempDir()),
		// Nothing but the test's own pages is to be asked.
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("no-proxy-server", true),
		chromedp.Flag("host-resolver-rules", "MAP *.test 127.0.0.1, MAP *.example.com 127.0.0.1, "+
			"MAP *.example.org 127.0.0.1, MAP *.example.net 127.0.0.1, MAP *.localhost 127.0.0.1"),
	), options...)
	ctx, stopBrowser := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, stopTab := chromedp.NewContext(ctx, chromedp.WithErrorf(t.Logf))
	// The first use starts the browser, which would otherwise end with the
	// timeout of that use.
	if err := chromedp.Do(ctx); err != nil {
		stopTab()
		stopBrowser()
		t.Fatalf("start chromium: %v", err)
	}
	ctx, stopTimer := context.WithTimeout(ctx, browserTimeout)
	cancel = func() {
		stopTimer()
		stopTab()
		stopBrowser()
	}
	t.Cleanup(cancel)
	return ctx, cancel
}

// ColorScheme makes pages see a user who prefers "light" or "dark".
func ColorScheme(scheme string) chromedp.Action[chromedp.Void] {
	return func(ctx context.Context, target *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		return chromedp.Void{}, err
	}
}

// Screenshot saves the whole page as name.png in the folder of artefacts,
// which is $AKPROX_ARTEFACTS or build/artefacts of the repository, and
// returns the path.
func Screenshot(t testing.TB, ctx context.Context, name string) string {
	t.Helper()
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100)) // 100 means PNG
	if err != nil {
		t.Fatalf("screenshot %s: %v", name, err)
	}
	dir := os.Getenv("AKPROX_ARTEFACTS")
	if dir == "" {
		dir = filepath.Join(root(t), "build", "artefacts")
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	return write(t, dir, name+".png", string(png))
}
