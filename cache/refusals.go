package cache

import (
	"errors"
	"time"

	"conanproxy/internal/conan"
)

// maxRefusals bounds how many refusals are remembered; the longest unused ones go first. Their
// number is bounded apart from other answers, so that made-up names cannot drive those out.
const maxRefusals = 1 << 16

// refusal is one thing that upstream did not give. It says nothing about any other thing. Refusals
// are only in memory: a lost one is asked again.
type refusal struct {
	said  time.Time
	until time.Time // when upstream is asked again
	err   error     // conan.ErrNotFound, or an UnavailableError

	// Of a file with wrong bytes: what the list said of it, and the version of the bytes in
	// upstream's words. The refusal ends when one of them changes.
	listed    conan.FileInfo
	validator string
	arrived   string // as in wrongError
}

// isAbout tells whether the refusal of a file is still about what upstream lists.
func (r refusal) isAbout(listed conan.FileInfo) bool {
	return r.listed.Name == "" || r.listed == listed
}

// isLasting tells whether an error says that upstream lives and does not give this one thing, which
// is remembered for a time.
func isLasting(err error) bool {
	var u *conan.UnavailableError
	return errors.Is(err, conan.ErrNotFound) || errors.As(err, &u) && u.Refused
}

// refused makes the refusal of this moment, of a question or a file.
func (c *Cache) refused(err error) refusal {
	now := c.o.Now()
	var u *conan.UnavailableError
	if errors.As(err, &u) {
		dated := *u
		dated.Since = now
		err = &dated
	}
	return refusal{said: now, until: now.Add(c.o.NotFoundFor), err: err}
}

// refuse remembers that upstream refused a question. What it does not have it never will in mode
// Frozen.
func (c *Cache) refuse(id string, err error) {
	r := c.refused(err)
	if c.o.Mode == Frozen && errors.Is(err, conan.ErrNotFound) {
		r.until = conan.Forever
	}
	c.refusals.Add(id, r)
}

// refusedLately returns what upstream refused so short a time ago that it is not asked again.
func (c *Cache) refusedLately(id string) (refusal, bool) {
	r, ok := c.refusals.Get(id)
	return r, ok && c.o.Now().Before(r.until)
}

// saidAbsent is when upstream last answered "not found" to a question, zero if that is not
// remembered.
func (c *Cache) saidAbsent(id string) time.Time {
	if r, ok := c.refusals.Peek(id); ok && errors.Is(r.err, conan.ErrNotFound) {
		return r.said
	}
	return time.Time{}
}

// usableAbsence returns a "not found" that may be used if upstream cannot be asked.
func (c *Cache) usableAbsence(id string) (refusal, bool) {
	r, ok := c.refusals.Get(id)
	if !ok || !errors.Is(r.err, conan.ErrNotFound) {
		return r, false
	}
	return r, c.o.Mode != Normal || c.o.Now().Before(r.until.Add(c.o.StaleFor))
}

// given ends the refusal of a question that upstream answered.
func (c *Cache) given(id string) {
	c.refusals.Remove(id)
	c.refusals.Remove(contradictedID(id))
}

// contradict notes that upstream contradicted its answer to a question: a file that it listed is
// missing or other than listed. The question is asked again at the next occasion.
func (c *Cache) contradict(id string) { c.refusals.Add(contradictedID(id), refusal{}) }

// isContradicted tells whether upstream contradicted its last answer to a question.
func (c *Cache) isContradicted(id string) bool {
	_, ok := c.refusals.Get(contradictedID(id))
	return ok
}

func contradictedID(id string) string { return "contradicted\x00" + id }

// fileID names a file of a revision.
func fileID(rev conan.Revision, name string) string { return "file\x00" + rev.String() + "/" + name }
