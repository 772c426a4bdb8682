package config

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// LoadOptions say where the settings come from: flags win over the environment, that over the file,
// that over the defaults.
type LoadOptions struct {
	File  string   // path of the YAML file; empty: none
	Env   []string // NAME=value, as os.Environ returns them
	Flags Flags
	// NoFiles leaves the files that the settings name (certificates, passwords, users) unopened:
	// for commands that make them.
	NoFiles bool
}

// Flags are the settings from the command line; an empty field was not given.
type Flags struct {
	Listen    string
	DataDir   string
	Upstreams []string // [NAME=]URL; the default name is the host; they replace the configured list
}

// maxFileSize bounds a configuration file.
const maxFileSize = 1 << 20

// Load reads and checks the settings. The error has one line for each thing that is wrong, which
// names the file, line and key, or the variable, or the flag, and never a secret.
func Load(o LoadOptions) (*Config, error) {
	if o.File == "" {
		return load(nil, o)
	}
	data, err := readFile(o.File, maxFileSize)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return load(data, o)
}

// load is Load with the content of o.File.
func load(data []byte, o LoadOptions) (*Config, error) {
	c := Default()
	l := &loader{
		file:   o.File,
		env:    envMap(o.Env),
		opened: !o.NoFiles,
		origin: map[string]string{},
	}
	if o.File != "" {
		l.decodeFile(data, c)
	}
	l.applyEnv(o.Env, c)
	l.applyFlags(o.Flags, c)
	l.expandPasswords(c)
	if len(l.problems) == 0 { // a value that could not be read would be validated by its default
		c.PublicURL = strings.TrimRight(c.PublicURL, "/") // so that paths can be appended
		l.validate(c)
	}
	if err := errors.Join(l.problems...); err != nil {
		return nil, err
	}
	return c, nil
}

// loader is one run of Load.
type loader struct {
	file     string
	env      map[string]string
	opened   bool              // whether configured files are opened
	origin   map[string]string // path of a key → where its value came from, the prefix of errors
	problems []error
}

// problem notes that the value at path is wrong.
func (l *loader) problem(path, format string, args ...any) {
	l.problems = append(l.problems, fmt.Errorf("%s: %s", l.where(path), fmt.Sprintf(format, args...)))
}

// where names the place of a value: its own, else that of the nearest list item or section around
// it.
func (l *loader) where(path string) string {
	for p := path; p != ""; p = parent(p) {
		switch from := l.origin[p]; {
		case from == "":
			continue
		case l.file != "" && strings.HasPrefix(from, l.file+":"):
			return from + ": " + path
		case p == path:
			return from
		default:
			return from + ": " + strings.TrimPrefix(strings.TrimPrefix(path, p), ".")
		}
	}
	return path
}

// parent is the path without its last key or index; "" for a key at the top.
func parent(path string) string {
	return path[:max(0, strings.LastIndexAny(path, ".["))]
}

// expandPasswords replaces ${NAME}.
func (l *loader) expandPasswords(c *Config) {
	for i := range c.Upstreams {
		u := &c.Upstreams[i]
		name, ok := variableOf(u.Password)
		if !ok {
			continue
		}
		path := fmt.Sprintf("upstreams[%d].password", i)
		u.Password = l.env[name]
		if u.Password == "" {
			l.problem(path, "the environment variable %s is not set", name)
		} else if err := checkText(u.Password); err != nil {
			l.problem(path, "the environment variable %s %v", name, err)
		}
	}
}

// variableOf returns NAME of ${NAME}; the whole value must have that form.
func variableOf(value string) (name string, ok bool) {
	name, ok = strings.CutPrefix(value, "${")
	if !ok {
		return "", false
	}
	name, ok = strings.CutSuffix(name, "}")
	if !ok || name == "" {
		return "", false
	}
	for i, r := range name {
		letter := r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return "", false
		}
	}
	return name, true
}

// applyFlags puts the flags over everything.
func (l *loader) applyFlags(f Flags, c *Config) {
	for _, flag := range []struct {
		name, path, value string
		target            *string
	}{
		{"--listen", "listen", f.Listen, &c.Listen},
		{"--data-dir", "data_dir", f.DataDir, &c.DataDir},
	} {
		if flag.value == "" {
			continue
		}
		l.origin[flag.path] = flag.name
		if err := setScalar(reflect.ValueOf(flag.target).Elem(), flag.value); err != nil {
			l.problem(flag.path, "%v", err)
		}
	}
	if len(f.Upstreams) > 0 {
		l.setUpstreams("--upstream", f.Upstreams, c)
	}
}

// setUpstreams replaces the list by entries of the form [NAME=]URL, given by a flag or variable.
func (l *loader) setUpstreams(from string, entries []string, c *Config) {
	for path := range l.origin {
		if strings.HasPrefix(path, "upstreams") {
			delete(l.origin, path)
		}
	}
	c.Upstreams = make([]Upstream, len(entries))
	for i, entry := range entries {
		u := &c.Upstreams[i]
		*u = defaultUpstream()
		u.Name, u.URL = splitUpstream(entry)
		path := fmt.Sprintf("upstreams[%d]", i)
		l.origin[path] = from
		if validName(u.Name) {
			l.origin[path] += " " + u.Name
		}
		if err := checkText(entry); err != nil {
			l.problem(path, "%v", err)
		}
	}
}
