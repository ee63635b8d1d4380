package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os/exec"
	"strings"
)

// signedIn asks with a session, as Traefik does.
var signedIn = with(traefikAsks, cookie("COOKIE"))

func trials() []trial {
	var all []trial
	cost := func(name string, c cpuTrial) {
		if c.path == "" {
			c.path = traefikPath
		}
		if c.headers == nil {
			c.headers = signedIn
		}
		if c.status == 0 {
			c.status = 200
		}
		all = append(all, trial{name, measureCPU, &c})
	}
	more := func(name string, run func(*lab, trial) ([]row, error)) { all = append(all, trial{name, run, nil}) }
	logged := edit(smallDocument, refusedOnly, allLogged)

	cost("signed in, memory", cpuTrial{limit: 1.2})
	more("signed in, disk", signedInDisk)
	cost("signed in, nginx dialect", cpuTrial{path: nginxPath, headers: with(nginxAsks, cookie("COOKIE")), limit: 1.2})
	cost("signed in, unix socket", cpuTrial{unix: true, limit: 1.2})
	cost("signed in, authentik's headers", cpuTrial{document: edit(smallDocument, "OPTION", "    headers: { preset: authentik }\n"), limit: 1.2})
	cost("signed in, every decision logged", cpuTrial{document: logged, limit: 1.35})
	more("large: signed in", largeSignedIn)
	cost("anonymous 302", cpuTrial{headers: traefikAsks, status: 302, limit: 1.25})
	cost("anonymous 401", cpuTrial{headers: with(traefikAsks, "Sec-Fetch-Mode: cors"), status: 401, limit: 1.25})
	cost("anonymous 401, JSON", cpuTrial{headers: asJSON(traefikAsks), status: 401, limit: 1.25})
	cost("anonymous 401, nginx dialect", cpuTrial{path: nginxPath, headers: nginxAsks, status: 401, limit: 1.25})
	cost("public path", cpuTrial{headers: replaced(traefikAsks, "/page/of/a/wiki?id=42", "/public/x"), limit: 1.2})
	for _, c := range programs() {
		cost(c.name, c.cpuTrial)
	}
	cost("session in Redis, seen before", cpuTrial{document: edit(smallDocument, memoryStore, redisStore), limit: 1.35})
	more("session in Redis, first sight", firstSight)
	cost("1,000 rules, the last fits", cpuTrial{document: edit(smallDocument, "RULE", rules(997)+"      - { paths: [/page/**], allow: signed_in }\n"), limit: 1.2})
	more("100 rules, all look", allLook)
	more("100,000 leases", manyLeases)
	more("beside oauth2-proxy", besidePeer)
	more("in process", inProcess)
	more("99th percentile", tail)
	more("memory and start", memoryAndStart)
	more("while the store sweeps", whileSweeping)
	more("while the document reloads", whileReloading)
	more("ended session", endedSession)
	more("whole way", wholeWay)
	return all
}

func asJSON(headers []string) []string {
	return append(replaced(headers, "text/html,application/xhtml+xml", "application/json"), "Sec-Fetch-Mode: cors")
}

func replaced(list []string, old, with string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = strings.ReplaceAll(s, old, with)
	}
	return out
}

type named struct {
	name string
	cpuTrial
}

// programs are the kinds of credentials that programs show.
func programs() []named {
	const key, password = "bench-key-0123456789abcdef0123456789", "a password of some length"
	digest := sha256.Sum256([]byte(key))
	with := func(provider, header string, arrange func(*lab, *server, *cpuTrial) error) cpuTrial {
		return cpuTrial{
			document: edit(smallDocument, "PROVIDER", "  - { name: programs, "+provider+" }\n", credential, "credentials: [programs, company]"),
			headers:  append([]string{header}, traefikAsks...), limit: 1.4, arrange: arrange,
		}
	}
	basic := "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("john:"+password))
	return []named{
		{"JWT seen before", with(`kind: jwt, issuer: "`+issuerURL+`/programs", jwks_url: "ISSUER/programs/keys", audience: [api]`, "Authorization: Bearer TOKEN",
			func(l *lab, _ *server, c *cpuTrial) error {
				token, err := l.issuer.token()
				c.headers = replaced(c.headers, "TOKEN", token)
				return err
			})},
		{"introspected token seen before", with(`kind: introspection, url: "ISSUER/programs/introspect", client_id: gateway, client_secret: { value: gateway-secret }, cache: 10m`,
			"Authorization: Bearer "+opaqueToken, nil)},
		{"API key", with(`kind: apikey, keys: [ { name: ci, hash: "sha256:`+hex.EncodeToString(digest[:])+`", groups: [staff] } ]`, "X-Api-Key: "+key, nil)},
		{"Basic seen before", with(`kind: password, users: [ { username: john, email: john@example.com, groups: [staff], password: "HASHOF(`+password+`)" } ]`, basic, nil)},
	}
}

// hashed puts argon2id hashes in the place of passwords, as akprox makes them.
func (l *lab) hashed(document string) (string, error) {
	before, rest, ok := strings.Cut(document, "HASHOF(")
	if !ok {
		return document, nil
	}
	password, after, _ := strings.Cut(rest, ")")
	cmd := exec.Command(l.binary, "hash", "password")
	cmd.Stdin = strings.NewReader(password + "\n")
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("akprox hash password: %w", err)
	}
	return before + quoted(strings.TrimSpace(string(out))) + after, nil
}
