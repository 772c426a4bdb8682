package config

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func printed(t testing.TB, c *Config) string {
	t.Helper()
	var b strings.Builder
	if err := c.Print(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestPrintRoundTrips(t *testing.T) {
	odd := changed(func(c *Config) {
		c.Listen, c.PublicURL, c.BasePath, c.DataDir = "[::1]:0", "https://x:8443", "/a/b", "true"
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("::/0")}
		c.Auth.Read = []Rule{{Pattern: "*@{user}/*", Users: []string{"?", "null", "# no comment", "1"}}}
		c.Auth.Read[0].Users[2] = "#no-comment"
		c.Auth.Read[0].In = []string{"local", "a"}
		c.Auth.Groups = Groups{"b": {"ann"}, "a.b-c": {}, "1": {"~", "true"}}
		c.Auth.Admin = []string{"@b", "eve"}
		c.Auth.Write = nil
		c.Auth.TokenLifetime = 90*time.Minute + time.Millisecond
		c.Upstreams = []Upstream{upstream("a", "http://a", func(u *Upstream) { u.Exclude = []string{"-x/*", "*", "*@a/*"} })}
		c.Local.Owns = []string{"*@acme/*"}
		c.Cache.MinFree, c.Cache.MaxSize = 0, 1<<30+1
		c.Log.Access, c.Log.Probes, c.Local.Overwrite = false, true, false
	})
	for name, want := range map[string]*Config{
		"defaults":     Default(),
		"no upstreams": changed(func(c *Config) { c.Upstreams = nil }),
		"odd":          odd,
	} {
		t.Run(name, func(t *testing.T) {
			text := printed(t, want)
			got, err := loadText(text, nil, Flags{})
			if err != nil {
				t.Fatalf("%v in\n%s", err, text)
			}
			if diff := cmp.Diff(want, got, compare); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestPrintMasksSecrets(t *testing.T) {
	c := changed(func(c *Config) {
		c.PublicURL = "https://user:hidden@public.example"
		c.Upstreams = []Upstream{upstream("hq", "https://user:hid@den@hq.example/x@y", func(u *Upstream) {
			u.Username, u.Password, u.PasswordFile = "me", "hidden", "/run/password"
		})}
	})
	text := printed(t, c)
	for _, secret := range []string{"hid", "den@"} {
		if strings.Contains(text, secret) {
			t.Errorf("%q is in\n%s", secret, text)
		}
	}
	for _, shown := range []string{"https://********@public.example\n", "https://********@y\n", "password: '********'\n", "username: me\n", "password_file: /run/password\n"} {
		if !strings.Contains(text, shown) {
			t.Errorf("%q is not in\n%s", shown, text)
		}
	}
	if c.Upstreams[0].Password != "hidden" {
		t.Error("Print changed the configuration")
	}
}
