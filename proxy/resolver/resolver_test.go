package resolver

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"conanproxy/internal/conan"
)

// everyQuestion asks a Reader everything there is to ask about the recipe revision r1 and the
// package revision p1#x of a reference, and returns the kinds of the errors.
func everyQuestion(t *testing.T, reader plainReader, ref string) map[string]string {
	t.Helper()
	recipe, pinned := mustRevision(t, ref), mustRevision(t, ref+"#r1")
	pkg, pinnedPkg := mustRevision(t, ref+"#r1:p1"), mustRevision(t, ref+"#r1:p1#x")
	errs := map[string]error{}
	ctx := t.Context()
	_, errs["Latest recipe"] = reader.Latest(ctx, recipe)
	_, errs["Latest package"] = reader.Latest(ctx, pkg)
	_, errs["Revisions recipe"] = reader.Revisions(ctx, recipe)
	_, errs["Revisions package"] = reader.Revisions(ctx, pkg)
	_, errs["Snapshot recipe"] = reader.Snapshot(ctx, pinned)
	_, errs["Snapshot package"] = reader.Snapshot(ctx, pinnedPkg)
	_, errs["Open recipe"] = reader.Open(ctx, pinned, conan.ManifestFile)
	_, errs["Open package"] = reader.Open(ctx, pinnedPkg, conan.ManifestFile)
	_, errs["Packages"] = reader.Packages(ctx, pinned, true)
	_, errs["Newest recipe"] = reader.Newest(ctx, recipe)
	_, errs["Newest package"] = reader.Newest(ctx, mustRevision(t, ref+":p1"))
	_, errs["AllPackages"] = reader.AllPackages(ctx, recipe.Ref)
	found, err := reader.Search(ctx, mustPattern(t, ref))
	errs["Search"] = err
	if err == nil && len(found) == 0 {
		errs["Search"] = conan.ErrNotFound
	}
	if len(reader.UpstreamsWith(ctx, pinned)) == 0 {
		errs["UpstreamsWith"] = conan.ErrNotFound
	}
	words := map[string]string{}
	for question, err := range errs {
		if err != nil {
			words[question] = word(err)
		}
	}
	return words
}

// questions is how many everyQuestion asks.
const questions = 14

func fullReference(ref string) []string {
	return []string{ref + "#r1@1", ref + "#r1:p1#x@2"}
}

// A reference that rules keep from an upstream is never asked there, on any question, and what
// the upstream would have answered is not seen.
func TestRulesOnEveryQuestion(t *testing.T) {
	tests := []struct {
		name      string
		ref       string
		owns      []string
		include   []string
		exclude   []string
		clients   conan.Generation
		gen       conan.Generation
		wantAsked bool
	}{
		{name: "no rules", ref: "zlib/1.3", wantAsked: true},
		{name: "owned by name", ref: "acme/1.0", owns: []string{"acme/*"}},
		{name: "owned by user", ref: "lib/1.0@acme/dev", owns: []string{"*@acme/*"}},
		{name: "not owned: another user", ref: "lib/1.0@acmes/dev", owns: []string{"*@acme/*"}, wantAsked: true},
		{name: "excluded", ref: "zlib/1.3", exclude: []string{"boost/*", "zlib/*"}},
		{name: "another is excluded", ref: "zlib/1.3", exclude: []string{"boost/*"}, wantAsked: true},
		{name: "included", ref: "zlib/1.3", include: []string{"boost/*", "zlib/*"}, wantAsked: true},
		{name: "not included", ref: "zlib/1.3", include: []string{"boost/*"}},
		{name: "included and excluded", ref: "zlib/1.3", include: []string{"*"}, exclude: []string{"zlib/1.3"}},
		{name: "for these clients", ref: "zlib/1.3", clients: conan.Conan2, gen: conan.Conan2, wantAsked: true},
		{name: "for other clients", ref: "zlib/1.3", clients: conan.Conan2, gen: conan.Conan1},
		{name: "a caller of no generation", ref: "zlib/1.3", clients: conan.Conan2, gen: conan.AnyGeneration, wantAsked: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			up := newFake(t, "up", fullReference(tt.ref)...)
			o := Options{
				Members: []Member{store(newFake(t, localName), globs(t, tt.owns...)...), ruled(t, up, "up", tt.clients, tt.include, tt.exclude)},
			}
			got := everyQuestion(t, plainReader{mustResolver(t, o).For(tt.gen, nil)}, tt.ref)
			if tt.wantAsked {
				if diff := cmp.Diff(map[string]string{}, got); diff != "" {
					t.Errorf("failures (-want +got):\n%s", diff)
				}
				return
			}
			for question, answer := range got {
				if answer != "not found" {
					t.Errorf("%s: %q, want not found", question, answer)
				}
			}
			if len(got) != questions {
				t.Errorf("%d questions failed, want all %d: %v", len(got), questions, got)
			}
			if asked := up.asked(); len(asked) != 0 {
				t.Errorf("the upstream was asked %v", asked)
			}
		})
	}
}

