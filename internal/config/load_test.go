package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// compare treats prefixes as comparable values and nil lists as empty ones.
var compare = cmp.Options{cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmpopts.EquateEmpty()}

// loadText loads text as the file c.yaml.
func loadText(text string, env []string, f Flags) (*Config, error) {
	return load([]byte(text), LoadOptions{File: "c.yaml", Env: env, Flags: f})
}

// changed is the default configuration after a change.
func changed(change func(*Config)) *Config {
	c := Default()
	change(c)
	return c
}

// upstream is a default upstream after a change.
func upstream(name, url string, change func(*Upstream)) Upstream {
	u := defaultUpstream()
	u.Name, u.URL = name, url
	if change != nil {
		change(&u)
	}
	return u
}

func TestLoad(t *testing.T) {
	tests := []struct {
		name string
		text string
		env  []string
		f    Flags
		want *Config
	}{
		{name: "nothing", want: Default()},
		{name: "comments only", text: "# nothing\n", want: Default()},
		{name: "null document", text: "---\n~\n", want: Default()},
		{name: "empty sections", text: "tls:\nauth:\n  # htpasswd_file: x\n", want: Default()},
		{
			name: "other variables of the environment",
			env:  []string{"HOME=/root", "CONANPROXY_CONFIG=c.yaml", "=C:=x", "CONANPROXY", "PATH"},
			want: Default(),
		},
		{
			name: "variables that Kubernetes makes",
			env: []string{
				"CONANPROXY_SERVICE_HOST=10.0.0.1", "CONANPROXY_SERVICE_PORT=9300", "CONANPROXY_SERVICE_PORT_HTTP=9300",
				"CONANPROXY_PORT=tcp://10.0.0.1:9300", "CONANPROXY_PORT_9300_TCP=tcp://10.0.0.1:9300",
				"CONANPROXY_PORT_9300_TCP_PROTO=tcp", "CONANPROXY_PORT_9300_TCP_PORT=9300", "CONANPROXY_PORT_9300_TCP_ADDR=10.0.0.1",
				"CONANPROXY_EDGE_SERVICE_HOST=10.0.0.2", "CONANPROXY_EDGE_PORT=tcp://10.0.0.2:80",
			},
			want: Default(),
		},
		{
			name: "file over defaults",
			text: "listen: ':80'\nlog: {level: debug, access: false}\nauth:\n  token_lifetime: 90m\n",
			want: changed(func(c *Config) {
				c.Listen, c.Log.Level, c.Log.Access, c.Auth.TokenLifetime = ":80", "debug", false, 90*time.Minute
			}),
		},
		{
			name: "environment over file, flags over both",
			text: "listen: ':1'\ndata_dir: /file\npublic_url: http://file\n",
			env:  []string{"CONANPROXY_LISTEN=:2", "CONANPROXY_DATA_DIR=/first", "CONANPROXY_DATA_DIR=/env"},
			f:    Flags{Listen: ":3"},
			want: changed(func(c *Config) { c.Listen, c.DataDir, c.PublicURL = ":3", "/env", "http://file" }),
		},
		{
			name: "every kind of value from the environment",
			env: []string{
				"CONANPROXY_LOG_ACCESS=false", "CONANPROXY_CACHE_MAX_SIZE=1TiB", "CONANPROXY_AUTH_SIGNATURE_LIFETIME=1h",
				"CONANPROXY_TRUSTED_PROXIES=10.1.2.3/8, fd00::/8", "CONANPROXY_LOCAL_OWNS=*@acme/*,tools/*",
			},
			want: changed(func(c *Config) {
				c.Log.Access, c.Cache.MaxSize, c.Auth.SignatureLifetime = false, 1<<40, time.Hour
				c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
				c.Local.Owns = []string{"*@acme/*", "tools/*"}
			}),
		},
		{
			name: "empty variables",
			text: "public_url: http://file\nlocal: {owns: ['*']}\n",
			env:  []string{"CONANPROXY_PUBLIC_URL=", "CONANPROXY_LOCAL_OWNS=", "CONANPROXY_UPSTREAMS="},
			want: changed(func(c *Config) { c.Upstreams = []Upstream{} }),
		},
		{
			name: "stores and views",
			text: "stores:\n  - {name: release, owns: ['*@acme/*'], overwrite: false}\n  - {name: dev, trash_for: 1h}\n" +
				"views:\n  - {name: team, members: [release, dev, conancenter], publish: dev}\n  - {name: default, members: [dev]}\n",
			want: changed(func(c *Config) {
				c.Stores = []Store{
					{Name: "release", Owns: []string{"*@acme/*"}, TrashFor: defaultTrashFor}, {Name: "dev", Owns: []string{}, Overwrite: true, TrashFor: time.Hour},
				}
				c.Views = []View{{Name: "team", Members: []string{"release", "dev", "conancenter"}, Publish: "dev"}, {Name: "default", Members: []string{"dev"}}}
			}),
		},
		{name: "variables of clients", env: []string{"CONANPROXY_SERVER=http://a", "CONANPROXY_TOKEN=x"}, want: changed(func(*Config) {})},
		{name: "no upstreams", text: "upstreams: []\n", want: changed(func(c *Config) { c.Upstreams = nil })},
		{
			name: "upstreams have defaults each",
			text: "upstreams:\n- {name: hq, url: 'https://hq.example/conan/', max_connections: 2, also_at: ['https://files.hq'], allow_networks: [10.1.2.3/8]}\n- {name: b, url: 'http://b:81', exclude: ['x/*']}\n",
			want: changed(func(c *Config) {
				c.Upstreams = []Upstream{
					upstream("hq", "https://hq.example/conan/", func(u *Upstream) {
						u.MaxConnections, u.AlsoAt = 2, []string{"https://files.hq"}
						u.AllowNetworks = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
					}),
					upstream("b", "http://b:81", func(u *Upstream) { u.Exclude = []string{"x/*"} }),
				}
			}),
		},
		{
			name: "upstreams of flags replace",
			text: "upstreams:\n- {name: hq, url: 'https://hq', username: u, password: '${CONANPROXY_HQ}'}\n",
			env:  []string{"CONANPROXY_HQ=secret", "CONANPROXY_UPSTREAMS=https://env.example"},
			f:    Flags{Upstreams: []string{"https://Center2.conan.io/", "edge=http://127.0.0.1:9300/a=b"}},
			want: changed(func(c *Config) {
				c.Upstreams = []Upstream{upstream("center2.conan.io", "https://Center2.conan.io/", nil), upstream("edge", "http://127.0.0.1:9300/a=b", nil)}
			}),
		},
		{
			name: "upstreams of the environment replace",
			env:  []string{"CONANPROXY_UPSTREAMS=https://a.example:8443, b=https://b.example,"},
			want: changed(func(c *Config) {
				c.Upstreams = []Upstream{upstream("a.example", "https://a.example:8443", nil), upstream("b", "https://b.example", nil)}
			}),
		},
		{
			name: "password from the environment",
			text: "upstreams:\n- {name: hq, url: 'https://hq', username: u, password: '${CONANPROXY_HQ}'}\n",
			env:  []string{"CONANPROXY_HQ=s3 cret"},
			want: changed(func(c *Config) {
				c.Upstreams = []Upstream{upstream("hq", "https://hq", func(u *Upstream) { u.Username, u.Password = "u", "s3 cret" })}
			}),
		},
		{
			name: "passwords that look like something else",
			text: "upstreams:\n- {name: a, url: 'https://a', username: 1, password: 007}\n- {name: b, url: 'https://b', username: u, password: '${x}y'}\n",
			want: changed(func(c *Config) {
				c.Upstreams = []Upstream{
					upstream("a", "https://a", func(u *Upstream) { u.Username, u.Password = "1", "007" }),
					upstream("b", "https://b", func(u *Upstream) { u.Username, u.Password = "u", "${x}y" }),
				}
			}),
		},
		{
			name: "no rules",
			text: "auth: {read: [], write: []}\n",
			want: changed(func(c *Config) { c.Auth.Read, c.Auth.Write = nil, nil }),
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := loadText(tt.text, tt.env, tt.f)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, compare); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// up is the beginning of a file with one upstream; what is appended begins on line 4.
const up = "upstreams:\n- name: hq\n  url: https://hq\n"

func TestLoadRefuses(t *testing.T) {
	tests := []struct {
		name string
		text string
		env  []string
		f    Flags
		want string
	}{
		// the form of the file
		{name: "syntax", text: "listen: [\n", want: "c.yaml:1: not valid YAML: did not find expected node content"},
		{name: "tab", text: "auth:\n\tread: []\n", want: "c.yaml:2: not valid YAML: found character that cannot start any token"},
		{name: "bytes that are no text", text: "listen: \xff\n", want: "c.yaml:1: not valid YAML: invalid leading UTF-8 octet"},
		{name: "two documents", text: "listen: ':1'\n---\nlisten: ':2'\n", want: "c.yaml:2: a second document begins; the file must hold one"},
		{name: "a list", text: "- listen\n", want: "c.yaml:1: must hold keys and values, not a list"},
		{name: "a word", text: "\n\nlisten\n", want: "c.yaml:3: must hold keys and values, not a single value"},
		{name: "unknown key", text: "\nlog:\n  levle: info\n", want: "c.yaml:3: log.levle: unknown key; known here: level, format, access, probes"},
		{name: "unknown key with odd characters", text: "log: {\"a\\nb\": 1}\n", want: `c.yaml:1: log."a\nb": unknown key; known here: level, format, access, probes`},
		{name: "list as a key", text: "log: {[a]: 1}\n", want: `c.yaml:1: log."": unknown key; known here: level, format, access, probes`},
		{name: "merge key", text: "log: {<<: {level: info}}\n", want: `c.yaml:1: log."<<": unknown key; known here: level, format, access, probes`},
		{name: "key twice", text: "listen: ':1'\ndata_dir: x\nlisten: ':2'\n", want: "c.yaml:3: listen: is given twice"},
		{name: "anchor", text: "listen: &a ':1'\n", want: "c.yaml:1: listen: anchors and aliases are not understood here"},
		{name: "alias", text: "listen: ':1'\ndata_dir: &a x\npublic_url: *a\n", want: "c.yaml:2: data_dir: anchors and aliases are not understood here\nc.yaml:3: public_url: anchors and aliases are not understood here"},
		{name: "tag", text: "listen: !port 1\n", want: "c.yaml:1: listen: tags are not understood here"},
		{name: "binary", text: "listen: !!binary aGk=\n", want: "c.yaml:1: listen: tags are not understood here"},
		{name: "no value", text: "listen:\n", want: `c.yaml:1: listen: has no value; leave the key out for the default, or write "" for none`},
		{name: "no list", text: "upstreams:\n", want: "c.yaml:1: upstreams: has no value; leave the key out for the default, or write [] for none"},
		{name: "empty list item", text: "upstreams:\n-\n", want: "c.yaml:2: upstreams[0]: must hold keys and values, not a single value"},
		{name: "section for a value", text: "listen: {a: 1}\n", want: "c.yaml:1: listen: must be one value, not a section"},
		{name: "value for a section", text: "auth: x\n", want: "c.yaml:1: auth: must hold keys and values, not a single value"},
		{name: "value for a list", text: "local:\n  owns: x\n", want: "c.yaml:2: local.owns: must be a list, not a single value"},
		{name: "section for a list", text: "upstreams: {a: 1}\n", want: "c.yaml:1: upstreams: must be a list, not a section"},
		{name: "control character", text: "listen: \"a\\tb\"\n", want: "c.yaml:1: listen: has a control character"},

		// values of the wrong kind
		{name: "bool", text: "log: {access: yes}\n", want: `c.yaml:1: log.access: "yes" is not true or false`},
		{name: "number", text: up + "  max_connections: many\n", want: `c.yaml:4: upstreams[0].max_connections: "many" is not a whole number`},
		{name: "fraction", text: up + "  max_connections: 1.5\n", want: `c.yaml:4: upstreams[0].max_connections: "1.5" is not a whole number`},
		{name: "duration without a unit", text: up + "  timeout: 30\n", want: `c.yaml:4: upstreams[0].timeout: "30" is not a duration like 30s, 5m or 720h`},
		{name: "size", text: "cache: {max_size: 50GB}\n", want: `c.yaml:1: cache.max_size: "50GB" is not a size like 50GiB, 512MiB or 4KiB`},
		{name: "network", text: "trusted_proxies:\n- 10.0.0.0/8\n- 10.0.0.1\n", want: `c.yaml:3: trusted_proxies[1]: "10.0.0.1" is not a network like 10.0.0.0/8 or fd00::/8`},

		// environment and flags
		{name: "stores beside local", text: "local: {owns: ['a/*']}\nstores: [{name: dev}]\n", want: `c.yaml:1: local: says the same as stores; write its keys into the entry "dev" of stores`},
		{name: "a store without a name", text: "stores: [{owns: []}]\n", want: `c.yaml:1: stores[0].name: is missing`},
		{name: "local is not the first store", text: "stores:\n  - name: a\n  - name: local\n", want: `c.yaml:3: stores[1].name: "local" may only be the first store, which /local serves`},
		{name: "two stores of one name", text: "stores:\n  - name: a\n  - name: a\n", want: `c.yaml:3: stores[1].name: "a" is also the name of stores[0]`},
		{name: "a store and an upstream of one name", text: "stores: [{name: conancenter}]\n", want: `upstreams[0].name: "conancenter" is also the name of stores[0]`},
		{name: "a view with the name of a store", text: "stores: [{name: a}]\nviews: [{name: a, members: [conancenter]}]\n", want: `c.yaml:2: views[0].name: "a" is also the name of stores[0]`},
		{name: "two views of one name", text: "views:\n  - {name: v, members: [local]}\n  - {name: v, members: [conancenter]}\n", want: `c.yaml:3: views[1].name: "v" is also the name of views[0]`},
		{name: "a view of nothing", text: "views: [{name: v}]\n", want: `c.yaml:1: views[0].members: is empty; write the names of stores and upstreams`},
		{name: "a member that is not there", text: "views: [{name: v, members: [local, x]}]\n", want: `c.yaml:1: views[0].members[1]: there is no store and no upstream "x"`},
		{name: "a view in a view", text: "views:\n  - {name: v, members: [w]}\n  - {name: w, members: [local]}\n", want: `c.yaml:2: views[0].members[0]: "w" is a view; a view has stores and upstreams as members`},
		{name: "a member twice", text: "views: [{name: v, members: [local, local]}]\n", want: `c.yaml:1: views[0].members[1]: "local" is named twice`},
		{name: "publishing to an upstream", text: "views: [{name: v, members: [conancenter], publish: conancenter}]\n", want: `c.yaml:1: views[0].publish: there is no store "conancenter"`},
		{name: "publishing outside of the view", text: "views: [{name: v, members: [conancenter], publish: local}]\n", want: `c.yaml:1: views[0].publish: "local" is no member of the view, so what is published could not be read there`},

		// groups and rules about members
		{name: "a rule about no member", text: "auth:\n  read:\n  - pattern: '*'\n    users: ['*']\n    in: []\n", want: `c.yaml:5: auth.read[0].in: is empty; write the names of stores and upstreams, or leave the key out for all of them`},
		{name: "a rule about an unknown member", text: "auth:\n  write:\n  - pattern: '*'\n    users: ['*']\n    in: [local, x]\n", want: `c.yaml:5: auth.write[0].in[1]: there is no store and no upstream "x"`},
		{name: "a rule about a view", text: "views: [{name: v, members: [local]}]\nauth: {read: [{pattern: '*', users: ['*'], in: [v]}]}\n", want: `c.yaml:2: auth.read[0].in[0]: "v" is a view; name its members`},
		{name: "a rule about a member twice", text: "auth: {read: [{pattern: '*', users: ['*'], in: [local, local]}]}\n", want: `c.yaml:1: auth.read[0].in[1]: "local" is named twice`},
		{name: "an unknown group", text: "auth:\n  groups: {a: [ann]}\n  read: [{pattern: '*', users: ['@a', '@b']}]\n", want: `c.yaml:3: auth.read[0].users[1]: there is no group "b" in auth.groups`},
		{name: "a group in a group", text: "auth:\n  groups:\n    a: [ann]\n    b: ['@a']\n", want: `c.yaml:4: auth.groups.b[0]: "@a" is not the name of a user; a group has users only`},
		{name: "anyone in a group", text: "auth: {groups: {a: ['*']}}\n", want: `c.yaml:1: auth.groups.a[0]: "*" is not the name of a user; a group has users only`},
		{name: "a group without a name", text: "auth: {groups: {'': [ann]}}\n", want: `c.yaml:1: auth.groups."": "" is not a name: at most 64 of a-z, 0-9, dot and hyphen, beginning with a letter or digit`},
		{name: "a group with a wrong name", text: "auth:\n  groups:\n    Release Managers: [ann]\n", want: `c.yaml:3: auth.groups."Release Managers": "Release Managers" is not a name: at most 64 of a-z, 0-9, dot and hyphen, beginning with a letter or digit`},
		{name: "a group twice", text: "auth:\n  groups:\n    a: [ann]\n    a: [eve]\n", want: `c.yaml:4: auth.groups.a: is given twice`},
		{name: "a list as the name of a group", text: "auth: {groups: {[a]: [ann]}}\n", want: `c.yaml:1: auth.groups."": is not a name`},
		{name: "groups that are a list", text: "auth: {groups: [a]}\n", want: `c.yaml:1: auth.groups: must hold keys and values, not a list`},
		{name: "anyone as an administrator", text: "auth: {admin: ['*']}\n", want: `c.yaml:1: auth.admin[0]: "*" cannot be an administrator; write the names of users, or @ and the name of a group`},
		{name: "an unknown group as administrators", env: []string{"CONANPROXY_AUTH_ADMIN=ann,@ops"}, want: `CONANPROXY_AUTH_ADMIN: [1]: there is no group "ops" in auth.groups`},
		{name: "unknown variable", env: []string{"CONANPROXY_LISTNE=:1"}, want: "CONANPROXY_LISTNE: no setting has this variable; see config.example.yaml"},
		{name: "variable of a section", env: []string{"CONANPROXY_AUTH_READ=x"}, want: "CONANPROXY_AUTH_READ: no setting has this variable; see config.example.yaml"},
		{name: "bad value in a variable", env: []string{"CONANPROXY_AUTH_TOKEN_LIFETIME=1"}, want: `CONANPROXY_AUTH_TOKEN_LIFETIME: "1" is not a duration like 30s, 5m or 720h`},
		{name: "bytes that are no text in a variable", env: []string{"CONANPROXY_LISTEN=\xff"}, want: "CONANPROXY_LISTEN: is not UTF-8 text"},
		{name: "bad word in a list variable", env: []string{"CONANPROXY_TRUSTED_PROXIES=::/0,x"}, want: `CONANPROXY_TRUSTED_PROXIES: "x" is not a network like 10.0.0.0/8 or fd00::/8`},
		{name: "wrong value in a variable", text: "listen: ':1'\n", env: []string{"CONANPROXY_LISTEN=9300"}, want: `CONANPROXY_LISTEN: "9300" is not an address like 127.0.0.1:9300, [::1]:9300 or :9300`},
		{name: "wrong pattern in a variable", env: []string{"CONANPROXY_LOCAL_OWNS=a/*,b c"}, want: `CONANPROXY_LOCAL_OWNS: [1]: pattern "b c": ' ' is in no reference; only * and {user} are special`},
		{name: "empty data_dir in a variable", env: []string{"CONANPROXY_DATA_DIR="}, want: "CONANPROXY_DATA_DIR: must not be empty"},
		{name: "wrong upstream in a variable", env: []string{"CONANPROXY_UPSTREAMS=hq=ftp://x"}, want: "CONANPROXY_UPSTREAMS hq: url: must begin with http:// or https://"},
		{name: "wrong flag", f: Flags{Listen: "x"}, want: `--listen: "x" is not an address like 127.0.0.1:9300, [::1]:9300 or :9300`},
		{name: "control character in a flag", f: Flags{DataDir: "a\nb"}, want: "--data-dir: has a control character"},
		{name: "wrong upstream flag", f: Flags{Upstreams: []string{"hq=https://u:p@hq"}}, want: "--upstream hq: url: must not hold a user or password; use the keys username and password_file"},
		{name: "control character in an upstream flag", f: Flags{Upstreams: []string{"hq=https://u:p@hq\n"}}, want: "--upstream hq: has a control character"},
		{name: "upstream flag without a name", f: Flags{Upstreams: []string{"https://[::1]:9300"}}, want: `--upstream: name: "::1" is not a name: at most 64 of a-z, 0-9, dot and hyphen, beginning with a letter or digit`},
		{name: "upstream flags of one host", f: Flags{Upstreams: []string{"http://h:1", "http://h:2"}}, want: `--upstream h: name: "h" is also the name of upstreams[0]`},
		{name: "upstream flag that is no URL", f: Flags{Upstreams: []string{"hq=hq.example"}}, want: "--upstream hq: url: is not a URL like https://conan.example.com"},

		// listen, URLs, paths
		{name: "listen without a port", text: "listen: localhost\n", want: `c.yaml:1: listen: "localhost" is not an address like 127.0.0.1:9300, [::1]:9300 or :9300`},
		{name: "listen on a URL", text: "listen: http://localhost:80\n", want: `c.yaml:1: listen: "http://localhost:80" is not an address like 127.0.0.1:9300, [::1]:9300 or :9300`},
		{name: "listen on a named port", text: "listen: localhost:http\n", want: `c.yaml:1: listen: port "http" is not a number from 0 to 65535`},
		{name: "listen on a port too high", text: "listen: ':65536'\n", want: `c.yaml:1: listen: port "65536" is not a number from 0 to 65535`},
		{name: "public_url with a path", text: "public_url: https://x/conan\n", want: "c.yaml:1: public_url: must not have a path; the path of the server belongs into base_path"},
		{name: "public_url without a scheme", text: "public_url: conan.example.com\n", want: "c.yaml:1: public_url: is not a URL like https://conan.example.com"},
		{name: "public_url with credentials", text: "public_url: https://u:p@x\n", want: "c.yaml:1: public_url: must not hold a user or password; use the keys username and password_file"},
		{name: "base_path without a slash", text: "base_path: conan\n", want: `c.yaml:1: base_path: "conan" is not a path like /conan: a slash before each part, none at the end; "" for none`},
		{name: "base_path with a slash at the end", text: "base_path: /conan/\n", want: `c.yaml:1: base_path: "/conan/" is not a path like /conan: a slash before each part, none at the end; "" for none`},
		{name: "base_path of dots", text: "base_path: /a/..\n", want: `c.yaml:1: base_path: "/a/.." is not a path like /conan: a slash before each part, none at the end; "" for none`},
		{name: "data_dir", text: "data_dir: ''\n", want: "c.yaml:1: data_dir: must not be empty"},

		// TLS and users
		{name: "certificate alone", text: "tls:\n  cert_file: load.go\n", want: "c.yaml:2: tls.cert_file: needs tls.key_file too"},
		{name: "key alone", env: []string{"CONANPROXY_TLS_KEY_FILE=load.go"}, want: "CONANPROXY_TLS_KEY_FILE: needs tls.cert_file too"},
		{name: "certificate that is not there", text: "tls: {cert_file: no.pem, key_file: load.go}\n", want: "c.yaml:1: tls.cert_file: open no.pem: no such file or directory"},
		{name: "htpasswd_file that is not there", text: "auth:\n  htpasswd_file: no\n", want: "c.yaml:2: auth.htpasswd_file: open no: no such file or directory"},
		{name: "htpasswd_file that is a folder", text: "auth:\n  htpasswd_file: .\n", want: "c.yaml:2: auth.htpasswd_file: . is not a file"},
		{name: "token_lifetime", text: "auth:\n  token_lifetime: 0s\n", want: "c.yaml:2: auth.token_lifetime: must be longer than 0"},
		{name: "signature_lifetime", text: "auth:\n  signature_lifetime: -1h\n", want: "c.yaml:2: auth.signature_lifetime: must be longer than 0"},
		{name: "rule without users", text: "auth:\n  read:\n  - pattern: 'a/*'\n    users: []\n", want: `c.yaml:4: auth.read[0].users: is empty; write ["*"] for anyone, ["?"] for any logged-in user, or names`},
		{name: "rule without the key users", text: "auth:\n  read:\n  - pattern: 'a/*'\n", want: `c.yaml:3: auth.read[0].users: is empty; write ["*"] for anyone, ["?"] for any logged-in user, or names`},
		{name: "rule without a pattern", text: "auth:\n  write:\n  - users: ['*']\n", want: "c.yaml:3: auth.write[0].pattern: the pattern is empty"},
		{name: "rule with a space", text: "auth:\n  write:\n  - pattern: a b\n    users: ['*']\n", want: `c.yaml:3: auth.write[0].pattern: pattern "a b": ' ' is in no reference; only * and {user} are special`},
		{name: "rule with an odd user", text: "auth:\n  write:\n  - pattern: a/*\n    users: [b, 'c:d']\n", want: `c.yaml:4: auth.write[0].users[1]: "c:d" cannot be the name of a user`},
		{name: "rule with an empty user", text: "auth:\n  write:\n  - pattern: a/*\n    users:\n    - ''\n", want: `c.yaml:5: auth.write[0].users[0]: "" cannot be the name of a user`},

		// upstreams
		{name: "no name", text: "upstreams:\n- url: https://a\n", want: "c.yaml:2: upstreams[0].name: is missing"},
		{name: "no url", text: "upstreams:\n- name: a\n", want: "c.yaml:2: upstreams[0].url: is missing"},
		{name: "name local", text: "upstreams:\n- {name: local, url: 'https://a'}\n", want: `c.yaml:2: upstreams[0].name: "local" has a meaning of its own; choose another`},
		{name: "name all", text: "upstreams:\n- {name: all, url: 'https://a'}\n", want: `c.yaml:2: upstreams[0].name: "all" has a meaning of its own; choose another`},
		{name: "name in upper case", text: "upstreams:\n- {name: HQ, url: 'https://a'}\n", want: `c.yaml:2: upstreams[0].name: "HQ" is not a name: at most 64 of a-z, 0-9, dot and hyphen, beginning with a letter or digit`},
		{name: "name that begins with a dot", text: "upstreams:\n- {name: ..a, url: 'https://a'}\n", want: `c.yaml:2: upstreams[0].name: "..a" is not a name: at most 64 of a-z, 0-9, dot and hyphen, beginning with a letter or digit`},
		{name: "name twice", text: up + "- name: hq\n  url: https://b\n", want: `c.yaml:4: upstreams[1].name: "hq" is also the name of upstreams[0]`},
		{name: "URL with a query", text: "upstreams:\n- name: a\n  url: https://a/?x=1\n", want: `c.yaml:3: upstreams[0].url: must not have a query or fragment ("?" or "#")`},
		{name: "URL with a fragment", text: "upstreams:\n- name: a\n  url: https://a/#\n", want: `c.yaml:3: upstreams[0].url: must not have a query or fragment ("?" or "#")`},
		{name: "URL with credentials", text: "upstreams:\n- name: a\n  url: https://u:pw@a\n", want: "c.yaml:3: upstreams[0].url: must not hold a user or password; use the keys username and password_file"},
		{name: "URL with broken credentials", text: "upstreams:\n- name: a\n  url: https://u:p%zz@a\n", want: "c.yaml:3: upstreams[0].url: is not a URL like https://conan.example.com"},
		{name: "URL without a host", text: "upstreams:\n- name: a\n  url: https:///x\n", want: "c.yaml:3: upstreams[0].url: is not a URL like https://conan.example.com"},
		{name: "URL of a file", text: "upstreams:\n- name: a\n  url: file://h/x\n", want: "c.yaml:3: upstreams[0].url: must begin with http:// or https://"},
		{name: "URL with a port too high", text: "upstreams:\n- name: a\n  url: https://h:99999\n", want: `c.yaml:3: upstreams[0].url: port "99999" is not a number from 1 to 65535`},
		{name: "URL with an empty port", text: "upstreams:\n- name: a\n  url: 'https://h:'\n", want: `c.yaml:3: upstreams[0].url: port "" is not a number from 1 to 65535`},
		{name: "clients", text: up + "  clients: conan3\n", want: `c.yaml:4: upstreams[0].clients: "conan3" is not one of any, conan1, conan2`},
		{name: "protocol", text: up + "  protocol: v3\n", want: `c.yaml:4: upstreams[0].protocol: "v3" is not one of auto, v1, v2`},
		{name: "mode", text: up + "  mode: Frozen\n", want: `c.yaml:4: upstreams[0].mode: "Frozen" is not one of normal, frozen, offline`},
		{name: "two passwords", text: up + "  username: u\n  password: a\n  password_file: load.go\n", want: "c.yaml:5: upstreams[0].password: password_file is given too; keep one of them"},
		{name: "masked password", text: up + "  username: u\n  password: '********'\n", want: "c.yaml:5: upstreams[0].password: is the mask that stands for a password in printed configuration"},
		{name: "password without a user", text: up + "  password: secret\n", want: "c.yaml:2: upstreams[0].username: is missing beside a password"},
		{name: "user without a password", text: up + "  username: u\n", want: "c.yaml:4: upstreams[0].username: needs password or password_file too"},
		{name: "user with a colon", text: up + "  username: 'u:v'\n  password: a\n", want: "c.yaml:4: upstreams[0].username: must not have a colon"},
		{name: "password from a variable that is not set", text: up + "  username: u\n  password: ${HQ_PASSWORD}\n", want: "c.yaml:5: upstreams[0].password: the environment variable HQ_PASSWORD is not set"},
		{name: "password from a variable with a line break", text: up + "  username: u\n  password: ${P}\n", env: []string{"P=a\n"}, want: "c.yaml:5: upstreams[0].password: the environment variable P has a control character"},
		{name: "password_file that is not there", text: up + "  username: u\n  password_file: no\n", want: "c.yaml:5: upstreams[0].password_file: open no: no such file or directory"},
		{name: "ca_file that is not there", text: up + "  ca_file: no.pem\n", want: "c.yaml:4: upstreams[0].ca_file: open no.pem: no such file or directory"},
		{name: "include of nothing", text: up + "  include: []\n", want: `c.yaml:4: upstreams[0].include: is empty, so nothing could be asked for; write ["*"] for everything`},
		{name: "include of an empty pattern", text: up + "  include: ['']\n", want: "c.yaml:4: upstreams[0].include[0]: the pattern is empty"},
		{name: "exclude with a space", text: up + "  exclude:\n  - a/*\n  - 'b '\n", want: `c.yaml:6: upstreams[0].exclude[1]: pattern "b ": ' ' is in no reference; only * and {user} are special`},
		{name: "include of a name", text: up + "  include: [zlib]\n", want: `c.yaml:4: upstreams[0].include[0]: pattern "zlib" matches no reference; a name alone is written name/*`},
		{name: "exclude of users", text: up + "  exclude: ['*@{user}/*']\n", want: `c.yaml:4: upstreams[0].exclude[0]: pattern "*@{user}/*": {user} has a meaning only in auth.read and auth.write`},
		{name: "also_at with a path", text: up + "  also_at: ['https://files.hq', 'https://cdn.hq/files']\n", want: "c.yaml:4: upstreams[0].also_at[1]: must not have a path; credentials are sent to the whole server"},
		{name: "also_at with credentials", text: up + "  also_at: ['https://u:p@files.hq']\n", want: "c.yaml:4: upstreams[0].also_at[0]: must not hold a user or password; use the keys username and password_file"},
		{name: "allow_networks", text: up + "  allow_networks: [10.0.0.0]\n", want: `c.yaml:4: upstreams[0].allow_networks[0]: "10.0.0.0" is not a network like 10.0.0.0/8 or fd00::/8`},
		{name: "fresh_for", text: up + "  fresh_for: 0s\n", want: "c.yaml:4: upstreams[0].fresh_for: must be longer than 0"},
		{name: "not_found_for", text: up + "  not_found_for: -1s\n", want: "c.yaml:4: upstreams[0].not_found_for: must be longer than 0"},
		{name: "stale_for", text: up + "  stale_for: 0h\n", want: "c.yaml:4: upstreams[0].stale_for: must be longer than 0"},
		{name: "min_age", text: up + "  min_age: -1h\n", want: "c.yaml:4: upstreams[0].min_age: must not be less than 0; 0 hides nothing"},
		{name: "min_age_except", text: up + "  min_age_except: [zlib]\n", want: `c.yaml:4: upstreams[0].min_age_except[0]: pattern "zlib" matches no reference; a name alone is written name/*`},
		{name: "min_age_pinned", text: up + "  min_age_pinned: warn\n", want: `c.yaml:4: upstreams[0].min_age_pinned: "warn" is not one of refuse, allow`},
		{name: "timeout", text: up + "  timeout: 0ms\n", want: "c.yaml:4: upstreams[0].timeout: must be longer than 0"},
		{name: "max_connections of 0", text: up + "  max_connections: 0\n", want: "c.yaml:4: upstreams[0].max_connections: 0 is not between 1 and 1000"},
		{name: "max_connections too high", text: up + "  max_connections: 1001\n", want: "c.yaml:4: upstreams[0].max_connections: 1001 is not between 1 and 1000"},

		// the rest
		{name: "owns with a user", text: "local:\n  owns: ['{user}/*']\n", want: `c.yaml:2: local.owns[0]: pattern "{user}/*": {user} has a meaning only in auth.read and auth.write`},
		{name: "owns", text: "local:\n  owns: [a/*, '']\n", want: "c.yaml:2: local.owns[1]: the pattern is empty"},
		{name: "max_size of 0", text: "cache:\n  max_size: 0\n", want: "c.yaml:2: cache.max_size: 0 is less than 1MiB; write a unit, as in 50GiB"},
		{name: "max_size without a unit", text: "cache:\n  max_size: 50\n", want: "c.yaml:2: cache.max_size: 50 is less than 1MiB; write a unit, as in 50GiB"},
		{name: "memory", text: "cache:\n  memory: 1KiB\n", want: "c.yaml:2: cache.memory: 1KiB is less than 1MiB; write a unit, as in 50GiB"},
		{name: "min_free below 0", text: "cache:\n  min_free: -1GiB\n", want: `c.yaml:2: cache.min_free: "-1GiB" is not a size like 50GiB, 512MiB or 4KiB`},
		{name: "level", text: "log:\n  level: trace\n", want: `c.yaml:2: log.level: "trace" is not one of debug, info, warn, error`},
		{name: "format", text: "log:\n  format: xml\n", want: `c.yaml:2: log.format: "xml" is not one of json, text`},
		{
			name: "several at once",
			text: "listen: x\nlog: {level: y}\n", env: []string{"CONANPROXY_CACHE_MEMORY=1"},
			want: "c.yaml:1: listen: \"x\" is not an address like 127.0.0.1:9300, [::1]:9300 or :9300\n" +
				"CONANPROXY_CACHE_MEMORY: 1 is less than 1MiB; write a unit, as in 50GiB\n" +
				"c.yaml:2: log.level: \"y\" is not one of debug, info, warn, error",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := loadText(tt.text, tt.env, tt.f)
			if err == nil {
				t.Fatalf("loaded, want %q", tt.want)
			}
			if c != nil {
				t.Error("a configuration came with the error")
			}
			if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestLoadFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "conanproxy.yaml")
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("listen: ':1'\n")
	c, err := Load(LoadOptions{File: path})
	if err != nil || c.Listen != ":1" {
		t.Errorf("Load = %v, %v", c, err)
	}
	write("listen: 1\n")
	_, err = Load(LoadOptions{File: path})
	if want := path + `:1: listen: "1" is not an address`; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("Load = %v, want %s…", err, want)
	}
	write(strings.Repeat("# comment\n", maxFileSize/10+1))
	if _, err = Load(LoadOptions{File: path}); err == nil || !strings.Contains(err.Error(), "is larger than 1MiB") {
		t.Errorf("Load of a large file = %v", err)
	}
	if _, err = Load(LoadOptions{File: filepath.Join(dir, "no.yaml")}); err == nil || !strings.Contains(err.Error(), "no.yaml") {
		t.Errorf("Load of a file that is not there = %v", err)
	}
	if _, err = Load(LoadOptions{File: dir}); err == nil {
		t.Error("Load of a folder succeeded")
	}
}

func TestLoadNoFiles(t *testing.T) {
	c, err := load([]byte("auth: {htpasswd_file: made-later}\n"), LoadOptions{File: "c.yaml", NoFiles: true})
	if err != nil || c.Auth.HtpasswdFile != "made-later" {
		t.Errorf("load = %v, %v", c, err)
	}
}

func TestSecret(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("from file\r\nrest\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		u    Upstream
		want string
	}{
		"none":     {Upstream{}, ""},
		"password": {Upstream{Password: "given"}, "given"},
		"file":     {Upstream{PasswordFile: file}, "from file"},
	} {
		if got, err := tt.u.Secret(); got != tt.want || err != nil {
			t.Errorf("%s: Secret = %q, %v; want %q", name, got, err, tt.want)
		}
	}
	if _, err := (Upstream{Name: "hq", PasswordFile: file + "no"}).Secret(); err == nil || !strings.Contains(err.Error(), "hq") {
		t.Errorf("Secret of a file that is not there = %v", err)
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]Size{
		"0": 0, "1": 1, "7B": 7, "4KiB": 4 << 10, "512MiB": 512 << 20, "50GiB": 50 << 30, "8388607TiB": 8388607 << 40,
	} {
		if got, err := ParseSize(text); got != want || err != nil {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "GiB", "1GB", "1G", "1.5GiB", "-1", "+1", "1 GiB", "1gib", "0x10", "1_0", "8388608TiB", "9223372036854775808"} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("ParseSize(%q) = %d", text, got)
		}
	}
}

func TestSizeString(t *testing.T) {
	for size, want := range map[Size]string{0: "0", 1: "1", 1023: "1023", 1024: "1KiB", 3 << 20: "3MiB", 1 << 40: "1TiB", 1<<30 + 1: "1073741825"} {
		if got := size.String(); got != want {
			t.Errorf("Size(%d) = %q, want %q", int64(size), got, want)
		}
	}
}

func TestDurationText(t *testing.T) {
	for d, want := range map[time.Duration]string{
		24 * time.Hour: "24h", 5 * time.Minute: "5m", 90 * time.Minute: "1h30m", 10 * time.Minute: "10m", time.Hour + 5*time.Second: "1h0m5s",
		30 * time.Second: "30s", 10 * time.Hour: "10h", 1500 * time.Millisecond: "1.5s", 0: "0s", 20*time.Hour + 10*time.Minute: "20h10m",
	} {
		got := durationText(d)
		if back, err := time.ParseDuration(got); got != want || back != d || err != nil {
			t.Errorf("durationText(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestLoadRetention(t *testing.T) {
	const text = "stores:\n  - name: dev\n    retention:\n      rules:\n        - {pattern: '*@*/testing', unused_for: 720h}\n" +
		"        - {pattern: '*', keep_recipe_revisions: 3, keep_package_revisions: 1}\n      roots: [locks/*.lock, /abs/list.json]\n"
	c, err := load([]byte(text), LoadOptions{File: "/etc/conanproxy/c.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	want := Retention{
		Rules: []RetentionRule{{Pattern: "*@*/testing", UnusedFor: 720 * time.Hour}, {Pattern: "*", KeepRecipeRevisions: 3, KeepPackageRevisions: 1}},
		Roots: []string{"/etc/conanproxy/locks/*.lock", "/abs/list.json"},
	}
	if diff := cmp.Diff(want, c.AllStores()[0].Retention); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	c, err = load(nil, LoadOptions{Env: []string{"CONANPROXY_LOCAL_RETENTION_ROOTS=a.lock"}})
	if err == nil || !strings.Contains(err.Error(), "keep nothing") {
		t.Errorf("roots without rules: %+v, %v", c, err)
	}
	for rule, says := range map[string]string{
		"{pattern: '*'}":                                "c.yaml:1: local.retention.rules[0]: has no condition",
		"{unused_for: 1h}":                              "pattern is empty",
		"{pattern: zlib, unused_for: 1h}":               "matches no reference",
		"{pattern: '*@{user}/*', unused_for: 1h}":       "{user}",
		"{pattern: '*', unused_for: -1h}":               "must not be negative",
		"{pattern: '*', keep_recipe_revisions: -1}":     "-1 is not between",
		"{pattern: '*', keep_package_revisions: 1.5}":   "not a whole number",
		"{pattern: '*', unused_for: 1h, keep: 3}":       "unknown key",
		"{pattern: '*', unused_for: 1h}], roots: ['[a'": "not a pattern of files",
		"{pattern: '*', unused_for: 1h}], roots: [''":   "not a pattern of files",
	} {
		_, err := loadText("local: {retention: {rules: ["+rule+"]}}", nil, Flags{})
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", rule, err, says)
		}
	}
}
