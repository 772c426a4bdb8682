package resolver

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
)

// TestOrderOfStoresAndUpstreams has members in orders other than one store first.
func TestOrderOfStoresAndUpstreams(t *testing.T) {
	tests := []struct {
		name     string
		members  map[string][]string // dev and release are stores, a and b upstreams
		order    string
		owns     []string // of release
		down     string
		question string
		want     string // the revision and the member that says so
		wantA    []string
	}{
		{
			name: "the first store that published it", order: "dev release a",
			members:  map[string][]string{"dev": {"zlib/1.3#d@50"}, "release": {"zlib/1.3#r@90"}},
			question: "zlib/1.3", want: "d dev", wantA: []string{"Revisions zlib/1.3"},
		},
		{
			name: "the second store if the first has it not", order: "dev release a",
			members:  map[string][]string{"release": {"zlib/1.3#r@9"}, "a": {"zlib/1.3#x@90"}},
			question: "zlib/1.3", want: "r release", wantA: []string{"Revisions zlib/1.3"},
		},
		{
			name: "an upstream before the store", order: "a release",
			members:  map[string][]string{"release": {"zlib/1.3#r@90"}, "a": {"zlib/1.3#x@10"}},
			question: "zlib/1.3", want: "x a", wantA: []string{"Revisions zlib/1.3", "Latest zlib/1.3"},
		},
		{
			name: "an upstream before the store that has it not", order: "a release",
			members:  map[string][]string{"release": {"zlib/1.3#r@90"}},
			question: "zlib/1.3", want: "r release", wantA: []string{"Revisions zlib/1.3", "Latest zlib/1.3"},
		},
		{
			name: "an upstream before the store, down", order: "a release", down: "a",
			members:  map[string][]string{"release": {"zlib/1.3#r@90"}},
			question: "zlib/1.3", want: "r release", wantA: []string{"Revisions zlib/1.3", "Latest zlib/1.3"},
		},
		{
			name: "a name that a later store owns", order: "a dev release", owns: []string{"zlib/*"},
			members:  map[string][]string{"release": {"zlib/1.3#r@90"}, "a": {"zlib/1.3#x@95"}},
			question: "zlib/1.3", want: "r release",
		},
		{
			name: "a copy in the first store, published in the second", order: "dev release a",
			members:  map[string][]string{"dev": {"zlib/1.3#x@10*"}, "release": {"zlib/1.3#r@20"}, "a": {"zlib/1.3#x@10"}},
			question: "zlib/1.3", want: "r release", wantA: []string{"Revisions zlib/1.3"},
		},
		{
			name: "copies only, upstream down", order: "dev release a", down: "a",
			members:  map[string][]string{"release": {"zlib/1.3#x@10*"}},
			question: "zlib/1.3", want: "x release", wantA: []string{"Latest zlib/1.3"},
		},
		{
			name: "stores only", order: "release dev",
			members:  map[string][]string{"dev": {"zlib/1.3#d@90"}, "release": {"zlib/1.3#r@10*"}},
			question: "zlib/1.3", want: "r release",
		},
		{
			name: "a package of the second store", order: "dev release a",
			members:  map[string][]string{"dev": {"zlib/1.3#r@10"}, "release": {"zlib/1.3#r@10", "zlib/1.3#r:p#q@11"}, "a": {"zlib/1.3#r:p#x@99"}},
			question: "zlib/1.3#r:p", want: "q release",
		},
		{
			name: "a package of a store behind an upstream that knows the recipe", order: "a release",
			members:  map[string][]string{"release": {"zlib/1.3#r@10*", "zlib/1.3#r:p#q@11"}, "a": {"zlib/1.3#r@10"}},
			question: "zlib/1.3#r:p", want: "q release", wantA: []string{"Latest zlib/1.3#r:p"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var o Options
			fakes := map[string]*fakeMember{}
			for name := range strings.FieldsSeq(tt.order) {
				f := newFake(t, name, tt.members[name]...)
				fakes[name] = f
				if name == tt.down {
					f.set(down(name))
				}
				switch name {
				case "dev":
					o.Members = append(o.Members, store(f))
				case "release":
					o.Members = append(o.Members, store(f, globs(t, tt.owns...)...))
				default:
					o.Members = append(o.Members, Member{Name: name, Source: f})
				}
			}
			a, err := mustResolver(t, o).For(conan.AnyGeneration, nil).Latest(t.Context(), mustRevision(t, tt.question))
			if err != nil {
				t.Fatal(err)
			}
			if got := a.Value.ID + " " + a.Origin.Member; got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if f := fakes["a"]; f != nil {
				if diff := cmp.Diff(tt.wantA, f.asked()); diff != "" {
					t.Errorf("the upstream was asked (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// Lists are merged over every member, whatever their order.
func TestMergingOverSeveralStores(t *testing.T) {
	dev := newFake(t, "dev", "zlib/1.3#d@50", "zlib/1.3#r@40", "zlib/1.3#r:p#dev@41", "dev/1.0#x@1")
	release := newFake(t, "release", "zlib/1.3#r@30", "zlib/1.3#r:q#rel@31", "release/1.0#x@1")
	a := newFake(t, "a", "zlib/1.3#r@20", "zlib/1.3#u@60", "zlib/1.3#r:u#up@21", "up/1.0#x@1")
	r := plainReader{mustResolver(t, Options{Members: []Member{
		{Name: "a", Source: a}, store(dev), store(release),
	}}).For(conan.AnyGeneration, nil)}
	list, err := r.Revisions(t.Context(), mustRevision(t, "zlib/1.3"))
	if got := show(list); err != nil || got != "u@60 d@50 r@20" {
		t.Errorf("revisions %s, %v", got, err)
	}
	packages, err := r.Packages(t.Context(), mustRevision(t, "zlib/1.3#r"), true)
	var ids []string
	for _, p := range packages {
		ids = append(ids, p.ID)
	}
	if diff := cmp.Diff([]string{"p", "q", "u"}, ids); err != nil || diff != "" {
		t.Errorf("packages: %v (-want +got):\n%s", err, diff)
	}
	found, err := r.Search(t.Context(), mustPattern(t, "*"))
	if diff := cmp.Diff([]string{"dev/1.0", "release/1.0", "up/1.0", "zlib/1.3"}, refTexts(found)); err != nil || diff != "" {
		t.Errorf("search: %v (-want +got):\n%s", err, diff)
	}
	if s, err := r.Snapshot(t.Context(), mustRevision(t, "zlib/1.3#d")); err != nil || s[0].MD5 != "dev" {
		t.Errorf("files of a revision of dev: %v, %v", s, err)
	}
}
