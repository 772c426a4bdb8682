package conan

import (
	"encoding/json"
	"os"
	"testing"
)

// clientAnswers is what Conan 2.34's own classes Version, VersionRange and the filter of package
// queries said to random input. A null answer is an exception.
type clientAnswers struct {
	Comparisons [][3]any
	Ranges      [][3]any
	Queries     [][3]any
	Binaries    []struct{ Settings, Options map[string]string }
}

func readClientAnswers(t *testing.T) clientAnswers {
	t.Helper()
	text, err := os.ReadFile("testdata/client_versions.json")
	if err != nil {
		t.Fatal(err)
	}
	var a clientAnswers
	if err := json.Unmarshal(text, &a); err != nil {
		t.Fatal(err)
	}
	if len(a.Comparisons) < 300 || len(a.Ranges) < 400 || len(a.Queries) < 400 {
		t.Fatal("the recorded answers are not complete")
	}
	return a
}

func TestVersionsCompareAsInTheClient(t *testing.T) {
	for _, c := range readClientAnswers(t).Comparisons {
		a, b, want := c[0].(string), c[1].(string), int(c[2].(float64))
		if got := ParseVersion(a).Compare(ParseVersion(b)); got != want {
			t.Errorf("%s to %s: %d, want %d", a, b, got, want)
		}
		if got := ParseVersion(b).Compare(ParseVersion(a)); got != -want {
			t.Errorf("%s to %s: %d, want %d", b, a, got, -want)
		}
	}
}

func TestVersionRangesContainWhatTheyDoInTheClient(t *testing.T) {
	for _, c := range readClientAnswers(t).Ranges {
		r, err := ParseVersionRange(c[0].(string))
		if (err != nil) != (c[2] == nil) {
			t.Errorf("[%s]: error %v, the client says %v", c[0], err, c[2])
			continue
		}
		if err != nil {
			continue
		}
		if got := r.Contains(ParseVersion(c[1].(string))); got != c[2] {
			t.Errorf("[%s] contains %s: %v, want %v", c[0], c[1], got, c[2])
		}
	}
}

func TestQueriesMatchWhatTheyDoInTheClient(t *testing.T) {
	answers := readClientAnswers(t)
	for _, c := range answers.Queries {
		q, err := ParseQuery(c[0].(string))
		if err != nil {
			t.Errorf("%s: %v", c[0], err)
			continue
		}
		b := answers.Binaries[int(c[1].(float64))]
		if got := q.Match(Info{Settings: b.Settings, Options: b.Options}); got != c[2] {
			t.Errorf("%s on %v: %v, want %v", c[0], b, got, c[2])
		}
	}
}

func TestQueriesThatTheClientRefuses(t *testing.T) {
	for _, text := range []string{
		"os", "not os=Linux", "os=Linux and not arch=x86", "os!=Linux", "os~Linux", "(os=Linux", "os=Linux)",
		"os=Linux arch=x86", "os=Linux and", "&", "",
	} {
		if _, err := ParseQuery(text); (err == nil) != (text == "") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
