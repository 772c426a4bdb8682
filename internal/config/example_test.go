package config

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

const exampleFile = "../../config.example.yaml"

func TestExampleIsDefault(t *testing.T) {
	got, err := Load(LoadOptions{File: exampleFile})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Default(), got, compare); diff != "" {
		t.Errorf("config.example.yaml differs from the defaults (-default +example):\n%s", diff)
	}
}

// Every key of Config is in the example, and has a comment.
func TestExampleIsComplete(t *testing.T) {
	data, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	wantKeys(t, doc.Content[0], reflect.TypeFor[Config](), "")
	if !strings.Contains(string(data), "# in: ") {
		t.Error("the key in of rules, which is empty by default, is not explained")
	}
}

func wantKeys(t *testing.T, node *yaml.Node, want reflect.Type, path string) {
	t.Helper()
	if want.Kind() == reflect.Slice {
		wantKeys(t, node.Content[0], want.Elem(), path+"[0]")
		return
	}
	for i := range want.NumField() {
		field := want.Field(i)
		fieldPath := join(path, keyOf(field))
		key, value := find(node, keyOf(field))
		if key == nil && field.Tag.Get("print") == "if set" {
			continue // its default cannot be written; commentedAbove explains it with its section
		}
		if key == nil {
			t.Errorf("%s is missing", fieldPath)
			continue
		}
		if key.HeadComment == "" && key.LineComment == "" && value.LineComment == "" && !commentedAbove(node, i, want) {
			t.Errorf("%s has no comment", fieldPath)
		}
		if field.Type.Kind() == reflect.Map {
			continue // its keys are the user's
		}
		isList := field.Type.Kind() == reflect.Slice
		if isList && len(value.Content) == 0 && !isScalar(field.Type.Elem()) {
			wantExample(t, key.HeadComment, field.Type.Elem(), fieldPath)
			continue
		}
		if !isScalar(field.Type) && !(isList && isScalar(field.Type.Elem())) {
			wantKeys(t, value, field.Type, fieldPath)
		}
	}
}

// commentedAbove tells whether a comment that belongs to the first key stands above the whole
// section or item, where the parser puts it, or explains a rule, whose keys are explained together.
func commentedAbove(node *yaml.Node, field int, section reflect.Type) bool {
	return section == reflect.TypeFor[Rule]() || field == 0 && node.HeadComment != ""
}

func find(node *yaml.Node, key string) (k, v *yaml.Node) {
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == key {
			return node.Content[i], node.Content[i+1]
		}
	}
	return nil, nil
}

// wantExample looks for an entry with every key in the comment above a list that is empty by
// default.
func wantExample(t *testing.T, comment string, want reflect.Type, path string) {
	t.Helper()
	for i := range want.NumField() {
		if key := keyOf(want.Field(i)) + ": "; !strings.Contains(comment, key) {
			t.Errorf("%s has no example of %s", path, key)
		}
	}
}
