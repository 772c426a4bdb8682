package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"conanproxy/internal/conan"
)

// validate notes everything that is wrong with c.
func (l *loader) validate(c *Config) {
	l.check("listen", checkListen(c.Listen))
	if c.PublicURL != "" {
		l.check("public_url", checkPublicURL(c.PublicURL))
	}
	l.check("base_path", checkBasePath(c.BasePath))
	if c.DataDir == "" {
		l.problem("data_dir", "must not be empty")
	}
	l.validateTLS(c.TLS)
	l.validateAuth(c)
	l.validateUpstreams(c.Upstreams)
	l.userlessPatterns("local.owns", c.Local.Owns)
	l.notNegative("local.trash_for", c.Local.TrashFor)
	l.validateRetention("local.retention", &c.Local.Retention)
	l.validateStores(c)
	l.validateCache(c.Cache)
	l.positive("audit.keep", c.Audit.Keep)
	l.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	l.oneOf("log.format", c.Log.Format, "json", "text")
}

// check notes err, a phrase to stand behind the name of the key, unless it is nil.
func (l *loader) check(path string, err error) {
	if err != nil {
		l.problem(path, "%v", err)
	}
}

func (l *loader) oneOf(path, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		l.problem(path, "%.60q is not one of %s", value, strings.Join(allowed, ", "))
	}
}

func (l *loader) positive(path string, d time.Duration) {
	if d <= 0 {
		l.problem(path, "must be longer than 0")
	}
}

func (l *loader) notNegative(path string, d time.Duration) {
	if d < 0 {
		l.problem(path, "must not be negative")
	}
}

// readable notes that a configured file cannot be opened.
func (l *loader) readable(path, file string) {
	if file == "" || !l.opened {
		return
	}
	f, err := os.Open(file)
	if err != nil {
		l.problem(path, "%v", err)
		return
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.IsDir() {
		l.problem(path, "%s is not a file", file)
	}
}

// userlessPatterns checks patterns that hold for every caller.
func (l *loader) userlessPatterns(path string, patterns []string) {
	for i, p := range patterns {
		item := fmt.Sprintf("%s[%d]", path, i)
		if strings.Contains(p, "{user}") {
			l.problem(item, "pattern %.60q: {user} has a meaning only in auth.read and auth.write", p)
			continue
		}
		l.check(item, checkPattern(p))
	}
}

// checkPattern tells why p is not a pattern of references.
func checkPattern(p string) error {
	if p == "" {
		return errors.New("the pattern is empty")
	}
	if _, err := conan.ParseGlob(p); err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), conan.ErrInvalid.Error()+": "))
	}
	return nil
}

func (l *loader) validateTLS(t TLS) {
	if t.CertFile != "" && t.KeyFile == "" {
		l.problem("tls.cert_file", "needs tls.key_file too")
	}
	if t.KeyFile != "" && t.CertFile == "" {
		l.problem("tls.key_file", "needs tls.cert_file too")
	}
	l.readable("tls.cert_file", t.CertFile)
	l.readable("tls.key_file", t.KeyFile)
}

func (l *loader) validateUpstreams(upstreams []Upstream) {
	for i, u := range upstreams {
		l.validateUpstream(fmt.Sprintf("upstreams[%d]", i), u)
	}
}

func (l *loader) validateUpstream(path string, u Upstream) {
	l.checkMemberName(path, u.Name, LocalName, AllName)
	if u.URL == "" {
		l.problem(path+".url", "is missing")
	} else {
		_, err := parseURL(u.URL)
		l.check(path+".url", err)
	}
	for i, origin := range u.AlsoAt {
		l.check(fmt.Sprintf("%s.also_at[%d]", path, i), checkOrigin(origin))
	}
	l.oneOf(path+".clients", u.Clients, "any", "conan1", "conan2")
	l.oneOf(path+".protocol", u.Protocol, "auto", "v1", "v2")
	l.oneOf(path+".mode", u.Mode, "normal", "frozen", "offline")
	l.validateCredentials(path, u)
	l.readable(path+".ca_file", u.CAFile)
	if len(u.Include) == 0 {
		l.problem(path+".include", `is empty, so nothing could be asked for; write ["*"] for everything`)
	}
	l.userlessPatterns(path+".include", u.Include)
	l.userlessPatterns(path+".exclude", u.Exclude)
	l.positive(path+".fresh_for", u.FreshFor)
	l.positive(path+".not_found_for", u.NotFoundFor)
	l.positive(path+".stale_for", u.StaleFor)
	if u.MinAge < 0 {
		l.problem(path+".min_age", "must not be less than 0; 0 hides nothing")
	}
	l.userlessPatterns(path+".min_age_except", u.MinAgeExcept)
	l.oneOf(path+".min_age_pinned", u.MinAgePinned, "refuse", "allow")
	l.positive(path+".timeout", u.Timeout)
	if u.MaxConnections < 1 || u.MaxConnections > 1000 {
		l.problem(path+".max_connections", "%d is not between 1 and 1000", u.MaxConnections)
	}
}

