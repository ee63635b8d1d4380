package finding

import (
	"strings"
)

// about answers what marks the lines of a printed configuration that are about
// a topic. A comment that fits means the statement below it.
func about(proxy string, topic Topic) []string {
	const own = "akprox's own pages"
	return map[string]map[Topic][]string{
		"nginx": {
			AboutQuestion: {"auth_request  ", "# The question."},
			AboutOriginal: {"X-Original-"},
			AboutOwn:      {own},
			AboutIdentity: {"$identity_"},
			AboutStrip:    {"underscores_in_headers", "ignore_invalid_headers", "$identity_"},
			AboutSignIn:   {"$akprox_location  ", "error_page 401", "location @akprox_sign_in"},
			AboutStatus:   {"$akprox_status  ", "error_page 403", "location @akprox_refused"},
			AboutSize:     {"proxy_buffer"},
		},
		"caddy": {
			AboutQuestion: {"forward_auth "},
			AboutOriginal: {"forward_auth "},
			AboutOwn:      {own},
			AboutIdentity: {"copy_headers"},
			AboutStrip:    {"request_header -"},
		},
		"traefik": {
			AboutQuestion: {"forwardAuth:", "middlewares: ["},
			AboutOriginal: {"address: ", "trustForwardHeader:"},
			AboutOwn:      {own},
			AboutIdentity: {"authResponseHeaders:"},
			AboutStrip:    {"authResponseHeaders:", "authResponseHeadersRegex:"},
			AboutSize:     {"maxResponseBodySize:"},
		},
		"traefik-labels": {
			AboutQuestion: {"forwardauth.address:", ".middlewares:"},
			AboutOriginal: {"forwardauth.address:", "trustForwardHeader:"},
			AboutOwn:      {own, ".priority:"},
			AboutIdentity: {"authResponseHeaders:"},
			AboutStrip:    {"authResponseHeaders:", "authResponseHeadersRegex:"},
			AboutSize:     {"maxResponseBodySize:"},
		},
		"traefik-crd": {
			AboutQuestion: {"forwardAuth:", "middlewares:"},
			AboutOriginal: {"address: ", "trustForwardHeader:"},
			AboutOwn:      {"PathPrefix("},
			AboutIdentity: {"authResponseHeaders:"},
			AboutStrip:    {"authResponseHeaders:", "authResponseHeadersRegex:"},
			AboutSize:     {"maxResponseBodySize:"},
		},
		"ingress-nginx": {
			AboutQuestion: {"auth-url:"},
			AboutOriginal: {"auth-url:"},
			AboutOwn:      {"- path: ", "pathType: "},
			AboutIdentity: {"auth-response-headers:"},
			AboutStrip:    {"auth-response-headers:"},
			AboutSignIn:   {"auth-signin:"},
			AboutSize:     {"proxy-buffer-size:"},
		},
		"haproxy": {
			AboutQuestion: {"http-request lua.", "http-request deny ", "url = "},
			AboutOriginal: {"http-request set-header X-Forwarded-"},
			AboutOwn:      {"_own  path_beg ", "use_backend akprox "},
			AboutIdentity: {"local identity = {"},
			AboutStrip:    {`name:find("[_.]")`, "http:req_del_header(name)"},
			AboutSize:     {"tune.bufsize"},
		},
		"envoy": {
			AboutQuestion: {"failure_mode_allow:", "http_service:", "grpc_service:"},
			AboutOriginal: {"use_remote_address:", "allowed_headers:"},
			AboutOwn:      {own, "route: { cluster: akprox }", "disabled: true"},
			AboutIdentity: {"allowed_upstream_headers:"},
			AboutStrip:    {"headers_with_underscores_action:", "request_mutations:"},
		},
		"gateway-api": {
			AboutQuestion: {"externalAuth:", "extAuth:"},
			AboutOriginal: {"allowedHeaders:", "headersToExtAuth:"},
			AboutOwn:      {"path: { type: PathPrefix"},
			AboutIdentity: {"allowedResponseHeaders:", "headersToBackend:"},
		},
	}[proxy][topic]
}

// Pick answers the lines of a configuration that are about a topic, with the
// blocks that they open and without comments.
func Pick(text, proxy string, topic Topic) []string {
	marks := about(proxy, topic)
	var picked []string
	wanted, depth := false, -1 // the next statement; the indentation of an open block
	for line := range strings.SplitSeq(text, "\n") {
		bare := strings.TrimLeft(line, " \t")
		indent := len(line) - len(bare)
		comment := strings.HasPrefix(bare, "#")
		fits := bare != "" && contains(bare, marks)
		switch {
		case comment:
			wanted = wanted || fits
		case bare == "":
		case depth >= 0 && (indent > depth || indent == depth && strings.HasPrefix(bare, "}")):
			picked = append(picked, line)
		case fits || wanted:
			picked, wanted, depth = append(picked, line), false, -1
			if strings.HasSuffix(bare, "{") || strings.HasSuffix(bare, ":") {
				depth = indent
			}
		default:
			depth = -1
		}
	}
	return outdent(picked)
}

func contains(line string, marks []string) bool {
	for _, m := range marks {
		if strings.Contains(line, m) {
			return true
		}
	}
	return false
}

// outdent takes away the indentation that all lines have.
func outdent(lines []string) []string {
	least := -1
	for _, l := range lines {
		if n := len(l) - len(strings.TrimLeft(l, " \t")); least < 0 || n < least {
			least = n
		}
	}
	for i := range lines {
		lines[i] = lines[i][least:]
	}
	return lines
}
