package main

// mutation is one deliberate weakening: old is in file exactly once.
type mutation struct {
	name, file, old, new string
	pkg, tests           string // where a test has to fail, and which are run
}

// hostile are the tests that put whole questions to a running outpost.
const hostile = "TestTheMatrix|TestHostileRows|TestHostileWays"

var mutations = []mutation{
	{
		"skip the canonical form of the host", "outpost/canon/request.go",
		"if upper {", "if upper && len(name) > 253 {",
		"cmd/akprox", hostile,
	},
	{
		"take a domain for another's suffix without its dot", "outpost/application.go",
		`_, rest, ok := strings.Cut(name, ".")`, `rest, ok := name[min(1, len(name)):], name != ""`,
		"cmd/akprox", hostile,
	},
	{
		"return early, with a nil error, where a twin of a control header is refused", "proxy/dialect/dialect.go",
		"return outpost.Bad(outpost.ReasonHeaderTwin, name)", "return nil",
		"cmd/akprox", hostile,
	},
	{
		"leave one name out of the headers that no client may send", "proxy/reverse/strip.go",
		"names[string(fold(nil, name))] = true", `names[string(fold(nil, name))] = name != "Remote-User"`,
		"proxy/reverse", "Test.*",
	},
	{
		"do not compare the cookie of a flow", "proxy/signin/flow.go",
		"return f, errForeign", "return f, nil",
		"cmd/akprox", hostile,
	},
	{
		"let a state be used twice", "proxy/signin/flow.go",
		"item, err := v.Store.Take(v.ctx, key)", "item, err := v.Store.Get(v.ctx, key)",
		"proxy/signin", "Test.*",
	},
	{
		"do not check the nonce", "providers/oidc/verify.go",
		"case !nonce(token.Nonce):", `case !nonce(token.Nonce) && token.Subject == "":`,
		"providers/oidc", "TestEveryLieOfAnIssuerIsRefused",
	},
	{
		"believe every peer", "proxy/dialect/edge.go",
		"return addr, e.trusts(addr)", "return addr, true",
		"cmd/akprox", hostile,
	},
	{
		"take the first of a repeated header", "proxy/dialect/dialect.go",
		`return "", false, outpost.Bad(outpost.ReasonRepeatedHeader, name)`, "return values[0], true, nil",
		"cmd/akprox", hostile,
	},
	{
		"send people to a host that nobody guards", "proxy/signin/returnurl/returnurl.go",
		"app, err := apps.Find(req)\n\tif err != nil {\n\t\treturn Target{}, false",
		"app, err := apps.Find(req)\n\tif err != nil {\n\t\treturn Target{apps.All()[0], \"http://\" + host + path.Raw()}, true",
		"cmd/akprox", hostile,
	},
	{
		"allow when the store cannot be asked", "outpost/decide.go",
		"case errors.Is(err, ErrUnavailable):\n\t\treturn Decision{Outcome: Unavailable, Reason: ReasonUnavailable, Retry: retry(err), Err: err}",
		"case errors.Is(err, ErrUnavailable):\n\t\treturn a.allow(r, ReasonAllowed, \"\", nil)",
		"cmd/akprox", "TestAStoreThatFailsAtAnyCall|TestAPartThatBreaksOpensNothing",
	},
	{
		"count a limit after the rules", "outpost/decide.go",
		"if d.Outcome == Forbidden {\n\t\td = a.judge(r, demand, id, err)\n\t}",
		"if j := a.judge(r, demand, id, err); d.Outcome == Forbidden || j.Outcome != Allow {\n\t\td = j\n\t}",
		"outpost", "Test.*",
	},
	{
		"let a missing method open a rule with methods", "outpost/rules.go",
		`if r.Method != "" || len(rule.Methods) == 0 {`, `if r.Method != "" || len(rule.Methods) >= 0 {`,
		"cmd/akprox", hostile,
	},
	{
		"judge a path in one reading alone", "outpost/rules.go",
		"for i := range r.Path.Len() {", "for i := range min(1, r.Path.Len()) {",
		"cmd/akprox", hostile,
	},
	{
		"key the tokens that are known without their issuer", "providers/token/introspection.go",
		"key := recent.Key(i.salt, token)", "key := recent.Key(recent.Digest{}, token)",
		"providers/token", "Test.*",
	},
	{
		"accept HS256", "providers/token/jwt.go",
		`return []string{"RS256", "RS384",`, `return []string{"HS256", "RS256", "RS384",`,
		"providers/token", "TestJWTOptionsAreChecked",
	},
	{
		"sign out whoever another site sends", "proxy/signin/signout.go",
		"return from != form.CrossSite", "return from == from",
		"cmd/akprox", hostile,
	},
	{
		"leave Secure out of the session cookie", "outpost/session/cookie.go",
		"Secure: reach.Secure,", "Secure: reach.Secure && maxAge < 0,",
		"outpost/session", "TestACookieIsWhatTheContractSays",
	},
	{
		"keep the browser's session id at a sign-in", "outpost/session/sessions.go",
		"if _, err := rand.Read(id); err != nil {\n\t\treturn err\n\t}",
		"if found, n := cookieValues(r.Header, app.Cookie.Name); n > 0 {\n\t\tid, _ = s.cookies.Load().read(app.Cookie.Name, found[0])\n\t}\n\tif len(id) != 32 {\n\t\tid = make([]byte, 32)\n\t\t_, _ = rand.Read(id)\n\t}",
		"outpost/session", "TestEverySignInHasANewID",
	},
	{
		"take a WebSocket for a navigation", "proxy/dialect/dialect.go",
		`method != "" || len(h["Upgrade"]) > 0 || len(h["Sec-Websocket-Version"]) > 0 {`, `method != "" {`,
		"cmd/akprox", hostile,
	},
	{
		"answer 200 to a panic", "proxy/proxy.go",
		`http.Error(w, "internal error", http.StatusInternalServerError)`, `http.Error(w, "internal error", http.StatusOK)`,
		"cmd/akprox", "TestAPartThatBreaksOpensNothing",
	},
	{
		"leave identity headers out that have no value", "proxy/dialect/write.go",
		"h[header.Name] = header.Values", "if header.Values[0] != \"\" {\n\t\t\th[header.Name] = header.Values\n\t\t}",
		"cmd/akprox", hostile,
	},
	{
		"let the Caddy that passes forged headers on do so", "outpost/decide.go",
		`if h.Values[0] == "" && len(r.Header[h.Name]) > 0 {`, `if h.Values[0] == "" && len(r.Header[h.Name]) > 1 {`,
		"cmd/akprox", hostile,
	},
	{
		"take the client's own word for its address", "proxy/dialect/edge.go",
		"if client = a; !e.trusts(a) {", "if client = a; len(e.Trusted) == 0 {",
		"cmd/akprox", hostile,
	},
	{
		"let any address of an ID token be somebody's", "outpost/claims/identity.go",
		`standard && refuted(s.At(beside+"email_verified"))`, `standard && refuted(s.At(beside+"email_refuted"))`,
		"outpost/claims", "Test.*",
	},
	{
		"skip a rule on networks when the client is not known", "outpost/rules.go",
		"if !r.Client.IsValid() {\n\t\t\t\treturn d.with(rule), ReasonClientUnknown\n\t\t\t}", "",
		"cmd/akprox", hostile,
	},
	{
		"judge the Host header where nginx serves another host", "proxy/dialect/nginx.go",
		"served, judged := canon.HostName(served), canon.HostName(judged); served != judged {",
		"served, judged := canon.HostName(served), canon.HostName(judged); served+judged == \"\" {",
		"proxy/dialect", "Test.*",
	},
	{
		"obey a logout token twice", "proxy/signin/backchannel/backchannel.go",
		"case err == nil && bytes.Equal(item.Value, used):\n\t\treturn errReplayed",
		"case err == nil && bytes.Equal(item.Value, used):\n\t\treturn nil",
		"proxy/signin/backchannel", "Test.*",
	},
	{
		"let a refresh bring an ended session back", "outpost/session/renew.go",
		"err = r.store.Replace(ctx, e.key, item)", "err = r.store.Put(ctx, e.key, item)",
		"outpost/session", "TestASessionEndedDuringARefreshDoesNotComeBack",
	},
}