func (l *loader) validateCredentials(path string, u Upstream) {
	given := u.Password != "" || u.PasswordFile != ""
	switch {
	case u.Password != "" && u.PasswordFile != "":
		l.problem(path+".password", "password_file is given too; keep one of them")
	case u.Password == mask:
		l.problem(path+".password", "is the mask that stands for a password in printed configuration")
	case given && u.Username == "":
		l.problem(path+".username", "is missing beside a password")
	case u.Username != "" && !given:
		l.problem(path+".username", "needs password or password_file too")
	case strings.Contains(u.Username, ":"):
		l.problem(path+".username", "must not have a colon")
	}
	l.readable(path+".password_file", u.PasswordFile)
}

func (l *loader) validateCache(c Cache) {
	const least = 1 << 20
	for _, s := range []struct {
		path string
		size Size
	}{{"cache.max_size", c.MaxSize}, {"cache.memory", c.Memory}} {
		if s.size < least {
			l.problem(s.path, "%v is less than %v; write a unit, as in 50GiB", s.size, Size(least))
		}
	}
}

var namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{0,63}$`)

func validName(name string) bool { return namePattern.MatchString(name) }

// splitUpstream splits [NAME=]URL. Without a name it is the host of the URL.
func splitUpstream(entry string) (name, address string) {
	name, address, ok := strings.Cut(entry, "=")
	if ok && !strings.Contains(name, "://") {
		return name, address
	}
	u, err := url.Parse(entry)
	if err != nil {
		return "", entry
	}
	return strings.ToLower(u.Hostname()), entry
}

// parseURL parses the URL of a server. Its errors do not repeat the URL, since it may hold a password.
func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "" || u.Opaque != "" || strings.Contains(text, " "):
		return nil, errors.New("is not a URL like https://conan.example.com")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("must begin with http:// or https://")
	case u.User != nil:
		return nil, errors.New("must not hold a user or password; use the keys username and password_file")
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(text, "#"):
		return nil, errors.New(`must not have a query or fragment ("?" or "#")`)
	}
	if port := u.Port(); port != "" || strings.HasSuffix(u.Host, ":") {
		return u, checkPort(port, 1)
	}
	return u, nil
}

func checkPort(port string, least int) error {
	n, err := strconv.Atoi(port)
	if err != nil || n < least || n > 65535 {
		return fmt.Errorf("port %.60q is not a number from %d to 65535", port, least)
	}
	return nil
}

func checkPublicURL(text string) error {
	u, err := parseURL(text)
	if err != nil {
		return err
	}
	if u.Path != "" {
		return errors.New("must not have a path; the path of the server belongs into base_path")
	}
	return nil
}

func checkOrigin(text string) error {
	u, err := parseURL(text)
	if err != nil {
		return err
	}
	if u.Path != "" && u.Path != "/" {
		return errors.New("must not have a path; credentials are sent to the whole server")
	}
	return nil
}

func checkListen(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil || strings.ContainsAny(host, " /@?#") {
		return fmt.Errorf("%.60q is not an address like 127.0.0.1:9300, [::1]:9300 or :9300", address)
	}
	return checkPort(port, 0)
}

var basePathPattern = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)*$`)

func checkBasePath(p string) error {
	bad := !basePathPattern.MatchString(p)
	for _, segment := range strings.Split(p, "/") {
		bad = bad || segment == "." || segment == ".."
	}
	if bad {
		return fmt.Errorf(`%.60q is not a path like /conan: a slash before each part, none at the end; "" for none`, p)
	}
	return nil
}
