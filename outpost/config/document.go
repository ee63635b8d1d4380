package config

import (
	"net/netip"
	"time"

	"github.com/akprox/akprox/outpost/config/strict"
)

// Problem is one thing that is wrong with a document.
type Problem = strict.Problem

// Problems is everything that is wrong with a document, by line.
type Problems = strict.Problems

// Kinds are the kinds of providers that this build has: for each a function
// that answers a pointer to a new settings struct. Its fields carry the tags
// that package strict tells; it may be a Checker.
type Kinds = strict.Kinds

// Checker is an optional power of a provider's settings.
type Checker = strict.Checker

// Document is an akprox.yaml as it was written, with defaults where it was
// silent. Package strict tells what the tags mean, and fault what a form is.
type Document struct {
	Version      int           `yaml:"version" required:"true" enum:"1" doc:"The version of this format."`
	Server       Server        `yaml:"server" doc:"Where the outpost listens, and whom it believes."`
	Secret       Secrets       `yaml:"secret" doc:"What cookies are signed with and a shared store is sealed with, 32 bytes or more; of a list the first writes and all read. Without it one is made and kept in the store's folder."`
	Store        Store         `yaml:"store" doc:"Where sessions and leases are kept."`
	Log          Log           `yaml:"log" doc:"What is logged, and how."`
	Providers    []Provider    `yaml:"providers" doc:"The outside parties that say who somebody is."`
	Applications []Application `yaml:"applications" doc:"The things that are guarded."`

	name  string
	lines strict.Lines
}

// Server says where the outpost listens, and whom it believes.
type Server struct {
	HTTP             string         `yaml:"http" default:"':9000'" form:"listen" doc:"Address for HTTP: host:port, unix:/path or nothing."`
	HTTPS            string         `yaml:"https" default:"':9443'" form:"listen" doc:"Address for HTTPS, served only with tls."`
	GRPC             string         `yaml:"grpc" form:"listen" doc:"Address for Envoy's ext_authz over gRPC: host:port, unix:/path or nothing."`
	GRPCTLS          bool           `yaml:"grpc_tls" doc:"Whether grpc is served over TLS, with the certificate of tls."`
	Metrics          string         `yaml:"metrics" default:"'127.0.0.1:9300'" form:"listen" doc:"Address for /metrics, /livez and /readyz."`
	TLS              TLS            `yaml:"tls" doc:"The certificate for https, and for grpc with grpc_tls."`
	Prefix           string         `yaml:"prefix" default:"/akprox" form:"prefix" doc:"The path under which the outpost's own endpoints are."`
	PrefixAliases    []string       `yaml:"prefix_aliases" default:"[/outpost.goauthentik.io]" form:"prefix" doc:"More such paths."`
	TrustedProxies   []netip.Prefix `yaml:"trusted_proxies" default:"[127.0.0.0/8, '::1/128']" doc:"Whose forwarded headers are believed; unix sockets always are."`
	NginxOriginalURL bool           `yaml:"nginx_original_url" doc:"Whether nginx itself always sets X-Original-URL, as the printed snippet does."`
	Compat           []string       `yaml:"compat" enum:"auth-server,knocker" doc:"Older programs whose endpoints are served too."`
}

// TLS names the certificate and its key; both or none.
type TLS struct {
	CertFile string `yaml:"cert_file" doc:"The certificate and its chain, PEM; read again when it changes."`
	KeyFile  string `yaml:"key_file" doc:"The certificate's private key, PEM."`
}

// Store says where sessions and leases are kept.
type Store struct {
	Kind      string         `yaml:"kind" default:"disk" doc:"The technology."`
	Path      string         `yaml:"path" default:"akprox-data" doc:"The folder of a disk store."`
	URL       string         `yaml:"url" form:"redis" doc:"With redis: redis://host:port/db, rediss://host:port/db or unix:///path?db=n, without user and password."`
	Addresses []string       `yaml:"addresses" filled:"true" form:"address" doc:"With redis: host:port of the sentinels, or of some nodes of a Cluster, in the place of url."`
	Username  string         `yaml:"username" form:"text" doc:"With redis: the user; without it the default user."`
	Password  Secret         `yaml:"password" doc:"With redis: the user's password; a file is read again when Redis refuses what it had."`
	Sentinel  *StoreSentinel `yaml:"sentinel" doc:"With redis: that addresses are sentinels, and what they watch."`
	TLS       *StoreTLS      `yaml:"tls" doc:"With redis: TLS, and how; rediss:// alone is TLS with the system's CAs."`
	Prefix    string         `yaml:"prefix" form:"text" doc:"With redis: what every key begins with; akprox: when nothing is written."`
	Timeout   time.Duration  `yaml:"timeout" positive:"true" doc:"With redis: how long one call, or making a connection, may take; 1s when nothing is written."`
	Grace     time.Duration  `yaml:"grace" doc:"With redis: how long sessions that an instance has seen go on while the store does not answer; 0 refuses at once."`
	Share     []string       `yaml:"share" enum:"rate_limits,throttles,introspection" doc:"With redis: what all instances count and know together."`
}

// StoreSentinel says what sentinels watch, and who asks them.
type StoreSentinel struct {
	Master   string `yaml:"master" required:"true" form:"name" doc:"The name that the sentinels have for the primary."`
	Username string `yaml:"username" form:"text" doc:"The user at the sentinels."`
	Password Secret `yaml:"password" doc:"The password at the sentinels."`
}