// What the local store has is there on every question, whatever the rules and the upstreams.
func TestLocalOnEveryQuestion(t *testing.T) {
	for _, ref := range []string{"zlib/1.3", "acme/1.0"} {
		for _, adopted := range []string{"", "*"} {
			local := newFake(t, localName, ref+"#r1@1"+adopted, ref+"#r1:p1#x@2")
			up := newFake(t, "up")
			up.set(down("up"))
			o := Options{Members: []Member{store(local, globs(t, "acme/*")...), {Name: "up", Source: up}}}
			got := everyQuestion(t, plainReader{mustResolver(t, o).For(conan.Conan2, nil)}, ref)
			if diff := cmp.Diff(map[string]string{"UpstreamsWith": "not found"}, got); diff != "" {
				t.Errorf("%s%s: failures (-want +got):\n%s", ref, adopted, diff)
			}
		}
	}
}

// An upstream that could not tell is never "not found", on any question.
func TestDownIsNeverNotFound(t *testing.T) {
	for _, hasLocal := range []bool{true, false} {
		up, other := newFake(t, "up"), newFake(t, "other")
		up.set(down("up"))
		var local *fakeMember
		if hasLocal {
			local = newFake(t, localName)
		}
		for _, order := range [][]*fakeMember{{up, other}, {other, up}} {
			got := everyQuestion(t, newReader(t, local, order...), "zlib/1.3")
			for question, answer := range got {
				if question != "UpstreamsWith" && answer != "unavailable up" {
					t.Errorf("%s: %q, want unavailable", question, answer)
				}
			}
			if len(got) != questions {
				t.Errorf("%d questions failed, want all %d: %v", len(got), questions, got)
			}
		}
	}
}

func TestViews(t *testing.T) {
	local, up := newFake(t, localName, fullReference("mine/1.0")...), newFake(t, "up", fullReference("zlib/1.3")...)
	onlyLocal := plainReader{mustResolver(t, Options{Members: []Member{store(local)}}).For(conan.Conan2, nil)}
	if got := everyQuestion(t, onlyLocal, "mine/1.0"); len(got) != 1 || got["UpstreamsWith"] == "" {
		t.Errorf("local view: failures %v", got)
	}
	if _, err := onlyLocal.Latest(t.Context(), mustRevision(t, "zlib/1.3")); word(err) != "not found" {
		t.Errorf("local view, a name that only an upstream has: error %v, want not found", err)
	}
	onlyUp := plainReader{mustResolver(t, Options{Members: []Member{ruled(t, up, "up", "", nil, []string{"mine/*"})}}).For(conan.Conan2, nil)}
	if diff := cmp.Diff(map[string]string{}, everyQuestion(t, onlyUp, "zlib/1.3")); diff != "" {
		t.Errorf("upstream view: failures (-want +got):\n%s", diff)
	}
	before := len(up.asked())
	if _, err := onlyUp.Latest(t.Context(), mustRevision(t, "mine/1.0")); word(err) != "not fetched" {
		t.Errorf("upstream view, a name that is owned: error %v, want not fetched", err)
	}
	if len(up.asked()) != before {
		t.Error("the upstream was asked for an owned name")
	}
}

// Absence that was not looked up, as an offline member says, is told apart from absence.
func TestNotFetched(t *testing.T) {
	a, b := newFake(t, "a"), newFake(t, "b", "zlib/1.3#r1@1")
	a.set(conan.ErrNotFetched)
	reader := newReader(t, newFake(t, localName), a, b)
	rt, err := reader.Latest(t.Context(), mustRevision(t, "zlib/1.3"))
	if err != nil || rt.ID != "r1" {
		t.Errorf("the next member has it: got %v, %v", rt, err)
	}
	_, err = reader.Latest(t.Context(), mustRevision(t, "zlib/1.4"))
	if word(err) != "not fetched" {
		t.Errorf("nobody has it: error %v, want not fetched", err)
	}
}

func TestNewResolverErrors(t *testing.T) {
	src := newFake(t, "a")
	tests := []struct {
		name string
		o    Options
	}{
		{"no name", Options{Members: []Member{{Source: src}}}},
		{"no source", Options{Members: []Member{{Name: "a"}}}},
		{"the store's name", Options{Members: []Member{store(newFake(t, localName)), {Name: localName, Source: src}}}},
		{"twice", Options{Members: []Member{{Name: "a", Source: src}, {Name: "a", Source: src}}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := New(tt.o); !errors.Is(err, conan.ErrInvalid) {
				t.Errorf("error %v, want invalid", err)
			}
		})
	}
}
