package conan

import (
	"fmt"
	"math/big"
	"slices"
	"strings"
)

// Version is a version as Conan 2 compares it: items between dots, numbers by value, then a
// pre-release after the first "-" and a build after the last "+". Any text is a version. The order
// is that of Conan 2's client, which is not that of semantic versioning.
type Version struct {
	text  string
	items []versionItem
	pre   *Version // nil: none
	build *Version // nil: none
}

// versionItem is what stands between two dots.
type versionItem struct {
	text   string   // of a number: without leading zeros
	number *big.Int // nil: it is text
}

// ParseVersion reads a version. It never fails.
func ParseVersion(text string) Version {
	v := Version{text: text}
	main := text
	if i := strings.LastIndexByte(main, '+'); i >= 0 {
		v.build = newQualifier(main[i+1:])
		main = main[:i]
	}
	if before, pre, ok := strings.Cut(main, "-"); ok {
		v.pre = newQualifier(pre)
		main = before
	}
	v.items = versionItems(main)
	return v
}

func newQualifier(text string) *Version { return &Version{text: text, items: versionItems(text)} }

func versionItems(text string) []versionItem {
	parts := strings.Split(text, ".")
	items := make([]versionItem, len(parts))
	for i, p := range parts {
		items[i] = versionItem{text: p}
		if p != "" && strings.Trim(p, "0123456789") == "" {
			n, _ := new(big.Int).SetString(p, 10) // digits only
			items[i] = versionItem{text: n.String(), number: n}
		}
	}
	return items
}

// String is the text that the version was read from.
func (v Version) String() string { return v.text }

// IsPrerelease tells whether the version has a pre-release part, be it empty.
func (v Version) IsPrerelease() bool { return v.pre != nil }

// Compare returns -1, 0 or 1. Trailing items of zero do not count; a pre-release is less than its
// release, and a version without a build less than one with it.
func (v Version) Compare(other Version) int {
	if c := compareItems(v.items, other.items); c != 0 {
		return c
	}
	switch {
	case v.pre != nil && other.pre == nil:
		return -1
	case v.pre == nil && other.pre != nil:
		return 1
	}
	if c := compareQualifiers(v.pre, other.pre); c != 0 {
		return c
	}
	return compareQualifiers(v.build, other.build)
}

func compareQualifiers(a, b *Version) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return -1
	case b == nil:
		return 1
	}
	return compareItems(a.items, b.items)
}

func compareItems(a, b []versionItem) int {
	a, b = withoutTrailingZeros(a), withoutTrailingZeros(b)
	return slices.CompareFunc(a, b, func(x, y versionItem) int {
		if x.number != nil && y.number != nil {
			return x.number.Cmp(y.number)
		}
		return strings.Compare(x.text, y.text)
	})
}

func withoutTrailingZeros(items []versionItem) []versionItem {
	for len(items) > 0 && items[len(items)-1].text == "0" {
		items = items[:len(items)-1]
	}
	return items
}

// upperBound is the version below which "~" and "^" stay: the item at index raised by one, what
// follows dropped, pre-releases left out.
func (v Version) upperBound(index int) (Version, error) {
	if index >= len(v.items) || v.items[index].number == nil {
		return Version{}, fmt.Errorf("%w: item %d of version %q is not a number", ErrInvalid, index+1, clip(v.text))
	}
	var b strings.Builder
	for _, item := range v.items[:index] {
		b.WriteString(item.text + ".")
	}
	next := new(big.Int).Add(v.items[index].number, big.NewInt(1))
	return ParseVersion(b.String() + next.String() + "-"), nil
}
