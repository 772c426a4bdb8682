// Package config holds the one struct of settings. It is read from a strict YAML file, the environment and
// flags, checked as a whole, and can be printed with its secrets masked.
//
// It is written by hand because each error must name the file and line of a key, or the variable: koanf merges
// sources into maps that have no lines, and caarlos0/env names fields and ignores variables that no field has.
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
	TrustedProxies []netip.Prefix `yaml:"trusted_proxies"`              // whose X-Forwarded-* headers are trusted
	DataDir        string         `yaml:"data_dir"`                     //
	TLS            TLS            `yaml:"tls"`                          //
	Auth           Auth           `yaml:"auth"`                         //
	Upstreams      []Upstream     `yaml:"upstreams"`                    // asked in this order; may be empty
	Local          Local          `yaml:"local"`                        // instead of stores: the one store "local"
	Stores         []Store        `yaml:"stores"`                       // none: the one that Local describes
	Views          []View         `yaml:"views"`                        // none: only the built-in ones
	Cache          Cache          `yaml:"cache"`                        //
	Audit          Audit          `yaml:"audit"`                        //
	Log            Log            `yaml:"log"`                          //
}

// TLS names the PEM files of the server's certificate; both are set or neither is.
type TLS struct {
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
}

// Auth has the users and the rules about what they may do.
type Auth struct {
	HtpasswdFile      string        `yaml:"htpasswd_file"` // empty: there are no users
	TokenLifetime     time.Duration `yaml:"token_lifetime"`
	SignatureLifetime time.Duration `yaml:"signature_lifetime"`
	Groups            Groups        `yaml:"groups"`
	Read              []Rule        `yaml:"read"`  // the first that is about the member and matches decides; none: no access
	Write             []Rule        `yaml:"write"` // the first that is about the store and matches decides; none: no access
	Admin             []string      `yaml:"admin"` // users and "@group"; none: there is no administrator
}

// Groups are the users of each group, by its name, which has the form of a member's.
type Groups map[string][]string

// Rule names the users that may read or write the references that the pattern matches.
type Rule struct {
	Pattern string   `yaml:"pattern"`           // glob over name/version[@user/channel]
	Users   []string `yaml:"users"`             // "*" anyone, "?" any logged-in user, "@group", else names
	In      []string `yaml:"in" print:"if set"` // stores and upstreams that the rule is about; nil: all
}

// Upstream is one remote Conan server.
type Upstream struct {
	Name           string         `yaml:"name"`                   // [a-z0-9][a-z0-9.-]*, unique
	URL            string         `yaml:"url" secret:"userinfo"`  // a slash at the end matters if the server sends relative URLs
	AlsoAt         []string       `yaml:"also_at"`                // origins that get the credentials too: scheme://host[:port]
	AllowNetworks  []netip.Prefix `yaml:"allow_networks"`         // private networks to which URLs and redirects may lead
	Clients        string         `yaml:"clients"`                // any, conan1 or conan2
	Protocol       string         `yaml:"protocol"`               // auto, v1 or v2
	Username       string         `yaml:"username"`               // empty: anonymous
	Password       string         `yaml:"password" secret:"true"` // ${NAME} in the file is replaced from the environment
	PasswordFile   string         `yaml:"password_file"`          // instead of Password; see Secret
	CAFile         string         `yaml:"ca_file"`                // PEM, in addition to the system's roots
	Include        []string       `yaml:"include"`                // patterns of references that are asked for here
	Exclude        []string       `yaml:"exclude"`                // patterns of references that are not, even if included
	Mode           string         `yaml:"mode"`                   // normal, frozen or offline
	FreshFor       time.Duration  `yaml:"fresh_for"`              //
	NotFoundFor    time.Duration  `yaml:"not_found_for"`          //
	StaleFor       time.Duration  `yaml:"stale_for"`              //
	MinAge         time.Duration  `yaml:"min_age"`                // younger revisions are hidden; 0: none is
	MinAgeExcept   []string       `yaml:"min_age_except"`         // patterns of references that are not
	MinAgePinned   string         `yaml:"min_age_pinned"`         // refuse or allow: what a client gets that names a hidden one
	MaxConnections int            `yaml:"max_connections"`        //
	Timeout        time.Duration  `yaml:"timeout"`                // of silence, not of length
}

// Local has the settings of the store of published packages.
type Local struct {
	Owns      []string      `yaml:"owns"`      // patterns of references that are never asked upstream
	Overwrite bool          `yaml:"overwrite"` // other bytes may replace the files of a published revision
	TrashFor  time.Duration `yaml:"trash_for"` // how long removed revisions can be restored; 0: not at all
	Retention Retention     `yaml:"retention"` // what is removed because it is no longer needed
}

// Cache bounds what is stored of upstreams.
type Cache struct {
	MaxSize Size `yaml:"max_size"` // of cached files on disk
	MinFree Size `yaml:"min_free"` // of the disk that stay free; may be 0
	Memory  Size `yaml:"memory"`   // for answers that are remembered
}

// Audit bounds the trail of changes.
type Audit struct {
	Keep time.Duration `yaml:"keep"` // how long a line is kept
}

// Log selects log lines and their format.
type Log struct {
	Level  string `yaml:"level"`  // debug, info, warn or error
	Format string `yaml:"format"` // json or text
	Access bool   `yaml:"access"` // one line per request
	Probes bool   `yaml:"probes"` // also for requests of /healthz, /readyz and /metrics
}

// Default returns the settings without a file, environment or flags: a cache of both ConanCenters that listens
// on this machine only. Everyone may read; writing needs a user, and there are none.
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
			Groups:            Groups{},
			Admin:             []string{},
		},
		Upstreams: []Upstream{center2, center},
		Stores:    []Store{},
		Views:     []View{},
		Local:     Local{Owns: []string{}, Overwrite: true, TrashFor: defaultTrashFor, Retention: noRetention()},
		Cache:     Cache{MaxSize: 50 << 30, MinFree: 2 << 30, Memory: 64 << 20},
		Audit:     Audit{Keep: 400 * 24 * time.Hour},
		Log:       Log{Level: "info", Format: "json", Access: true},
	}
}

// defaultUpstream has the values of the keys that an entry of upstreams leaves out.
func defaultUpstream() Upstream {
	return Upstream{
		AlsoAt:         []string{},
		AllowNetworks:  []netip.Prefix{},
		Clients:        "any",
		Protocol:       "auto",
		Include:        []string{"*"},
		Exclude:        []string{},
		Mode:           "normal",
		FreshFor:       5 * time.Minute,
		NotFoundFor:    time.Minute,
		StaleFor:       720 * time.Hour,
		MinAgeExcept:   []string{},
		MinAgePinned:   "refuse",
		MaxConnections: 8,
		Timeout:        30 * time.Second,
	}
}
