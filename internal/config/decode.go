package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// decodeFile reads one YAML document into c and notes the line of every key.
func (l *loader) decodeFile(data []byte, c *Config) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return // an empty file says nothing
	}
	if err != nil {
		l.syntaxProblem(err)
		return
	}
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		l.fault(&second, "", "a second document begins; the file must hold one")
		return
	}
	if len(doc.Content) == 1 {
		l.decode(doc.Content[0], reflect.ValueOf(c).Elem(), "")
	}
}

var yamlLine = regexp.MustCompile(`^line (\d+): `)

// syntaxProblem notes an error of the YAML parser, whose text begins with "yaml: line N: " mostly.
func (l *loader) syntaxProblem(err error) {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	line := "1"
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		line, text = m[1], text[len(m[0]):]
	}
	text = strings.Join(strings.Fields(text), " ")
	l.problems = append(l.problems, fmt.Errorf("%s:%s: not valid YAML: %s", l.file, line, text))
}

// decode reads a node into v, whose path in the file is path.
func (l *loader) decode(node *yaml.Node, v reflect.Value, path string) {
	if l.origin[path] == "" {
		l.origin[path] = l.at(node)
	}
	switch {
	case node.Kind == yaml.AliasNode || node.Anchor != "":
		l.fault(node, path, "anchors and aliases are not understood here")
	case isScalar(v.Type()):
		l.decodeScalar(node, v, path)
	case v.Kind() == reflect.Slice:
		l.decodeList(node, v, path)
	case v.Kind() == reflect.Map:
		l.decodeMap(node, v, path)
	default:
		l.decodeSection(node, v, path)
	}
}

// at is the place of a node.
func (l *loader) at(node *yaml.Node) string { return fmt.Sprintf("%s:%d", l.file, node.Line) }

// fault notes that a node, which stands for path, cannot be understood.
func (l *loader) fault(node *yaml.Node, path, format string, args ...any) {
	place := l.at(node)
	if path != "" {
		place += ": " + path
	}
	l.problems = append(l.problems, fmt.Errorf("%s: %s", place, fmt.Sprintf(format, args...)))
}

func isNull(node *yaml.Node) bool {
	return node.Kind == yaml.ScalarNode && node.ShortTag() == "!!null"
}

func (l *loader) decodeScalar(node *yaml.Node, v reflect.Value, path string) {
	switch {
	case isNull(node):
		l.fault(node, path, `has no value; leave the key out for the default, or write "" for none`)
	case node.Kind != yaml.ScalarNode:
		l.fault(node, path, "must be one value, not a %s", kindText(node))
	case strings.HasPrefix(node.Tag, "!") && !strings.HasPrefix(node.ShortTag(), "!!"), node.ShortTag() == "!!binary":
		l.fault(node, path, "tags are not understood here")
	default:
		if err := setScalar(v, node.Value); err != nil {
			l.fault(node, path, "%v", err)
		}
	}
}

func (l *loader) decodeList(node *yaml.Node, v reflect.Value, path string) {
	if isNull(node) {
		l.fault(node, path, "has no value; leave the key out for the default, or write [] for none")
		return
	}
	if node.Kind != yaml.SequenceNode {
		l.fault(node, path, "must be a list, not a %s", kindText(node))
		return
	}
	list := reflect.MakeSlice(v.Type(), len(node.Content), len(node.Content))
	for i, item := range node.Content {
		switch entry := list.Index(i).Addr().Interface().(type) {
		case *Upstream:
			*entry = defaultUpstream()
		case *Store:
			*entry = defaultStore()
		case *View:
			*entry = View{Members: []string{}}
		}
		l.decode(item, list.Index(i), fmt.Sprintf("%s[%d]", path, i))
	}
	v.Set(list)
}

// decodeMap reads a section whose keys are names that the user chooses.
func (l *loader) decodeMap(node *yaml.Node, v reflect.Value, path string) {
	read := reflect.MakeMap(v.Type())
	l.eachKey(node, path, func(key, value *yaml.Node, name string) {
		if err := checkText(key.Value); key.Kind != yaml.ScalarNode || err != nil {
			l.fault(key, name, "is not a name")
			return
		}
		l.origin[name] = l.at(key)
		entry := reflect.New(v.Type().Elem()).Elem()
		l.decode(value, entry, name)
		read.SetMapIndex(reflect.ValueOf(key.Value), entry)
	})
	v.Set(read)
}

// eachKey calls do for each key of a section, once, with its value and its path.
func (l *loader) eachKey(node *yaml.Node, path string, do func(key, value *yaml.Node, name string)) {
	if isNull(node) && !strings.HasSuffix(path, "]") {
		return // a section all of whose keys are commented out
	}
	if node.Kind != yaml.MappingNode {
		l.fault(node, path, "must hold keys and values, not a %s", kindText(node))
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		name := join(path, keyText(key))
		if seen[key.Value] {
			l.fault(key, name, "is given twice")
			continue
		}
		seen[key.Value] = true
		do(key, value, name)
	}
}

func (l *loader) decodeSection(node *yaml.Node, v reflect.Value, path string) {
	fields := map[string]int{}
	var known []string
	for i := range v.NumField() {
		key := keyOf(v.Type().Field(i))
		fields[key] = i
		known = append(known, key)
	}
	l.eachKey(node, path, func(key, value *yaml.Node, name string) {
		field, ok := fields[key.Value]
		if key.Kind != yaml.ScalarNode || !ok {
			l.fault(key, name, "unknown key; known here: %s", strings.Join(known, ", "))
			return
		}
		l.origin[name] = l.at(key)
		l.decode(value, v.Field(field), name)
	})
}

var plainKey = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,60}$`)

// keyText is a key as errors show it, in one line.
func keyText(key *yaml.Node) string {
	if key.Kind == yaml.ScalarNode {
		return nameText(key.Value)
	}
	return fmt.Sprintf("%.60q", key.Value)
}

// nameText is a name as the path of a key has it.
func nameText(name string) string {
	if plainKey.MatchString(name) {
		return name
	}
	return fmt.Sprintf("%.60q", name)
}

func kindText(node *yaml.Node) string {
	switch node.Kind {
	case yaml.MappingNode:
		return "section"
	case yaml.SequenceNode:
		return "list"
	}
	return "single value"
}
