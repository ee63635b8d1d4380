package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// hostileRow is one row of docs/security-tests.md: a published hole, or a
// request that some program has fallen for, in our words; and what holds it
// beside the tables in matrix_rows_test.go and matrix_ways_test.go.
type hostileRow struct{ id, request, answer, also string }

const e2eRows = "e2e TestHostileProxies"

var hostileRows = []hostileRow{
	{"CVE-2026-25748", "a session cookie that is no base64, empty, of the right form, changed, or signed with a secret that was replaced", "nobody: sign_in", "outpost/session TestCookiesThatAreNotOursAreNobody, outpost/session TestAnOldKeyIsNobody"},
	{"own-prefix", "a path that begins as our prefix does, or leaves it again by dot segments", "judged as any path", "cmd/akprox TestOurOwnPathsNeedNobody, cmd/akprox TestOwnPathsInAnotherSpellingAreNotOurs"},
	{"domain-suffix", "a host, or a return URL, that ends or begins like the cookie domain and is another", "unknown_host; the return URL is dropped", "cmd/akprox TestASignInAtDomainLevelServesEveryHost"},
	{"query-is-no-path", "a protected path with a public one in its query", "the query is not judged", ""},
	{"CVE-2023-36456", "an X-Forwarded-For that is no address, or that a stranger sends, at a rule on networks", "forbidden; a stranger is not believed", "outpost TestDecide"},
	{"CVE-2024-47070", "an entry of X-Forwarded-For that is no address, before the proxy's own", "forbidden; never skipped", "proxy/dialect TestTheClientIsTheFirstStrangerFromTheRight, proxy/dialect FuzzForwardedFor"},
	{"CVE-2017-1000069", "a callback with a code and a state, in a browser that did not begin that sign-in", "refused, the code is not redeemed, the state is used up", "proxy/signin TestCVE_2017_1000069_ACallbackWithoutTheFlowCookieIsRefused"},
	{"CVE-2020-5233", "a return URL of a slash and a backslash, plain and escaped", "the application's own address", "proxy/signin/returnurl TestReturnURL"},
	{"CVE-2020-11053", "a return URL with a tab or a line end between its slashes", "the application's own address", "proxy/signin/returnurl TestReturnURL"},
	{"CVE-2020-4037", "a return URL of a host whose name begins with a guarded one's", "the application's own address", "proxy/signin/returnurl TestReturnURL"},
	{"CVE-2021-21291", "a return URL that is two slashes once its dots are resolved", "the application's own address", "proxy/signin/returnurl TestReturnURL"},
	{"CVE-2025-54576", "a protected path, a public pattern's end in its query", "protected", ""},
	{"CVE-2025-64484", "identity headers with underscores", "never read, not passed on", "proxy/reverse Test_no_spelling_of_an_identity_header_survives, " + e2eRows},
	{"CVE-2026-54763", "one underscore among the hyphens", "never read, not passed on", e2eRows},
	{"CVE-2026-88011", "identity headers with dots", "never read, not passed on", e2eRows},
	{"CVE-2026-52845", "the same at a public page, where nobody is known", "the reply has ours, empty", e2eRows},
	{"CVE-2026-34454", "the sign-in page, asked with a live session; then sign-out", "record and cookie are gone", "proxy/signin TestSignOutEndsEverySessionOfTheHost"},
	{"CVE-2026-34457", "the User-Agent of a health checker", "judged as any", ""},
	{"CVE-2026-40574", "an ID token with an address of two @, or one that is not verified", "nobody is known by that address", "outpost/claims TestWhoSomebodyIs, providers/token TestG6G11WhatATokenTells"},
	{"CVE-2026-40575", "X-Forwarded-* from a peer that is not listed", "bad_request", "proxy/dialect TestNobodyElseIsBelieved"},
	{"CVE-2026-41059", "an encoded # that hides what follows, and a plain one", "judged in both readings; bad_request", "outpost TestDecide"},
	{"CVE-2021-32637", "a control character in the host of X-Original-URL", "bad_request", "proxy/dialect TestNginxReads"},
	{"CVE-2021-29456", "a return URL whose host has a guarded one as its beginning, its user, or its path", "the application's own address", "proxy/signin/returnurl TestReturnURL"},
	{"CVE-2025-24806", "bad passwords for one person under several spellings of the name", "counted as one", "providers/password TestThrottle"},
	{"CVE-2026-48794", "a host under the cookie domain with a capital in it", "the same rules", ""},
	{"CVE-2026-77560", "the guarded host in capitals, with the default port, with a dot at its end", "the same application, the same rules", "outpost/canon TestHostHasOneForm, cmd/akprox TestAMadeUpPortIsNobodysApplication"},
	{"GHSA-xg2q", "an X-Forwarded-Uri that is empty or not there", "bad_request", ""},
	{"CVE-2026-33544", "fifty people who sign in at once", "everybody is who they are", "cmd/akprox TestCVE202633544FiftySignInsAtOnce, proxy/signin TestCVE_2026_33544_FiftySignInsAtOnceAreFiftyPeople, outpost/session TestFiftySignInsAtOnceAreEachTheirOwn"},
	{"one-family", "a public page in one family of headers, a private one in the other", "the endpoint's own family alone", ""},
	{"CVE-2026-33494", "a public path left again by dots, plain, encoded, encoded twice, with an encoded slash", "protected; open to who may use both", "outpost FuzzPathsAsServersReadThem"},
	{"CVE-2026-33495", "X-Forwarded-Proto, -Host, -Uri and -For of a stranger", "not believed", ""},
	{"CVE-2026-33496", "a token that one issuer has vouched for, shown where another one is asked", "asked again", "providers/token TestEachKindHasItsOwnCache, providers/token TestWhatDependsOnOtherSettingsIsNotShared"},
	{"CVE-2021-32701", "a token without the scope, used before where none is needed", "forbidden: scopes are judged each time", "cmd/akprox TestCredentialAnswers"},
	{"CVE-2021-39206", "a control header in two lines", "bad_request", "proxy/dialect TestForwardedReads"},
	{"CVE-2021-41230", "claims that changed since the sign-in", "renewed in bounded time, and again at each sign-in", "proxy/signin TestEverySignInHasANewSessionAndEndsTheOldOne, outpost/session TestGroupsReachASessionWithinTheBound, e2e TestRefresh"},
	{"CVE-2024-39315", "pages and userinfo of somebody who is signed in", "no token in them", "proxy/signin TestNoSecretIsLoggedOrShown"},
	{"sign-out-set", "a sign-out that names another host, in X-Forwarded-Host and in its query; then the old cookie", "leads nowhere else; the cookie is dead", "proxy/signin TestSignOut"},
	{"CVE-2026-30851", "a client's own identity header at a public page", "the reply has ours, empty; where a proxy would pass the client's on, bad_request", e2eRows + ", e2e TestScenarios, e2e TestSixLines, e2e TestWhatCaddysKeep"},
	{"CVE-2026-27588", "the guarded host in capitals, as the request's own Host", "the same rules", e2eRows},
	{"CVE-2024-45410", "a Connection header that names the proxy's control headers", "bad_request where one is missing, never a default", e2eRows},
	{"GHSA-92mv", "the same, for the URI and the method", "bad_request; no rule with methods opens", e2eRows},
	{"CVE-2026-35051", "X-Forwarded-Prefix with a public path", "not read", e2eRows},
	{"CVE-2026-39858", "a control header with an underscore or a dot, beside the right one", "bad_request", e2eRows},
	{"CVE-2026-54764", "X-Forwarded-Port with the other scheme's port", "not read", e2eRows},
	{"CVE-2026-40912", "a single dot segment before a protected path", "protected", e2eRows},
	{"auth-signin", "a return URL as a path, as a whole URL, and appended twice", "judged as any", "proxy/signin/returnurl TestReturnURL"},
	{"excluded-path", "dots, an encoded slash, a parameter, a NUL, two slashes, to make a protected path look like one that is open", "protected, or bad_request", "proxy/knock TestExcludedPaths, e2e TestKnockerRows"},
	{"lease-ranges", "ranges of all addresses, mapped ones, zones, NAT64, those of the proxy; a key that is not ASCII; a full table; a short knock over a long lease", "refused; 401; an error and no lease lost; not shortened", "providers/knock/ranges TestWhatNobodyMayBeGiven, providers/knock TestAFullTableRefusesTheNewcomerAndLosesNothing, providers/knock TestALeaseEndsWithItsTimeAndIsNeverShortened, e2e TestKnockerRows"},
	{"S-method", "a POST, or no method at all, where a rule opens GET", "protected", e2eRows},
	{"S-two-lines", "two lines of the forwarded URI, equal ones too", "bad_request", ""},
	{"S-at-sign", "a host with an @, a URI that begins with one", "bad_request", ""},
	{"S-scheme", "a forwarded scheme that is none of ours", "bad_request", "outpost/canon TestSchemesAndMethods"},
	{"S-bad-escape", "a percent sign without its two digits", "bad_request, no panic", ""},
	{"S-cookies", "a cookie that claims to have fifty million parts, two hundred of them, a mebibyte of one", "bounded work, nobody", "cmd/akprox TestSizesAtAndBeyondTheirBounds"},
	{"S-made-up-session", "a session id of the client's own choice, and another application's", "nobody; never taken over", "outpost/session TestEverySignInHasANewID, proxy/signin TestASessionIdThatTheBrowserHadIsNeverKept"},
	{"S-flood", "a hundred thousand hostile requests", "nothing stored, memory and goroutines flat", "cmd/akprox TestMemoryIsFlatAfter100000HostileRequests, cmd/akprox TestOneAddressCannotLockTheOthersOut, proxy/signin TestFlowsAreBoundedInAll"},
	{"S-guesses", "256 bad sign-ins with made-up names", "nobody else is locked out", "providers/password Test256FailuresWithRandomNamesLockNobodyElseOut, providers/password TestABanOutlives100000MadeUpNamesAndMemoryStaysBounded"},
	{"S-image-sign-out", "a sign-out that another site's page, an image or a prefetch causes", "nobody is signed out", "proxy/signin TestSignOut"},
	{"S-callback-text", "free text where the issuer's error code should be", "known codes alone, nothing echoed", "proxy/signin TestTheIssuersErrorCodesBecomeSentences"},
	{"S-callback-twice", "a callback used twice, or of another tab", "on to a page, no dead end, no loop", "proxy/signin TestACallbackUsedTwiceIsNoDeadEnd, proxy/signin TestAnotherTabsCallbackWhileSignedInReachesItsOwnPage, proxy/signin TestALoopEndsInAPageThatNamesTheCause"},
	{"S-start-host", "X-Forwarded-Host at the start of a sign-in", "callback addresses come from the document", ""},
	{"S-renewal", "ten requests at the moment when a session is renewed", "one renewal, and its answer is kept", "outpost/session TestAHundredDueAtOnceAreEachRefreshedOnce, outpost/session TestAClientThatLeavesDuringARefresh, outpost/session TestASessionEndedDuringARefreshDoesNotComeBack, e2e TestRefresh"},
	{"S-store", "a store that fails, hangs, lies or panics at any call", "never a way in; works again afterwards", "cmd/akprox TestAStoreThatFailsAtAnyCall, proxy/signin TestAStoreThatStopsMidwayIsSaidAndHealed"},
	{"S-issuer", "an issuer that hangs or is down", "bounded; who is signed in stays so", "cmd/akprox TestAnIssuerThatIsDownIsUnavailableAndComesBack, providers/oidc TestAPersonWaitsTwoSecondsAtMostAndTheProbeGoesOn"},
	{"S-secrets", "codes, states, tokens and keys in what we write", "never", "proxy/signin TestNoSecretIsLoggedOrShown, cmd/akprox TestTheDecisionLogHasExactlyItsKeys, e2e TestSecretsStayInside"},
	{"S-typed", "a key as a password, a session as a token, a key as a cookie, two keys", "refused", "providers/token TestG1OnlyABearerHeader"},
	{"S-slow", "two thousand connections that say half a sentence", "hung up on; everybody else is served", "cmd/akprox TestSlowClientsAndFloodsHoldNobodyUp, cmd/akprox TestABodyThatNeverEndsIsCutOff"},
	{"S-broken-parts", "a panic, half an answer or none in a kind, the gate, a limit, the rules, a dialect; an answer that cannot be written; a client that has gone", "never a way in", "cmd/akprox TestAPartThatBreaksOpensNothing, cmd/akprox TestADialectThatBreaksOpensNothing, cmd/akprox TestAnAnswerThatCannotBeWritten, cmd/akprox TestConnectionsThatBreakLeaveNothingBehind"},
	{"S-connection", "a Connection header that names the identity headers themselves", "the program is told who asks all the same, or is not asked", "e2e TestConnectionNamesNoIdentity"},
	{"S-body", "a body that the proxy announces and does not send", "not waited for", "cmd/akprox TestABodyThatNeverComesIsNotWaitedFor, e2e TestBodyAnnounced"},
}

