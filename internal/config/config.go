// Package config holds the one struct of settings. It is read from a strict YAML file, the environment and
// flags, checked as a whole, and can be printed with its secrets masked.
package config

import (
	"net/netip"
	"time"
)

// Config is every setting of the server. A Config that Load returned is valid: names are unique, URLs have a scheme
// and a host, durations and sizes are positive, paths of files are readable.
//
// The yaml tags are the keys of the file. A path that does not begin with a slash is relative to the working directory.
type Config struct {
	Listen         string         `yaml:"listen"`                       // host:port; an empty host is every address
	PublicURL      string         `yaml:"public_url" secret:"userinfo"` // scheme://host[:port] without a path, or empty
	BasePath       string         `yaml:"base_path"`                    // /a/b, or empty
	TrustedProxies []netip.Prefix `yaml:"trusted_proxies"`              // whose X-Forwarded-* headers are believed
	DataDir        string         `yaml:"data_dir"`                     //
	TLS            TLS            `yaml:"tls"`                          //
	Auth           Auth           `yaml:"auth"`                         //
	Upstreams      []Upstream     `yaml:"upstreams"`                    // asked in this order; may be empty
	Local          Local          `yaml:"local"`                        //
	Cache          Cache          `yaml:"cache"`                        //
	Log            Log            `yaml:"log"`                          //
}

// TLS names the PEM files of the server's certificate; both are set or neither is.
type TLS struct {
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
}

// Auth says who the users are and what they may.
type Auth struct {
	HtpasswdFile      string        `yaml:"htpasswd_file"` // empty: there are no users
	TokenLifetime     time.Duration `yaml:"token_lifetime"`
	SignatureLifetime time.Duration `yaml:"signature_lifetime"`
	Read              []Rule        `yaml:"read"`  // the first that matches decides; none: nobody reads
	Write             []Rule        `yaml:"write"` // the first that matches decides; none: nobody writes
}

// Rule gives the users that may act on what the pattern matches.
type Rule struct {
	Pattern string   `yaml:"pattern"` // glob over name/version[@user/channel]
	Users   []string `yaml:"users"`   // "*" anyone, "?" any logged-in user, else names
}

// Upstream is one remote Conan server.
type Upstream struct {
	Name           string        `yaml:"name"`                   // [a-z0-9][a-z0-9.-]*, unique
	URL            string        `yaml:"url" secret:"userinfo"`  // a slash at its end counts where upstream hands out relative URLs
	Clients        string        `yaml:"clients"`                // any, conan1 or conan2
	Protocol       string        `yaml:"protocol"`               // auto, v1 or v2
	Username       string        `yaml:"username"`               // empty: anonymous
	Password       string        `yaml:"password" secret:"true"` // ${NAME} in the file is replaced from the environment
	PasswordFile   string        `yaml:"password_file"`          // instead of Password; see Secret
	CAFile         string        `yaml:"ca_file"`                // PEM, in addition to the system's roots
	Include        []string      `yaml:"include"`                // patterns that may be asked here
	Exclude        []string      `yaml:"exclude"`                // patterns that may not, although included
	Mode           string        `yaml:"mode"`                   // normal, frozen or offline
	FreshFor       time.Duration `yaml:"fresh_for"`              //
	NotFoundFor    time.Duration `yaml:"not_found_for"`          //
	StaleFor       time.Duration `yaml:"stale_for"`              //
	MaxConnections int           `yaml:"max_connections"`        //
	Timeout        time.Duration `yaml:"timeout"`                // of silence, not of length
}

// Local is what concerns the store of the own packages.
type Local struct {
	Owns []string `yaml:"owns"` // patterns that are never asked upstream
}

// Cache bounds what is kept of upstreams.
type Cache struct {
	MaxSize Size `yaml:"max_size"` // of cached files on disk
	MinFree Size `yaml:"min_free"` // that stays free on the disk; may be 0
	Memory  Size `yaml:"memory"`   // of answers kept in memory
}

// Log says what is logged and how.
type Log struct {
	Level  string `yaml:"level"`  // debug, info, warn or error
	Format string `yaml:"format"` // json or text
	Access bool   `yaml:"access"` // one line per request
}

// Default returns the settings without a file, environment or flags: a cache of both ConanCenters for this
// machine, which everyone on it may read and nobody may write.
func Default() *Config {
	center2 := defaultUpstream()
	center2.Name, center2.URL, center2.Clients = "conancenter", "https://center2.conan.io", "conan2"
	center := defaultUpstream()
	center.Name, center.URL, center.Clients = "conancenter-v1", "https://center.conan.io", "conan1"
	center.Mode = "frozen"
	return &Config{
		Listen:         "127.0.0.1:9300",
		TrustedProxies: []netip.Prefix{},
		DataDir:        "./data",
		Auth: Auth{
			TokenLifetime:     24 * time.Hour,
			SignatureLifetime: 24 * time.Hour,
			Read:              []Rule{{Pattern: "*", Users: []string{"*"}}},
			Write:             []Rule{{Pattern: "*", Users: []string{"?"}}},
		},
		Upstreams: []Upstream{center2, center},
		Local:     Local{Owns: []string{}},
		Cache:     Cache{MaxSize: 50 << 30, MinFree: 2 << 30, Memory: 64 << 20},
		Log:       Log{Level: "info", Format: "json", Access: true},
	}
}

// defaultUpstream is what an entry of upstreams has where it says nothing else.
func defaultUpstream() Upstream {
	return Upstream{
		Clients:        "any",
		Protocol:       "auto",
		Include:        []string{"*"},
		Exclude:        []string{},
		Mode:           "normal",
		FreshFor:       5 * time.Minute,
		NotFoundFor:    time.Minute,
		StaleFor:       720 * time.Hour,
		MaxConnections: 8,
		Timeout:        30 * time.Second,
	}
}
