package netguard

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"testing"

	"pgregory.net/rapid"
)

func parse(t testing.TB, raw string) *url.URL {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func isRefused(err error) bool {
	var refused *RefusedError
	return errors.As(err, &refused)
}

func TestKinds(t *testing.T) {
	tests := map[kind][]string{
		public:   {"1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "64:ff9b::101:101", "::ffff:8.8.8.8", "11.0.0.1"},
		private:  {"10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "fc00::1", "fdff::1", "64:ff9b::a00:1", "::ffff:10.0.0.1", "64:ff9b:1::1"},
		loopback: {"127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::", "::ffff:127.0.0.1", "64:ff9b::7f00:1"},
		special:  {"169.254.169.254", "fe80::1", "fe80::1%eth0", "224.0.0.1", "255.255.255.255", "ff02::1", "198.18.0.1", "2002:7f00:1::", "64:ff9b::a9fe:a9fe", "::ffff:169.254.1.1"},
	}
	for want, list := range tests {
		for _, s := range list {
			if got := kindOf(netip.MustParseAddr(s)); got != want {
				t.Errorf("%s is %s, want %s", s, got, want)
			}
		}
	}
}

// An address that is not public never passes without a home or an allowed network.
func TestNothingPrivateIsPublic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "address")
		ip := netip.AddrFrom4([4]byte(b))
		g := New(Options{})
		err := g.check("host.test:443", netip.AddrPortFrom(ip, 443).String())
		usable := ip.IsGlobalUnicast() && !ip.IsPrivate()
		if err == nil && !usable {
			t.Errorf("%s passes", ip)
		}
	})
}

func TestCheck(t *testing.T) {
	const home = "https://conan.test:8443/x"
	tests := map[string]struct {
		home    string
		homeAt  string // what the home resolved to before
		allow   string
		address string // that is dialed
		at      string // what it resolves to
		allowed bool
	}{
		"public":                          {home, "1.1.1.1", "", "s3.test:443", "8.8.8.8:443", true},
		"public, no home":                 {"", "", "", "s3.test:443", "8.8.8.8:443", true},
		"private":                         {home, "1.1.1.1", "", "s3.test:443", "10.0.0.1:443", false},
		"private, no home":                {"", "", "", "s3.test:443", "10.0.0.1:443", false},
		"private by NAT64":                {home, "1.1.1.1", "", "s3.test:443", "[64:ff9b::a00:1]:443", false},
		"private, allowed":                {home, "1.1.1.1", "10.0.0.0/24", "s3.test:443", "10.0.0.1:443", true},
		"private, v4 in v6, allowed":      {home, "1.1.1.1", "10.0.0.0/24", "s3.test:443", "[::ffff:10.0.0.1]:443", true},
		"private, another allowed":        {home, "1.1.1.1", "10.0.1.0/24", "s3.test:443", "10.0.0.1:443", false},
		"private, home too":               {home, "192.168.1.1", "", "s3.test:443", "10.0.0.1:443", true},
		"private, home by its name":       {"http://artifactory", "", "", "minio:9000", "10.0.0.1:9000", true},
		"private, home on this machine":   {"http://127.0.0.1:8081", "", "", "s3.test:443", "10.0.0.1:443", false},
		"loopback":                        {home, "1.1.1.1", "", "s3.test:8443", "127.0.0.1:8443", false},
		"loopback, private home":          {home, "10.0.0.1", "", "s3.test:8443", "127.0.0.1:8443", false},
		"loopback, home's port":           {"http://127.0.0.1:8081", "", "", "localhost:8081", "[::1]:8081", true},
		"loopback, another port":          {"http://127.0.0.1:8081", "", "", "localhost:22", "127.0.0.1:22", false},
		"loopback, another port, allowed": {"http://localhost:8081", "", "127.0.0.0/8", "localhost:22", "127.0.0.1:22", true},
		"unspecified":                     {home, "1.1.1.1", "", "s3.test:443", "0.0.0.0:443", false},
		"metadata service":                {home, "10.0.0.1", "", "s3.test:80", "169.254.169.254:80", false},
		"link-local home, literal":        {"http://169.254.1.1", "", "", "169.254.1.1:80", "169.254.1.1:80", true},
		"link-local home, by name":        {home, "", "", "conan.test:8443", "169.254.1.1:8443", false},
		"home in a private network":       {home, "", "", "conan.test:8443", "10.0.0.1:8443", true},
		"home on this machine":            {home, "", "", "conan.test:8443", "127.0.0.1:8443", true},
		"home moves to a private network": {home, "1.1.1.1", "", "conan.test:8443", "10.0.0.1:8443", false},
		"home moves within the internet":  {home, "1.1.1.1", "", "conan.test:8443", "8.8.8.8:8443", true},
		"home's host, another port":       {home, "1.1.1.1", "", "conan.test:80", "127.0.0.1:80", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o := Options{}
			if test.home != "" {
				o.Home = parse(t, test.home)
			}
			if test.allow != "" {
				o.Allow = []netip.Prefix{netip.MustParsePrefix(test.allow)}
			}
			g := New(o)
			if test.homeAt != "" {
				if err := g.check(g.home, net.JoinHostPort(test.homeAt, "8443")); err != nil {
					t.Fatal(err)
				}
				g.reached = true
			}
			err := g.check(test.address, test.at)
			if (err == nil) != test.allowed || err != nil && !isRefused(err) {
				t.Errorf("got %v, want allowed %v", err, test.allowed)
			}
		})
	}
}

