package config

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// envPrefix begins the names of the variables that override a setting.
const envPrefix = "CONANPROXY_"

// foreignVariable matches what Kubernetes puts into every container for a Service whose name begins
// with conanproxy: they are no settings.
var foreignVariable = regexp.MustCompile(`^CONANPROXY_([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// envMap reads NAME=value; of a name that is there twice the last counts.
func envMap(environ []string) map[string]string {
	m := make(map[string]string, len(environ))
	for _, entry := range environ {
		if name, value, ok := strings.Cut(entry, "="); ok {
			m[name] = value
		}
	}
	return m
}

// applyEnv puts the variables CONANPROXY_… over the file. A list of words is written with commas.
func (l *loader) applyEnv(environ []string, c *Config) {
	targets := map[string]envTarget{}
	collectTargets(reflect.ValueOf(c).Elem(), "", targets)
	used := map[string]bool{envPrefix + "CONFIG": true} // read by the command line
	for _, u := range c.Upstreams {
		if name, ok := variableOf(u.Password); ok {
			used[name] = true
		}
	}
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, envPrefix) || used[name] {
			continue
		}
		used[name] = true
		target, ok := targets[name]
		switch {
		case ok:
			l.origin[target.path] = name
			l.applyVariable(target, l.env[name])
		case name == envPrefix+"UPSTREAMS":
			l.setUpstreams(name, splitList(l.env[name]), c)
		case slices.Contains(clientVariables, name):
		case !foreignVariable.MatchString(name):
			l.origin[name] = name
			l.problem(name, "no setting has this variable; see config.example.yaml")
		}
	}
}

// The variables of commands that speak to a running server: its URL, and the token that is sent.
const (
	ClientServer = "CONANPROXY_SERVER"
	ClientToken  = "CONANPROXY_TOKEN"
)

// The variables of secrets that commands need: the password of the secret key that signs bundles,
// and that of a user of the server that is imported from.
const (
	SignPassword   = "CONANPROXY_SIGN_PASSWORD"
	ImportPassword = "CONANPROXY_IMPORT_PASSWORD"
)

// clientVariables are those of commands that speak to a server.
var clientVariables = []string{ClientServer, ClientToken, SignPassword, ImportPassword}

// envTarget is a setting that a variable overrides.
type envTarget struct {
	path  string
	value reflect.Value // a scalar or a list of scalars
}

// collectTargets finds them by the name of their variable. Lists of sections (upstreams, rules)
// have none.
func collectTargets(v reflect.Value, path string, targets map[string]envTarget) {
	for i := range v.NumField() {
		field, fieldPath := v.Field(i), join(path, keyOf(v.Type().Field(i)))
		t := field.Type()
		switch {
		case isScalar(t) || t.Kind() == reflect.Slice && isScalar(t.Elem()):
			name := envPrefix + strings.ToUpper(strings.ReplaceAll(fieldPath, ".", "_"))
			targets[name] = envTarget{fieldPath, field}
		case t.Kind() == reflect.Struct:
			collectTargets(field, fieldPath, targets)
		}
	}
}

func (l *loader) applyVariable(target envTarget, text string) {
	if isScalar(target.value.Type()) {
		if err := setScalar(target.value, text); err != nil {
			l.problem(target.path, "%v", err)
		}
		return
	}
	words := splitList(text)
	list := reflect.MakeSlice(target.value.Type(), len(words), len(words))
	for i, word := range words {
		if err := setScalar(list.Index(i), word); err != nil {
			l.problem(target.path, "%v", err)
		}
	}
	target.value.Set(list)
}

// splitList splits at commas; an empty text is an empty list.
func splitList(text string) []string {
	words := strings.Split(text, ",")
	for i := range words {
		words[i] = strings.TrimSpace(words[i])
	}
	return slices.DeleteFunc(words, func(w string) bool { return w == "" })
}
