package knocker

// file is a knocker.yaml: what akprox makes something of, with
// Knocker's defaults. Keys that are not here Knocker ignores, or are named in
// unserved.
type file struct {
	Server struct {
		Host    string   `yaml:"host"`
		Port    int      `yaml:"port" default:"8000"`
		Proxies []string `yaml:"trusted_proxies"`
	} `yaml:"server"`
	CORS struct {
		Origin string `yaml:"allowed_origin" default:"'*'"`
	} `yaml:"cors"`
	Security struct {
		Always   []string            `yaml:"always_allowed_ips"`
		Excluded []string            `yaml:"excluded_paths"`
		ByHost   map[string][]string `yaml:"excluded_paths_by_host"`
		Entries  int                 `yaml:"max_whitelist_entries" default:"10000" positive:"true"`
		Rate     struct {
			Window    int `yaml:"window_seconds" default:"60" positive:"true"`
			Successes int `yaml:"successful_requests" default:"20"`
			Failures  int `yaml:"failed_requests" default:"30"`
			Actors    int `yaml:"max_tracked_actors" default:"100000" positive:"true"`
		} `yaml:"knock_rate_limit"`
	} `yaml:"security"`
	Whitelist struct {
		Path    string `yaml:"storage_path"`
		Cleanup int    `yaml:"cleanup_interval_seconds" default:"60" positive:"true"`
	} `yaml:"whitelist"`
	Keys []struct {
		Name   string `yaml:"name"`
		Key    string `yaml:"key" required:"true"`
		TTL    int64  `yaml:"ttl" positive:"true"`
		MaxTTL int64  `yaml:"max_ttl" positive:"true"`
		Remote bool   `yaml:"allow_remote_whitelist"`
	} `yaml:"api_keys" required:"true"`
	Firewalld struct {
		Enabled bool `yaml:"enabled"`
	} `yaml:"firewalld"`
	Documentation struct {
		Enabled bool `yaml:"enabled"`
	} `yaml:"documentation"`
	Logging struct {
		Level string `yaml:"level" default:"INFO"`
	} `yaml:"logging"`
}