func TestBehindProxy(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://proxy.corp:3128")
	t.Setenv("HTTPS_PROXY", "proxy.corp:3128")
	t.Setenv("NO_PROXY", "direct.test")
	tests := map[string]struct {
		home, url string
		proxied   bool
		allowed   bool
	}{
		"public name":              {"https://conan.test", "https://s3.test/x", true, true},
		"no proxy for it":          {"https://conan.test", "https://direct.test/x", false, true},
		"public address":           {"https://conan.test", "http://1.1.1.1/x", true, true},
		"private address":          {"https://conan.test", "http://10.0.0.1/x", true, false},
		"metadata service":         {"https://conan.test", "http://169.254.169.254/latest", true, false},
		"address in another form":  {"https://conan.test", "http://0x7f000001/", true, false},
		"short address":            {"https://conan.test", "http://10.1/", true, false},
		"single label":             {"https://conan.test", "http://intranet/", true, false},
		"internal domain":          {"https://conan.test", "http://wiki.corp/", true, false},
		"internal home itself":     {"http://artifactory.corp", "http://artifactory.corp/x", true, true},
		"internal, home too":       {"http://artifactory.corp", "http://minio.corp/x", true, true},
		"private address as home":  {"http://10.0.0.1", "http://10.0.0.1/x", true, true},
		"loopback, internal home":  {"http://artifactory.corp", "http://2130706433/x", true, false},
		"localhost is not proxied": {"https://conan.test", "http://localhost/x", false, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := New(Options{Home: parse(t, test.home)})
			proxy, err := g.Proxy(parse(t, test.url))
			if (proxy != nil) != test.proxied || (err == nil) != test.allowed {
				t.Errorf("proxy %v, error %v; want %v, %v", proxy, err, test.proxied, test.allowed)
			}
			if err := g.check("proxy.corp:3128", "10.0.0.9:3128"); err != nil {
				t.Errorf("the proxy itself: %v", err)
			}
			if err := g.check("proxy.corp:22", "10.0.0.9:22"); test.home == "https://conan.test" && err == nil {
				t.Error("another port of the proxy's host is allowed")
			}
		})
	}
}

// The judgement is made on real connections, after resolving.
func TestDial(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	g := New(Options{Home: parse(t, "http://localhost:"+port)})
	for address, allowed := range map[string]bool{l.Addr().String(): true, "localhost:" + port: true, other.Addr().String(): false} {
		conn, err := g.DialContext(t.Context(), "tcp", address)
		if err == nil {
			conn.Close()
		}
		if (err == nil) != allowed || !allowed && !isRefused(err) {
			t.Errorf("%s: %v, want allowed %v", address, err, allowed)
		}
	}
}
