package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// mask stands in printed configuration for a secret.
const mask = "********"

// Print writes all settings as YAML that Load reads back, but for the secrets, which are masked.
func (c *Config) Print(w io.Writer) error {
	return writeYAML(w, reflect.ValueOf(*c))
}

func writeYAML(w io.Writer, v reflect.Value) error {
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	if err := enc.Encode(toNode(v, "")); err != nil {
		return fmt.Errorf("print configuration: %w", err)
	}
	if err := enc.Close(); err != nil {
		return fmt.Errorf("print configuration: %w", err)
	}
	return nil
}

// StoresInsteadOfLocal is the section stores as YAML that means what the section local says. It is
// empty if that section says nothing but the defaults.
func (c *Config) StoresInsteadOfLocal() (string, error) {
	if len(c.Stores) > 0 || reflect.DeepEqual(c.Local, Default().Local) {
		return "", nil
	}
	list := struct {
		Stores []Store `yaml:"stores"`
	}{c.AllStores()}
	var text strings.Builder
	if err := writeYAML(&text, reflect.ValueOf(list)); err != nil {
		return "", err
	}
	return text.String(), nil
}

// Digest names the settings: equal ones have equal digests. Secrets do not count.
func (c *Config) Digest() string {
	h := sha256.New()
	if err := c.Print(h); err != nil {
		return "" // a hash takes every byte, so Print fails only for a type that YAML does not know
	}
	return hex.EncodeToString(h.Sum(nil)[:6])
}

// toNode makes the YAML of a value; secret is the tag of its field.
func toNode(v reflect.Value, secret string) *yaml.Node {
	switch {
	case isScalar(v.Type()):
		return scalarNode(v, secret)
	case v.Kind() == reflect.Slice:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		if v.Len() == 0 || isScalar(v.Type().Elem()) {
			n.Style = yaml.FlowStyle
		}
		for i := range v.Len() {
			n.Content = append(n.Content, toNode(v.Index(i), ""))
		}
		return n
	case v.Kind() == reflect.Map:
		return mapNode(v)
	}
	n := &yaml.Node{Kind: yaml.MappingNode}
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if field.Tag.Get("print") == "if set" && v.Field(i).IsZero() {
			continue // an empty value cannot be read back
		}
		key := &yaml.Node{Kind: yaml.ScalarNode, Value: keyOf(field)}
		n.Content = append(n.Content, key, toNode(v.Field(i), field.Tag.Get("secret")))
	}
	return n
}

// mapNode makes the YAML of a section whose keys are names, sorted by them.
func mapNode(v reflect.Value) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	if v.Len() == 0 {
		n.Style = yaml.FlowStyle
	}
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	for _, k := range keys {
		key := new(yaml.Node)
		key.SetString(k.String())
		n.Content = append(n.Content, key, toNode(v.MapIndex(k), ""))
	}
	return n
}

func scalarNode(v reflect.Value, secret string) *yaml.Node {
	text := scalarText(v)
	switch {
	case secret == "true" && text != "":
		text = mask
	case secret == "userinfo":
		text = maskUserinfo(text)
	}
	n := &yaml.Node{Kind: yaml.ScalarNode, Value: text}
	if v.Kind() == reflect.String && v.Type() != reflect.TypeFor[time.Duration]() {
		n.SetString(text)
	}
	return n
}

// maskUserinfo masks what stands between the scheme and the host of a URL.
func maskUserinfo(text string) string {
	scheme, rest, ok := strings.Cut(text, "://")
	at := strings.LastIndex(rest, "@")
	if !ok || at < 0 {
		return text
	}
	return scheme + "://" + mask + rest[at:]
}
