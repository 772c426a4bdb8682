package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/crypto/bcrypt"

	"conanproxy/internal/conan"
	"conanproxy/internal/conantest"
	"conanproxy/internal/config"
	"conanproxy/internal/index"
)

// certificate writes a self-signed certificate and its key, and returns its serial number.
func certificate(t *testing.T, dir string, serial int64, expires time.Time) config.TLS {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "conan.example.com"},
		DNSNames: []string{"conan.example.com"}, NotAfter: expires,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	c := config.TLS{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
	writeFile(t, c.CertFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	writeFile(t, c.KeyFile, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})))
	return c
}

func writeUsers(t *testing.T, file string, names ...string) {
	t.Helper()
	var b strings.Builder
	for _, name := range names {
		hash, err := bcrypt.GenerateFromPassword([]byte(name), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(name + ":" + string(hash) + "\n")
	}
	writeFile(t, file, b.String())
}

// reloadWith has the server load another configuration.
func reloadWith(s *server, cfg *config.Config) {
	s.reload(func() (*config.Config, error) { return cfg, nil })
}

// changedConfig is a copy of a configuration after a change.
func changedConfig(cfg *config.Config, change func(*config.Config)) *config.Config {
	c := *cfg
	c.Upstreams = append([]config.Upstream(nil), cfg.Upstreams...)
	change(&c)
	return &c
}

// isClosed tells whether the cache of an upstream that does not answer is closed.
func isClosed(m member) bool {
	rev := conantest.Recipe("closed", "1.0").Revision
	_, err := m.cache.Open(context.Background(), rev, "conanfile.py")
	return err != nil && strings.Contains(err.Error(), "stopping")
}

// What config check accepts, serve and SIGHUP accept: each of them builds the same settings.
func TestWrongSettingsAreRefusedByCheckStartAndReload(t *testing.T) {
	dir := t.TempDir()
	notPEM := filepath.Join(dir, "not.pem")
	writeFile(t, notPEM, "no certificate")
	huge := filepath.Join(dir, "users")
	writeFile(t, huge, strings.Repeat("#", 5<<20))
	tests := []struct {
		name   string
		change func(*config.Config)
	}{
		{"certificate", func(c *config.Config) { c.TLS = config.TLS{CertFile: notPEM, KeyFile: notPEM} }},
		{"users", func(c *config.Config) { c.Auth.HtpasswdFile = huge }},
		{"read rule", func(c *config.Config) { c.Auth.Read = []config.Rule{{Pattern: "zlib", Users: []string{"*"}}} }},
		{"write rule", func(c *config.Config) { c.Auth.Write = []config.Rule{{Pattern: "*", Users: []string{"a b\x00"}}} }},
		{"owns", func(c *config.Config) { c.Local.Owns = []string{"a b"} }},
		{"retention", func(c *config.Config) {
			c.Local.Retention.Rules = []config.RetentionRule{{Pattern: "a b", UnusedFor: 1}}
		}},
		{"include", func(c *config.Config) { c.Upstreams[0].Include = []string{"a b"} }},
		{"certificate authority", func(c *config.Config) { c.Upstreams[0].CAFile = notPEM }},
		{"password file", func(c *config.Config) { c.Upstreams[0].Username, c.Upstreams[0].PasswordFile = "u", dir }},
		{"public URL", func(c *config.Config) { c.PublicURL = "ftp://x" }},
		{"base path", func(c *config.Config) { c.BasePath = "/a/../b" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			good := testConfig(t, "http://127.0.0.1:1")
			bad := changedConfig(good, tt.change)
			var usage usageError
			if err := build(t.Context(), bad); !errors.As(err, &usage) {
				t.Errorf("config check: %v", err)
			}
			if _, err := newServer(t.Context(), bad, quiet()); !errors.As(err, &usage) {
				t.Errorf("start: %v", err)
			}
			s := testServer(t, good)
			before := s.current.Load()
			reloadWith(s, bad)
			if s.current.Load() != before {
				t.Error("reload: the settings were replaced")
			}
			failures := metric(t, s, "conanproxy_config_reloads_total", "failure")
			if successful := metric(t, s, "conanproxy_config_last_reload_successful"); failures != 1 || successful != 0 {
				t.Errorf("reload: %v failures are counted, successful is %v", failures, successful)
			}
		})
	}
}

// A name that the data knows as a store cannot become an upstream.
func TestNameOfAnotherKindIsRefused(t *testing.T) {
	cfg := testConfig(t)
	s := testServer(t, cfg)
	if _, err := s.index.Member(t.Context(), "a", index.KindStore); err != nil {
		t.Fatal(err)
	}
	up := testConfig(t, "http://127.0.0.1:1").Upstreams
	before := s.current.Load()
	reloadWith(s, changedConfig(cfg, func(c *config.Config) { c.Upstreams = up }))
	if s.current.Load() != before {
		t.Error("a store was taken for an upstream")
	}
}

// When a later upstream cannot be opened, those before it do not stay open, and those in force do.
func TestFailedBuildClosesWhatItOpened(t *testing.T) {
	cfg := testConfig(t, "http://127.0.0.1:1")
	s := testServer(t, cfg)
	inForce := s.current.Load().upstreams
	bad := changedConfig(testConfig(t, "http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3"), func(c *config.Config) {
		c.Upstreams[0] = cfg.Upstreams[0]
		c.Upstreams[2].CAFile = filepath.Join(t.TempDir(), "none.pem")
	})
	opened, err := s.openUpstreams(t.Context(), bad, inForce)
	if err == nil || len(opened) != 2 {
		t.Fatalf("%d upstreams opened, %v", len(opened), err)
	}
	if isClosed(opened[0]) {
		t.Error("the upstream in force was closed")
	}
	if !isClosed(opened[1]) {
		t.Error("the new upstream stayed open")
	}
}

// A new cool-down goes before the cache that is there, and a reload without it takes it away.
func TestReloadOfACoolDownKeepsTheCache(t *testing.T) {
	young := conantest.Recipe("zlib", "1.3", conantest.Published(time.Now()))
	cfg := testConfig(t, conantest.NewServer(t, conantest.V2, young).URL)
	s := testServer(t, cfg)
	old := s.current.Load().upstreams[0]
	for _, age := range []time.Duration{0, time.Hour, 0} {
		reloadWith(s, changedConfig(cfg, func(c *config.Config) { c.Upstreams[0].MinAge = age }))
		next := s.current.Load().upstreams[0]
		if next.cache != old.cache || next.config.MinAge != age {
			t.Errorf("min_age %v: the cache is another one, or min_age is %v", age, next.config.MinAge)
		}
		_, err := next.source(time.Time{}).Latest(t.Context(), conan.Revision{Ref: young.Ref})
		if hidden := age > 0; errors.Is(err, conan.ErrNotFound) != hidden || !hidden && err != nil {
			t.Errorf("min_age %v: %v", age, err)
		}
	}
}

// Members that a reload replaced are closed when the requests had time to end.
func TestReplacedUpstreamIsClosedAfterTheDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := testConfig(t, "http://127.0.0.1:1", "http://127.0.0.1:2")
		s := testServer(t, cfg)
		old := s.current.Load().upstreams
		reloadWith(s, changedConfig(cfg, func(c *config.Config) { c.Upstreams = c.Upstreams[:1] }))
		synctest.Wait()
		if isClosed(old[1]) {
			t.Fatal("an upstream was closed under its requests")
		}
		time.Sleep(drainTimeout + time.Second)
		if !isClosed(old[1]) {
			t.Error("the replaced upstream stays open")
		}
		if isClosed(old[0]) {
			t.Error("an upstream in force was closed")
		}
	})
}

