package proxy

import (
	"encoding/json"
	"net/http"
	"net/url"
	"testing"

	"conanproxy/proxy/auth"
)

// A search that names a revision finds what conan_server finds: the reference, without it.
func TestSearchWithRevision(t *testing.T) {
	w := newWorld(t)
	w.local.have(t, "hello/1.0@demo/testing#abc1", recipeFiles)
	w.local.have(t, "hello/1.0@demo/testing#abc2", recipeFiles)
	w.upstream.have(t, "hello/2.0#def", recipeFiles)
	w.local.have(t, "secret/1.0#abc1", recipeFiles)
	hello1, hello2 := "hello/1.0@demo/testing", "hello/2.0"
	for query, want := range map[string][]string{
		"hello/1.0@demo/testing#abc1": {hello1},
		"hello/1.0@demo/testing#abc":  {},
		"hello/*#abc*":                {hello1},
		"hello/*#*":                   {hello1, hello2},
		"hello/*#":                    {hello1, hello2},
		"*#def":                       {hello2},
		"hello#def":                   {}, // the part before # is the whole reference
		"*#abc1":                      {hello1},
	} {
		text, _ := json.Marshal(map[string][]string{"results": want})
		wantJSON(t, w.get("/v1/conans/search?q="+url.QueryEscape(query)), string(text))
	}
}

// What is stored never decides whether a search is 401.
func TestSearchTellsNothingAboutWhatIsStored(t *testing.T) {
	for _, stored := range []bool{false, true} {
		w := newWorld(t)
		if stored {
			w.local.have(t, "secret/1.0#r1", recipeFiles)
			w.local.have(t, "secretive/1.0@demo/testing#r1", recipeFiles)
			w.setRules([]auth.Rule{{Pattern: "secret*", Users: []string{"demo"}}, {Pattern: "*", Users: []string{"*"}}}, nil)
		}
		for query, want := range map[string]int{"secret/*": http.StatusUnauthorized, "secret/1.0": http.StatusUnauthorized, "*": http.StatusOK, "s*": http.StatusOK, "": http.StatusOK} {
			resp := w.get("/v1/conans/search?q=" + url.QueryEscape(query))
			wantStatus(t, resp, want)
			if body := bodyOf(t, resp); want == http.StatusOK && body != `{"results":[]}` {
				t.Errorf("%q: %s", query, body)
			}
		}
	}
}
