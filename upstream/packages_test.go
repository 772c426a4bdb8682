package upstream

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestInfoText(t *testing.T) {
	tests := map[string]struct{ value, want string }{
		"content":         {`{"content": "[settings]\n"}`, "[settings]\n"},
		"empty content":   {`{"content": "", "settings": {"os": "Linux"}}`, ""},
		"nothing":         {`{}`, ""},
		"null":            {`null`, ""},
		"not an object":   {`[1]`, ""},
		"settings":        {`{"settings": {"os": "Linux", "compiler.version": 9, "arch": "x86_64"}}`, "[settings]\n    arch=x86_64\n    compiler.version=9\n    os=Linux\n"},
		"options":         {`{"options": {"shared": true, "fPIC": "False", "x": null}}`, "[options]\n    fPIC=False\n    shared=True\n    x=None\n"},
		"requires list":   {`{"requires": ["b/1.0", "a/1.0"]}`, "[requires]\n    b/1.0\n    a/1.0\n"},
		"requires object": {`{"requires": {"b/1.0": null, "a/1.0": "x"}}`, "[requires]\n    a/1.0\n    b/1.0\n"},
		"recipe hash":     {`{"recipe_hash": "abc"}`, "[recipe_hash]\n    abc\n"},
		"no hash":         {`{"recipe_hash": null, "settings": {}}`, ""},
		"injection":       {`{"settings": {"os": "Linux\n[recipe_hash]\nabc", "arch": "x86"}}`, "[settings]\n    arch=x86\n"},
		"two sections":    {`{"settings": {"os": "Linux"}, "options": {"a": "b"}}`, "[settings]\n    os=Linux\n\n[options]\n    a=b\n"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, infoText(json.RawMessage(test.value))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func FuzzInfoText(f *testing.F) {
	f.Add(`{"settings": {"os": "Linux\r[x]"}, "requires": {"a": [1]}}`)
	f.Fuzz(func(t *testing.T, raw string) {
		var has map[string]any
		if json.Unmarshal([]byte(raw), &has) != nil || has["content"] != nil {
			return
		}
		for line := range strings.Lines(infoText(json.RawMessage(raw))) {
			line = strings.TrimSuffix(line, "\n")
			if line != "" && line[0] != '[' && !strings.HasPrefix(line, "    ") {
				t.Errorf("line %q", line)
			}
		}
	})
}