// The shutdown knows the members that a reload replaced.
func TestShutdownClosesReplacedUpstreams(t *testing.T) {
	cfg := testConfig(t, "http://127.0.0.1:1")
	s, err := newServer(t.Context(), cfg, quiet())
	if err != nil {
		t.Fatal(err)
	}
	old := s.current.Load().upstreams
	reloadWith(s, changedConfig(cfg, func(c *config.Config) { c.Upstreams[0].FreshFor = time.Hour }))
	s.stop()
	s.workers.Wait() // what close does first
	if !isClosed(old[0]) {
		t.Error("the replaced upstream stays open")
	}
	s.close()
}

// Repairs of the scrub and adoptions use the settings while a reload replaces them; the race
// detector watches.
func TestReloadBesideScrubAndAdoption(t *testing.T) {
	recipe := conantest.Recipe("outside", "1.0")
	origin := conantest.NewServer(t, conantest.V2, recipe)
	cfg := testConfig(t, origin.URL)
	s := testServer(t, cfg)
	var work sync.WaitGroup
	done := make(chan struct{})
	row := index.FileRow{Revision: recipe.Revision, Name: conan.RecipeFile, Member: index.Member{Kind: index.KindStore}}
	for range 2 {
		work.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := s.fetch(t.Context(), row); err != nil {
					t.Errorf("fetch: %v", err)
				}
				if _, err := s.adoptFrom("local", conan.Actor{}).Snapshot(t.Context(), recipe.Revision); err != nil {
					t.Errorf("adoption: %v", err)
				}
			}
		})
	}
	for i := range 20 {
		reloadWith(s, changedConfig(cfg, func(c *config.Config) { c.Upstreams[0].NotFoundFor = time.Duration(i+1) * time.Second }))
	}
	close(done)
	work.Wait()
}