const securityPage = "docs/security-tests.md"

// table is the rows as the page has them.
func (all rowTable) String() string {
	var b strings.Builder
	b.WriteString("| row | the request | the answer | held by | dialects |\n|---|---|---|---|---|\n")
	for _, r := range all.rows {
		var held, through []string
		for _, c := range hostileCases {
			if c.id == r.id {
				held = append(held, "cmd/akprox TestHostileRows")
				for _, d := range all.dialects {
					if c.only == "" || slices.Contains(strings.Fields(c.only), d) {
						through = append(through, d)
					}
				}
			}
		}
		for _, w := range hostileWays {
			if w.id == r.id {
				held = append(held, "cmd/akprox TestHostileWays")
			}
		}
		for also := range strings.SplitSeq(r.also, ", ") {
			if also != "" {
				held = append(held, also)
			}
		}
		for i := range held {
			held[i] = "`" + held[i] + "`"
		}
		slices.Sort(through)
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", r.id, r.request, r.answer, strings.Join(slices.Compact(held), ", "), strings.Join(slices.Compact(through), ", "))
	}
	return b.String()
}

type rowTable struct {
	rows     []hostileRow
	dialects []string
}

// TestTheTableOfHostileRows holds the page to the rows, and the rows to tests.
func TestTheTableOfHostileRows(t *testing.T) {
	want := rowTable{hostileRows, dialects(t)}.String()
	page := read(t, securityPage)
	const begin, end = "<!-- rows -->\n", "<!-- end of rows -->"
	before, rest, _ := strings.Cut(page, begin)
	got, after, ok := strings.Cut(rest, end)
	if !ok {
		t.Fatalf("%s has no place for the rows", securityPage)
	}
	if got != want {
		if os.Getenv("AKPROX_UPDATE_DOCS") == "" {
			t.Errorf("%s is not what the rows say; AKPROX_UPDATE_DOCS=1 writes it anew", securityPage)
		} else if err := os.WriteFile(root+securityPage, []byte(before+begin+want+end+after), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ids := map[string]bool{}
	for _, r := range hostileRows {
		if ids[r.id] {
			t.Errorf("%s is there twice", r.id)
		}
		ids[r.id] = true
	}
	for _, c := range hostileCases {
		if !ids[c.id] {
			t.Errorf("%s is a case and no row", c.id)
		}
	}
	for _, w := range hostileWays {
		if !ids[w.id] {
			t.Errorf("%s is a case and no row", w.id)
		}
	}
	for line := range strings.Lines(want) {
		id, held, _ := strings.Cut(strings.TrimPrefix(line, "| "), " |")
		tests := namedTest.FindAllStringSubmatch(held, -1)
		if len(tests) == 0 && ids[id] {
			t.Errorf("%s is held by no test", id)
		}
		for _, test := range tests {
			hasTest(t, id, test[1], test[2])
		}
	}
}

var namedTest = regexp.MustCompile("`([a-z0-9/]+) ((?:Test|Fuzz)[A-Za-z0-9_]+)`")

// TestTheFiguresOfTheHostileRows holds the page's first table to what is run.
// Each of its figures is here, or in the test that counts as it goes.
func TestTheFiguresOfTheHostileRows(t *testing.T) {
	names := dialects(t)
	cases := 0
	for _, c := range hostileCases {
		for _, name := range names {
			if c.only == "" || slices.Contains(strings.Fields(c.only), name) {
				cases++
			}
		}
	}
	page := read(t, securityPage)
	for _, want := range []string{
		fmt.Sprintf("| %d questions, %d cases, and %d longer ways |", len(hostileCases), cases, len(hostileWays)),
		fmt.Sprintf("| %d cases |", len(cells(names))),
		fmt.Sprintf("of a whole sign-in, in %d ways |", len(faults)),
	} {
		if !strings.Contains(page, want) {
			t.Errorf("%s does not say: %s", securityPage, want)
		}
	}
}

// hasTest holds that a package has a test of that name.
func hasTest(t *testing.T, id, pkg, name string) {
	t.Helper()
	files, err := filepath.Glob(root + pkg + "/*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "\nfunc "+name+"(") {
			return
		}
	}
	t.Errorf("%s: %s has no %s", id, pkg, name)
}

// TestTheMutationsApply holds that each deliberate weakening still meets the
// code that it weakens, and is on the page. make mutations runs them.
func TestTheMutationsApply(t *testing.T) {
	cmd := exec.Command("go", "run", "./scripts/mutations", "-list")
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	page, n := read(t, securityPage), 0
	for line := range strings.Lines(string(out)) {
		name, _, _ := strings.Cut(strings.TrimPrefix(line, "| "), " |")
		if strings.HasPrefix(line, "| ") && name != "weakening" {
			n++
			if !strings.Contains(page, "| "+name+" |") {
				t.Errorf("%s: not on %s", name, securityPage)
			}
		}
	}
	if n < 20 {
		t.Errorf("%d are few", n)
	}
}
