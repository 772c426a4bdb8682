package memory

import (
	"fmt"
	"testing"

	"conanproxy/internal/conan"
)

func ref(t *testing.T, name string) conan.Ref {
	t.Helper()
	r, err := conan.NewRef(name, "1.0", "", "")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// otherCounter finds a reference that does not share a counter with the given one.
func otherCounter(t *testing.T, than conan.Ref) conan.Ref {
	t.Helper()
	var c Changes
	for i := 0; ; i++ {
		if r := ref(t, fmt.Sprint("other", i)); c.counter(r) != c.counter(than) {
			return r
		}
	}
}

func TestStampsEndWithWhatTheyDependOn(t *testing.T) {
	zlib := ref(t, "zlib")
	other := otherCounter(t, zlib)
	for name, tc := range map[string]struct {
		stamp  func(*Changes) Stamp
		change func(*Changes)
		valid  bool
	}{
		"the reference":        {func(c *Changes) Stamp { return c.Of(zlib) }, func(c *Changes) { c.ChangedRef(zlib) }, false},
		"another reference":    {func(c *Changes) Stamp { return c.Of(zlib) }, func(c *Changes) { c.ChangedRef(other) }, true},
		"names and reference":  {func(c *Changes) Stamp { return c.Of(zlib) }, func(c *Changes) { c.ChangedNames(zlib) }, true},
		"names":                {(*Changes).Names, func(c *Changes) { c.ChangedNames(zlib) }, false},
		"a reference in names": {(*Changes).Names, func(c *Changes) { c.ChangedRef(zlib) }, true},
		"settings":             {(*Changes).Settings, (*Changes).ChangedSettings, false},
		"settings, reference":  {func(c *Changes) Stamp { return c.Of(zlib) }, (*Changes).ChangedSettings, false},
		"settings, names":      {(*Changes).Names, (*Changes).ChangedSettings, false},
		"zero":                 {func(*Changes) Stamp { return Stamp{} }, (*Changes).ChangedSettings, true},
	} {
		t.Run(name, func(t *testing.T) {
			var c Changes
			s := tc.stamp(&c)
			if !s.Valid() {
				t.Fatal("the stamp is not valid before the change")
			}
			tc.change(&c)
			if got := s.Valid(); got != tc.valid {
				t.Errorf("valid after the change: %v, want %v", got, tc.valid)
			}
		})
	}
}

func TestAnswersAreThereAtOnceAndEndWithTheirStamp(t *testing.T) {
	var c Changes
	a := NewAnswers(1 << 20)
	k := Key{Member: "m", Kind: "files", Rev: conan.Revision{Ref: ref(t, "zlib"), RRev: "1"}}
	a.Put(k, []string{"a"}, 10, c.Of(k.Rev.Ref))
	if got, ok := Get[[]string](a, k); !ok || len(got) != 1 {
		t.Fatalf("got %v, %v", got, ok)
	}
	if _, ok := Get[int](a, k); ok {
		t.Error("an answer of another type was given out")
	}
	c.ChangedRef(k.Rev.Ref)
	if got, ok := Get[[]string](a, k); ok {
		t.Errorf("after the change: %v", got)
	}
	if n := a.Bytes(); n != 0 {
		t.Errorf("%d bytes are left", n)
	}
}

func TestAnswerBegunBeforeAChangeIsNotRemembered(t *testing.T) {
	var c Changes
	a := NewAnswers(1 << 20)
	k := Key{Rev: conan.Revision{Ref: ref(t, "zlib")}}
	begun := c.Of(k.Rev.Ref)
	a.Put(k, "newer", 5, c.Of(k.Rev.Ref))
	c.ChangedRef(k.Rev.Ref)
	a.Put(k, "old", 3, begun)
	if got, ok := Get[string](a, k); ok {
		t.Errorf("remembered %q", got)
	}
}

func TestSubscribersAreToldUntilTheyCancel(t *testing.T) {
	var c Changes
	var first, second []conan.Ref
	cancel := c.Subscribe(func(r conan.Ref) { first = append(first, r) })
	c.Subscribe(func(r conan.Ref) { second = append(second, r) })
	c.ChangedNames(ref(t, "zlib"))
	cancel()
	cancel()
	c.ChangedNames(ref(t, "zlib"))
	if len(first) != 1 || len(second) != 2 {
		t.Errorf("told %d and %d times, want 1 and 2", len(first), len(second))
	}
}

func TestAnswersStayWithinTheirBytes(t *testing.T) {
	const most = 100 << 10
	a := NewAnswers(most)
	for i := range 1000 {
		a.Put(Key{Text: fmt.Sprint(i)}, i, 1000, Stamp{})
		if n := a.Bytes(); n > most {
			t.Fatalf("%d bytes after %d answers, of %d", n, i+1, most)
		}
	}
	if _, ok := Get[int](a, Key{Text: "999"}); !ok {
		t.Error("the newest answer is gone")
	}
	if _, ok := Get[int](a, Key{Text: "0"}); ok {
		t.Error("the longest unused answer is still there")
	}
	a.Put(Key{Text: "large"}, 1, most, Stamp{})
	if _, ok := Get[int](a, Key{Text: "large"}); ok {
		t.Error("an answer as large as the memory was kept")
	}
	if _, ok := Get[int](NewAnswers(0), Key{}); ok {
		t.Error("a memory of nothing has an answer")
	}
}