// Nothing that a store owns is asked upstream, to repair it neither.
func TestOwnedNamesAreNotFetched(t *testing.T) {
	recipe := conantest.Recipe("mine", "1.0")
	origin := conantest.NewServer(t, conantest.V2, recipe)
	cfg := testConfig(t, origin.URL)
	cfg.Local.Owns = []string{"mine/*"}
	s := testServer(t, cfg)
	row := index.FileRow{Revision: recipe.Revision, Name: conan.RecipeFile, Member: index.Member{Kind: index.KindStore}}
	if err := s.fetch(t.Context(), row); err == nil {
		t.Error("an owned file came from outside")
	}
	if _, err := s.adoptFrom("local", conan.Actor{}).Snapshot(t.Context(), recipe.Revision); err == nil {
		t.Error("an owned recipe was adopted from outside")
	}
	if n := origin.Count("*"); n != 0 {
		t.Errorf("upstream was asked %d times", n)
	}
}

func TestReloadAppliesUsersRulesAndLifetimes(t *testing.T) {
	cfg := testConfig(t)
	dir := t.TempDir()
	cfg.Auth.HtpasswdFile = filepath.Join(dir, "first")
	writeUsers(t, cfg.Auth.HtpasswdFile, "first")
	second := filepath.Join(dir, "second")
	writeUsers(t, second, "second")
	s := testServer(t, cfg)
	login := func(user string) int {
		req := httptest.NewRequest(http.MethodGet, "/v2/users/authenticate", nil)
		req.SetBasicAuth(user, user)
		rec := httptest.NewRecorder()
		s.http.ServeHTTP(rec, req)
		return rec.Code
	}
	if first, second := login("first"), login("second"); first != 200 || second != 401 {
		t.Fatalf("before: first %d, second %d", first, second)
	}
	reloadWith(s, changedConfig(cfg, func(c *config.Config) { c.Auth.HtpasswdFile = second }))
	if first, second := login("first"), login("second"); first != 401 || second != 200 {
		t.Errorf("after: first %d, second %d", first, second)
	}
	reloadWith(s, changedConfig(cfg, func(c *config.Config) { c.Auth.HtpasswdFile, c.Auth.TokenLifetime = second, 10*time.Minute }))
	if left := time.Until(tokenExpiry(t, s, "second")); left < 9*time.Minute || left > 10*time.Minute {
		t.Errorf("a new token is valid for %v, want 10 minutes", left)
	}
	reloadWith(s, changedConfig(cfg, func(c *config.Config) { c.Auth.Read = nil }))
	req := httptest.NewRequest(http.MethodGet, "/v2/conans/zlib/1.3/_/_/latest", nil)
	rec := httptest.NewRecorder()
	s.http.ServeHTTP(rec, req)
	if rec.Code != http.StatusUnauthorized {
		t.Errorf("reading without a rule: status %d", rec.Code)
	}
}

