package resolver

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
)

func mustPattern(t *testing.T, text string) conan.Pattern {
	t.Helper()
	p, err := conan.ParsePattern(text, true)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func refTexts(refs []conan.Ref) []string {
	texts := []string{}
	for _, r := range refs {
		texts = append(texts, r.String())
	}
	return texts
}

func TestSearchMerge(t *testing.T) {
	tests := []struct {
		name         string
		text         string
		local, a, b  []string
		aDown, bDown bool
		want         []string
		wantErr      string
		wantStale    bool
	}{
		{
			name: "union, sorted, each once", text: "zlib/*",
			local: []string{"zlib/1.3@me/dev#r1@1"}, a: []string{"zlib/1.3#r1@1", "zlib/1.2#r1@1", "zlib-ng/2.0#r1@1"}, b: []string{"zlib/1.3#r1@1", "zlib/1.11#r1@1"},
			want: []string{"zlib/1.11", "zlib/1.2", "zlib/1.3", "zlib/1.3@me/dev"},
		},
		{name: "nothing anywhere", text: "zlib/*", want: []string{}},
		{name: "first down, second has some", text: "zlib/*", aDown: true, b: []string{"zlib/1.3#r1@1"}, wantErr: "unavailable a"},
		{name: "second down, first has some", text: "zlib/*", a: []string{"zlib/1.3#r1@1"}, bDown: true, want: []string{"zlib/1.3"}, wantStale: true},
		{name: "second down, first has none", text: "zlib/*", bDown: true, wantErr: "unavailable b"},
		{name: "all down, some here", text: "zlib/*", local: []string{"zlib/1.3#r1@1"}, aDown: true, bDown: true, want: []string{"zlib/1.3"}, wantStale: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			local, a, b := threeFakes(t, tt.local, tt.a, tt.b, tt.aDown, tt.bDown)
			var origin conan.Origin
			got, err := newReader(t, local, a, b).Search(tracing(t, &origin), mustPattern(t, tt.text))
			if word(err) != tt.wantErr {
				t.Fatalf("error %v, want %q", err, tt.wantErr)
			}
			if err != nil {
				return
			}
			if diff := cmp.Diff(tt.want, refTexts(got)); diff != "" {
				t.Errorf("results (-want +got):\n%s", diff)
			}
			if (origin.State == conan.StateStale) != tt.wantStale {
				t.Errorf("stale: %+v, want %v", origin, tt.wantStale)
			}
		})
	}
}

func TestSearchRules(t *testing.T) {
	everything := []string{"acme-core/1.0#r1@1", "lib/1.0@acme/dev#r1@1", "secret/1.0#r1@1", "zlib/1.3#r1@1"}
	tests := []struct {
		name             string
		owns             []string
		include, exclude []string
		text             string
		want             []string
		wantAsked        bool
	}{
		{name: "no rules", text: "*", want: []string{"acme-core/1.0", "lib/1.0@acme/dev", "secret/1.0", "zlib/1.3"}, wantAsked: true},
		{name: "owned names are dropped", owns: []string{"acme-*", "*@acme/*"}, text: "*", want: []string{"secret/1.0", "zlib/1.3"}, wantAsked: true},
		{name: "only owned names are asked for", owns: []string{"acme-*"}, text: "acme-core/*", want: []string{}},
		{name: "a name alone that is owned", owns: []string{"secret/*"}, text: "secret", want: []string{}},
		{name: "an owned user", owns: []string{"*@acme/*"}, text: "lib/*@acme/dev", want: []string{}},
		{name: "excluded names are dropped", exclude: []string{"secret/*"}, text: "*", want: []string{"acme-core/1.0", "lib/1.0@acme/dev", "zlib/1.3"}, wantAsked: true},
		{name: "only excluded names are asked for", exclude: []string{"secret/*"}, text: "secret/1.*", want: []string{}},
		{name: "only included names count", include: []string{"zlib/*"}, text: "*", want: []string{"zlib/1.3"}, wantAsked: true},
		{name: "nothing included could match", include: []string{"zlib/*"}, text: "secret/*", want: []string{}},
		{name: "an included name, in capitals", include: []string{"zlib/*"}, text: "ZLIB/*", want: []string{"zlib/1.3"}, wantAsked: true},
		{name: "capitals alone are included", include: []string{"Secret/*"}, text: "secret/*", want: []string{}, wantAsked: true},
		{name: "a part of an included name", include: []string{"zlib/*"}, text: "z*", want: []string{"zlib/1.3"}, wantAsked: true},
		{name: "include of everything", include: []string{"*"}, text: "secret/*", want: []string{"secret/1.0"}, wantAsked: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := newFake(t, "a", everything...)
			r := mustResolver(t, Options{
				Members: []Member{store(newFake(t, localName), globs(t, tt.owns...)...), ruled(t, a, "a", "", tt.include, tt.exclude)},
			})
			got, err := plainReader{r.For(conan.Conan2, nil)}.Search(t.Context(), mustPattern(t, tt.text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, refTexts(got)); diff != "" {
				t.Errorf("results (-want +got):\n%s", diff)
			}
			if asked := len(a.asked()) > 0; asked != tt.wantAsked {
				t.Errorf("the upstream was asked: %v, want %v", asked, tt.wantAsked)
			}
		})
	}
}

// An upstream that finds more than was asked for adds nothing, and rules never hide what is here.
func TestSearchFiltersAnswers(t *testing.T) {
	local := newFake(t, localName, "secret/1.0#r1@1")
	r := mustResolver(t, Options{
		Members: []Member{store(local, globs(t, "secret/*")...), ruled(t, sloppySource{newFake(t, "a", "zlib/1.3#r1@1", "zlib-ng/2#r1@1")}, "a", "", nil, []string{"secret/*"})},
	})
	got, err := plainReader{r.For(conan.Conan2, nil)}.Search(t.Context(), mustPattern(t, "zlib"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"zlib/1.3"}, refTexts(got)); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
	got, err = plainReader{r.For(conan.Conan2, nil)}.Search(t.Context(), mustPattern(t, "secret"))
	if diff := cmp.Diff([]string{"secret/1.0"}, refTexts(got)); err != nil || diff != "" {
		t.Errorf("error %v, results (-want +got):\n%s", err, diff)
	}
}

func TestSearchWithoutMembers(t *testing.T) {
	r := mustResolver(t, Options{Members: []Member{{Name: "a", Source: newFake(t, "a", "zlib/1.3#r1@1"), Clients: conan.Conan1}}})
	got, err := plainReader{r.For(conan.Conan2, nil)}.Search(t.Context(), conan.Pattern{})
	if err != nil || got == nil || len(got) != 0 {
		t.Errorf("got %v, %v; want an empty list", got, err)
	}
}
