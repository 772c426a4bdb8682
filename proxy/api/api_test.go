package api

import (
	"encoding/json"
	"slices"
	"sort"
	"strings"
	"testing"
)

// The document describes the calls that there are, no more and no fewer.
func TestDocumentHasEveryRoute(t *testing.T) {
	var doc struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	if err := json.Unmarshal(document, &doc); err != nil {
		t.Fatal(err)
	}
	var described, there []string
	for path, methods := range doc.Paths {
		for method := range methods {
			described = append(described, strings.ToUpper(method)+" "+path)
		}
	}
	for _, r := range new(API).Routes() {
		there = append(there, r.Method+" "+r.Path)
	}
	sort.Strings(described)
	sort.Strings(there)
	if !slices.Equal(described, there) {
		t.Errorf("the document has %q, the routes are %q", described, there)
	}
}