// tokenExpiry logs in and tells until when the token is valid.
func tokenExpiry(t *testing.T, s *server, user string) time.Time {
	t.Helper()
	req := httptest.NewRequest(http.MethodGet, "/v2/users/authenticate", nil)
	req.SetBasicAuth(user, user)
	rec := httptest.NewRecorder()
	s.http.ServeHTTP(rec, req)
	parts := strings.Split(rec.Body.String(), ".") // a JWT: header, claims, signature
	if len(parts) != 3 {
		t.Fatalf("token %q", rec.Body)
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims struct{ Exp int64 }
	if err := json.Unmarshal(text, &claims); err != nil || claims.Exp == 0 {
		t.Fatalf("claims %s: %v", text, err)
	}
	return time.Unix(claims.Exp, 0)
}

// A users file that cannot be used is told by /readyz.
func TestReadyzTellsOfTheUsersFile(t *testing.T) {
	cfg := testConfig(t)
	cfg.Auth.HtpasswdFile = filepath.Join(t.TempDir(), "users")
	writeUsers(t, cfg.Auth.HtpasswdFile, "ann")
	s := testServer(t, cfg)
	if err := s.ready(t.Context()); err != nil {
		t.Fatalf("not ready: %v", err)
	}
	if err := os.Remove(cfg.Auth.HtpasswdFile); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(cfg.Auth.HtpasswdFile, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.ready(t.Context()); err == nil {
		t.Error("ready with a users file that is a folder")
	}
}

// A new certificate authority in the same file makes a new client of the upstream.
func TestReloadAppliesCAFile(t *testing.T) {
	cfg := testConfig(t, "https://127.0.0.1:1")
	pem := func() []byte {
		text, err := os.ReadFile(certificate(t, t.TempDir(), 1, time.Now().Add(time.Hour)).CertFile)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	cfg.Upstreams[0].CAFile = filepath.Join(t.TempDir(), "ca.pem")
	write := func(text []byte) {
		if err := os.WriteFile(cfg.Upstreams[0].CAFile, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(pem())
	s := testServer(t, cfg)
	first := s.current.Load().upstreams[0].remote
	reloadWith(s, changedConfig(cfg, func(*config.Config) {}))
	if s.current.Load().upstreams[0].remote != first {
		t.Error("an upstream that did not change was opened again")
	}
	write(pem())
	reloadWith(s, changedConfig(cfg, func(*config.Config) {}))
	if s.current.Load().upstreams[0].remote == first {
		t.Error("the upstream still trusts the old certificate authority")
	}
}

func TestReloadAppliesCertificate(t *testing.T) {
	cfg := testConfig(t)
	dir := t.TempDir()
	soon := time.Now().Add(time.Hour).Truncate(time.Second)
	cfg.TLS = certificate(t, dir, 1, soon)
	cfg.Listen = "127.0.0.1:0"
	s := testServer(t, cfg)
	listener, err := s.listen()
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_ = conn.(*tls.Conn).Handshake()
			}()
		}
	}()
	serial := func() string {
		dialer := &net.Dialer{Timeout: 10 * time.Second}
		conn, err := tls.DialWithDialer(dialer, "tcp", listener.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	if got := serial(); got != "1" {
		t.Fatalf("the first certificate has the serial number %s", got)
	}
	if got := metric(t, s, "conanproxy_tls_certificate_expiry_timestamp_seconds"); got != float64(soon.Unix()) {
		t.Errorf("the certificate expires at %v, want %v", got, soon.Unix())
	}
	certificate(t, dir, 2, soon)
	reloadWith(s, cfg)
	if got := serial(); got != "2" {
		t.Errorf("after the reload the certificate has the serial number %s", got)
	}
	reloadWith(s, changedConfig(cfg, func(c *config.Config) { c.TLS = config.TLS{} }))
	if got := serial(); got != "2" {
		t.Errorf("without a certificate, which needs a restart, the serial number is %s", got)
	}
}

// Stores and views are mounted where the configuration says, and change by a reload.
func TestStoresAndViews(t *testing.T) {
	recipe := conantest.Recipe("outside", "1.0")
	origin := conantest.NewServer(t, conantest.V2, recipe)
	cfg := testConfig(t, origin.URL)
	s := testServer(t, cfg)
	status := func(path string) int {
		rec := httptest.NewRecorder()
		s.http.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		return rec.Code
	}
	latest := "/v2/conans/" + recipe.Ref.Path() + "/latest"
	check := func(when string, want map[string]int) {
		t.Helper()
		for mount, code := range want {
			if got := status(mount + latest); got != code {
				t.Errorf("%s: %s answers %d, want %d", when, mount, got, code)
			}
		}
	}
	check("one store", map[string]int{"": 200, "/local": 404, "/r/local": 404, "/upstream/a": 200, "/r/a": 200, "/r/dev": 424})

	own := s.current.Load().stores[0]
	several := changedConfig(cfg, func(c *config.Config) {
		c.Stores = []config.Store{{Name: "release", Overwrite: false}, {Name: "local2", Owns: []string{"outside/*"}, Overwrite: true}}
		c.Views = []config.View{
			{Name: "default", Members: []string{"release", "local2", "a"}, Publish: "local2"},
			{Name: "free", Members: []string{"a", "release"}},
		}
	})
	reloadWith(s, several)
	if got := s.current.Load().config; got != several {
		t.Fatal("the configuration was not taken")
	}
	check("several stores", map[string]int{
		"": 404, "/r/default": 404, "/r/free": 200, "/local": 404, "/r/release": 404, "/r/local2": 404, "/r/a": 404, "/r/local": 424,
	})
	if err := conantest.Publish(t.Context(), s.current.Load().stores[1], recipe); err != nil {
		t.Fatal(err)
	}
	if got := metric(t, s, "conanproxy_member_recipe_revisions", "store", "local2"); got != 1 {
		t.Errorf("the store has %v recipe revisions", got)
	}
	check("after a publication", map[string]int{"": 200, "/r/local2": 200, "/r/release": 404})

	reloadWith(s, cfg)
	if s.current.Load().stores[0].Store == own.Store {
		t.Error("a store that was not configured meanwhile stayed open")
	}
	check("one store again", map[string]int{"": 200, "/local": 404, "/r/local2": 424})
}

// What a store has stays when the configuration no longer names it, and is served when it does again.
func TestStoreThatIsNotConfiguredKeepsItsPackages(t *testing.T) {
	cfg := testConfig(t)
	two := changedConfig(cfg, func(c *config.Config) { c.Stores = []config.Store{{Name: "local"}, {Name: "extra"}} })
	recipe := conantest.Recipe("kept", "1.0")
	core, observed := observer.New(zap.WarnLevel)
	start := func(cfg *config.Config) *server {
		logs := quiet()
		logs.app = zap.New(core)
		s, err := newServer(t.Context(), cfg, logs)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.close)
		return s
	}
	answers := func(when string, s *server, latest, file int) {
		t.Helper()
		for path, want := range map[string]int{"/latest": latest, "/revisions/" + recipe.RRev + "/files/conanfile.py": file} {
			rec := httptest.NewRecorder()
			s.http.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/r/extra/v2/conans/"+recipe.Ref.Path()+path, nil))
			if rec.Code != want {
				t.Errorf("%s: %s answers %d, want %d", when, path, rec.Code, want)
			}
		}
	}

	s := start(two)
	if err := conantest.Publish(t.Context(), s.current.Load().stores[1], recipe); err != nil {
		t.Fatal(err)
	}
	answers("at first", s, http.StatusOK, http.StatusOK)
	if logged := observed.TakeAll(); len(logged) != 0 {
		t.Errorf("logged while both are configured: %v", logged)
	}
	s.close()

	without := start(cfg)
	answers("not configured", without, http.StatusFailedDependency, http.StatusFailedDependency)
	logged := observed.FilterFieldKey("stores").TakeAll()
	if len(logged) != 1 || !strings.Contains(logged[0].Message, "are not configured") || fmt.Sprint(logged[0].ContextMap()["stores"]) != "[extra]" {
		t.Errorf("logged: %v", logged)
	}
	reloadWith(without, two)
	answers("configured again", without, http.StatusOK, http.StatusOK)
	without.close()
	answers("after a restart", start(two), http.StatusOK, http.StatusOK)
}

func TestNeedRestart(t *testing.T) {
	cfg := testConfig(t)
	tests := map[string]func(*config.Config){
		"": func(c *config.Config) {
			c.PublicURL, c.BasePath, c.Log.Level, c.Log.Probes = "http://x", "/x", "debug", true
		},
		"listen":       func(c *config.Config) { c.Listen = ":1" },
		"data_dir":     func(c *config.Config) { c.DataDir = "x" },
		"tls":          func(c *config.Config) { c.TLS.CertFile = "x" },
		"blobs.s3":     func(c *config.Config) { c.Blobs.S3.Bucket = "x" },
		"cache.memory": func(c *config.Config) { c.Cache.Memory = 1 << 20 },
		"log.format":   func(c *config.Config) { c.Log.Format = "text" },
		"log.access":   func(c *config.Config) { c.Log.Access = false },
	}
	for want, change := range tests {
		var keys []string
		if want != "" {
			keys = []string{want}
		}
		if diff := cmp.Diff(keys, needRestart(cfg, changedConfig(cfg, change))); diff != "" {
			t.Errorf("%q (-want +got):\n%s", want, diff)
		}
	}
}

func TestReloadMetrics(t *testing.T) {
	cfg := testConfig(t)
	s := testServer(t, cfg)
	reloadWith(s, changedConfig(cfg, func(c *config.Config) { c.Listen, c.Log.Level = ":1", "debug" }))
	if got := metric(t, s, "conanproxy_config_reloads_total", "success"); got != 1 {
		t.Errorf("%v reloads are counted", got)
	}
	if got := metric(t, s, "conanproxy_config_last_success_timestamp_seconds"); got < float64(time.Now().Add(-time.Hour).Unix()) {
		t.Errorf("the last success was at %v", got)
	}
	if got := s.logs.level.String(); got != "debug" {
		t.Errorf("the level of the log is %s", got)
	}
	if got := metric(t, s, "conanproxy_config_restart_needed"); got != 1 {
		t.Errorf("restart_needed is %v", got)
	}
	if got := metric(t, s, "conanproxy_config_info", s.current.Load().config.Digest()); got != 1 {
		t.Errorf("config_info is %v", got)
	}
}