// StoreTLS says whom to believe, and what to show.
type StoreTLS struct {
	CAFile     string `yaml:"ca_file" doc:"The CAs to believe in the place of the system's, PEM."`
	CertFile   string `yaml:"cert_file" doc:"The client's certificate, PEM; read at every connection."`
	KeyFile    string `yaml:"key_file" doc:"The certificate's private key, PEM."`
	ServerName string `yaml:"server_name" doc:"The name in the server's certificate, where it is another than the host's."`
}

// Log says what is logged, and how.
type Log struct {
	Level     string `yaml:"level" default:"info" enum:"trace,debug,info,warn,error" doc:"The least important messages that are logged."`
	Format    string `yaml:"format" default:"json" enum:"json,text" doc:"How a line is written."`
	Decisions string `yaml:"decisions" default:"all" enum:"all,refused" doc:"Which decisions are logged."`
}

// Provider is an outside party. What its kind is told is known to that kind
// alone: Settings is the pointer that the kind's entry in Kinds made.
type Provider struct {
	Name     string `yaml:"name" required:"true" form:"name" doc:"What the rest of the document calls this provider."`
	Kind     string `yaml:"kind" required:"true" doc:"What it is."`
	Settings any    `kindof:"kind"`
}

// Application is a guarded thing.
type Application struct {
	Name         string     `yaml:"name" required:"true" form:"name" doc:"What logs and metrics call it."`
	Mode         string     `yaml:"mode" required:"true" enum:"forward_single,forward_domain,proxy" doc:"One host behind a reverse proxy, all hosts of a domain, or a program that akprox itself stands in front of."`
	ExternalURL  string     `yaml:"external_url" required:"true" form:"external" doc:"Where people reach it; it may have a path. At domain level: where sign-in happens."`
	CookieDomain string     `yaml:"cookie_domain" form:"domain" doc:"With forward_domain: the domain that is guarded, every host at or under it."`
	Upstream     string     `yaml:"upstream" form:"url" doc:"With proxy: where requests are passed on to."`
	Credentials  []string   `yaml:"credentials" doc:"The providers that are asked who somebody is, in this order; the first oidc or password kind is the sign-in."`
	Gate         []string   `yaml:"gate" doc:"Providers of which one has to admit the address before anything else is asked."`
	Headers      Headers    `yaml:"headers" doc:"How the application is told who somebody is."`
	Session      Session    `yaml:"session" doc:"How long a sign-in lasts."`
	RateLimit    *RateLimit `yaml:"rate_limit" doc:"How often one identity, or one address that is not known yet, may ask."`
	Rules        []Rule     `yaml:"rules" doc:"What is asked of an identity; the first rule whose conditions fit decides, and where none fits it has to be signed in."`
}

// Headers says how an application is told who somebody is.
type Headers struct {
	Preset          string       `yaml:"preset" default:"akprox" enum:"akprox,authentik,remote,gateway,user-json" doc:"The set of header names."`
	Set             strict.Pairs `yaml:"set" doc:"More headers, from a claim (claims.department) or a text (text:prod)."`
	GroupsSeparator string       `yaml:"groups_separator" form:"text" doc:"What stands between two groups; without it the preset's own."`
	PassToken       bool         `yaml:"pass_token" doc:"Whether the credentials that the client sends for akprox, Authorization and X-Api-Key, reach the application too."`
}

// Session says how long a sign-in lasts.
type Session struct {
	Idle     time.Duration `yaml:"idle" default:"8h" positive:"true" doc:"How long it may go unused."`
	Absolute time.Duration `yaml:"absolute" default:"24h" positive:"true" doc:"How long it may last in all."`
	Refresh  time.Duration `yaml:"refresh" default:"5m" positive:"true" doc:"How long the issuer's word counts before it is asked again, where it gives refresh tokens."`
}

// RateLimit allows so many requests in so much time.
type RateLimit struct {
	Requests int           `yaml:"requests" required:"true" positive:"true" doc:"How many requests."`
	Per      time.Duration `yaml:"per" default:"1m" positive:"true" doc:"In how much time."`
}

// Rule has conditions (Hosts, Paths, Methods, Networks) and requirements.
// A condition that was not written is nil and fits everything.
type Rule struct {
	Hosts       []string       `yaml:"hosts" filled:"true" form:"host" doc:"With forward_domain: the hosts it is about; *.dev.example.com means all under it."`
	Paths       []string       `yaml:"paths" filled:"true" form:"path" doc:"The paths it is about: * is a segment or part of one, ** any number of segments."`
	Methods     []string       `yaml:"methods" filled:"true" form:"method" doc:"The methods it is about."`
	Networks    []netip.Prefix `yaml:"networks" filled:"true" doc:"The client networks it is about."`
	Allow       string         `yaml:"allow" enum:"anyone,signed_in,nobody" doc:"Who may pass; signed_in when nothing is written, which is then the empty text here."`
	Users       []string       `yaml:"users" filled:"true" doc:"Usernames of which the identity needs one."`
	Groups      []string       `yaml:"groups" filled:"true" doc:"Groups of which the identity needs one."`
	Scopes      []string       `yaml:"scopes" filled:"true" form:"scope" doc:"Scopes that the identity needs, all of them."`
	Credentials []string       `yaml:"credentials" filled:"true" doc:"Providers of which one has to vouch for the identity."`
	RateLimit   *RateLimit     `yaml:"rate_limit" doc:"How often one identity or address may ask under this rule."`
}

// Line answers the line on which path was written, such as
// "applications[2].rules[0].paths[1]"; where it was not written, the line of
// the nearest thing around it that was.
func (d *Document) Line(path string) int { return d.lines.Of(path) }

// Problem answers a problem at path, with its line.
func (d *Document) Problem(path, text string) Problem {
	return Problem{File: d.name, Line: d.Line(path), Key: path, Text: text}
}
