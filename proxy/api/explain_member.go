package api

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"conanproxy/internal/conan"
	"conanproxy/proxy/resolver"
)

// State is what a member has to say about a reference.
type State string

// The states.
const (
	StateHas         State = "has"         // what was asked for, and clients see it
	StateAbsent      State = "absent"      // it does not have it
	StateHidden      State = "hidden"      // it has it, and a hide hides it
	StateTooYoung    State = "too_young"   // it has it, and min_age hides it
	StateNotAsked    State = "not_asked"   // a rule keeps it from being asked
	StateRefused     State = "refused"     // the upstream lives and refuses it
	StateUnreachable State = "unreachable" // it could not be told
)

// MemberSaid is what one member said.
type MemberSaid struct {
	Member    string         `json:"member"`
	Kind      string         `json:"kind"` // store or upstream
	State     State          `json:"state"`
	Text      string         `json:"text"`      // one sentence without its subject, the member
	Revisions []RevisionSaid `json:"revisions"` // newest first, at most 20
	More      int            `json:"more"`      // how many revisions are left out

	From  conan.CacheState `json:"from,omitempty"`  // how the server came by the answer: local, hit, miss (asked now) or stale
	Age   int64            `json:"age"`             // of the answer, in seconds
	Stale string           `json:"stale,omitempty"` // why an old answer was used
	Since *time.Time       `json:"since,omitempty"` // since when it is unreachable or refuses, if that is known

	Conflict string `json:"conflict,omitempty"` // how its bytes differ from those that clients get
}

// RevisionSaid is one revision that a member has.
type RevisionSaid struct {
	Revision string      `json:"revision"`
	Time     *time.Time  `json:"time,omitempty"`   // of publication, if it is known
	Hidden   *HiddenSaid `json:"hidden,omitempty"` // missing: clients see it
	Dropped  bool        `json:"dropped"`          // the upstream does not list it any more
}

// HiddenSaid is why a revision is hidden.
type HiddenSaid struct {
	Reason string     `json:"reason"` // that clients are shown
	Hide   int64      `json:"hide"`   // the number of the hide; 0: min_age hides it
	Until  *time.Time `json:"until,omitempty"`
}

// mostSaid bounds the revisions of a member in an explanation.
const mostSaid = 20

// heard is what a member said about the node of an explanation.
type heard struct {
	any     bool
	list    []conan.RevisionTime
	files   conan.Snapshot // of the client's revision
	hasIt   bool           // the files were told
	failure error          // to tell one of the two; no "not found"
	origin  conan.Origin
}

func (e *explanation) heard(s resolver.Standing) heard {
	var h heard
	var origins []conan.Origin
	var noList, noFiles error
	for _, said := range e.trace.Said(s.Member) {
		isList := said.Of == e.node
		if !isList && said.Of != e.target() {
			continue
		}
		h.any = true
		if said.Origin.State != "" {
			origins = append(origins, said.Origin)
		}
		switch {
		case conan.IsAbsent(said.Err):
		case isList && said.Err != nil:
			noList = said.Err
		case isList:
			noList = nil
			if len(said.Revisions) > len(h.list) {
				h.list = said.Revisions
			}
		case said.Err != nil:
			noFiles = said.Err
		default:
			h.files, h.hasIt = said.Files, true
		}
	}
	h.failure = cmp.Or(noFiles, noList)
	h.origin = conan.MergeOrigins(origins...)
	return h
}

// target is the revision about whose files the members are asked.
func (e *explanation) target() conan.Revision {
	if e.pinned.Pinned() {
		return e.pinned
	}
	return e.asked
}

// members are what the members said.
func (e *explanation) members() []MemberSaid {
	said := []MemberSaid{}
	var winner conan.Snapshot
	for _, s := range e.trace.Standings(e.asked.Ref) {
		if e.Files != nil && s.Member == e.Files.Member {
			winner = e.heard(s).files
		}
	}
	for _, s := range e.trace.Standings(e.asked.Ref) {
		m := e.member(s)
		if e.Files != nil && s.Member != e.Files.Member {
			m.Conflict = conflict(e.heard(s).files, winner, e.Files.Member)
		}
		if m.Conflict != "" {
			m.Text += "; " + m.Conflict
		}
		said = append(said, m)
	}
	return said
}

// member is what one member said.
func (e *explanation) member(s resolver.Standing) MemberSaid {
	h := e.heard(s)
	m := MemberSaid{Member: s.Member, Kind: "upstream", State: StateNotAsked, Revisions: []RevisionSaid{}, From: h.origin.State}
	m.Age, m.Stale = int64(h.origin.Age.Seconds()), h.origin.Reason
	if s.IsStore {
		m.Kind = "store"
	}
	switch {
	case s.Barred != "":
		m.Text = "not asked: " + s.Barred
		return m
	case !h.any:
		m.Text = "not asked: the recipe revision was published in a store, and it does not list that"
		return m
	}
	m.Revisions, m.More = e.revisions(h.list)
	m.State, m.Text = e.state(h)
	var u *conan.UnavailableError
	if errors.As(h.failure, &u) && !u.Since.IsZero() {
		m.Since = &u.Since
		m.Text += ", since " + minute(u.Since)
	}
	m.Text += when(h.origin)
	return m
}

// revisions are those of a list; the one that is asked for is always among them.
func (e *explanation) revisions(list []conan.RevisionTime) (said []RevisionSaid, more int) {
	said = []RevisionSaid{}
	for i, r := range list {
		if i >= mostSaid && r.ID != e.target().ID() {
			more++
			continue
		}
		said = append(said, revisionSaid(e.node, r))
	}
	return said, more
}

func revisionSaid(node conan.Revision, r conan.RevisionTime) RevisionSaid {
	said := RevisionSaid{Revision: node.With(r.ID).String(), Time: known(r.Time), Dropped: r.Dropped}
	if r.Why != nil {
		said.Hidden = &HiddenSaid{Reason: r.Why.Reason, Hide: r.Why.Hide, Until: known(r.Why.Until)}
	}
	return said
}

// known is a time, nil if it is zero.
func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// state is what a member said, in a word and in a sentence.
func (e *explanation) state(h heard) (State, string) {
	var hidden *conan.HiddenError
	if h.failure != nil && !errors.As(h.failure, &hidden) {
		state, text := failed(h.failure)
		if i := slices.IndexFunc(h.list, func(r conan.RevisionTime) bool { return r.ID == e.target().ID() }); i >= 0 {
			text = e.having(h.list[i]) + "; its files are " + text
		}
		return state, text
	}
	if e.id() != "" {
		return e.pinnedState(h, hidden)
	}
	i := slices.IndexFunc(h.list, func(r conan.RevisionTime) bool { return !r.Hidden })
	if len(h.list) == 0 {
		return StateAbsent, "does not have " + e.node.String()
	}
	if i < 0 {
		return hiddenState(h.list[0].Why), e.withHidden("", h.list)
	}
	newer := slices.DeleteFunc(slices.Clone(h.list), func(r conan.RevisionTime) bool { return !r.Hidden || !r.Time.After(h.list[i].Time) })
	return StateHas, e.withHidden(e.having(h.list[i]), newer)
}

// pinnedState is state if the revision is named.
func (e *explanation) pinnedState(h heard, hidden *conan.HiddenError) (State, string) {
	i := slices.IndexFunc(h.list, func(r conan.RevisionTime) bool { return r.ID == e.asked.ID() })
	switch {
	case i >= 0 && h.list[i].Hidden:
		return hiddenState(h.list[i].Why), e.withHidden("", h.list[i:i+1])
	case hidden != nil && hidden.Hide == 0: // a hide also hides what is not there
		return hiddenState(hidden), fmt.Sprintf("has %s, which is hidden: %s", e.asked, hidden.Reason)
	case i >= 0:
		return StateHas, e.having(h.list[i])
	case h.hasIt:
		return StateHas, "has " + e.asked.String()
	case len(h.list) > 0:
		return StateAbsent, fmt.Sprintf("does not have %s; its newest is %s", e.asked, e.having(h.list[0])[len("has "):])
	}
	return StateAbsent, "does not have " + e.asked.String()
}

// failed is the state of a member that did not tell.
func failed(err error) (State, string) {
	var u *conan.UnavailableError
	switch {
	case errors.As(err, &u) && u.Refused:
		return StateRefused, "refused: " + u.Reason
	case errors.As(err, &u):
		return StateUnreachable, "unreachable: " + u.Reason
	}
	return StateUnreachable, "unreachable: it did not answer in time"
}

func hiddenState(why *conan.HiddenError) State {
	if why != nil && why.Hide == 0 {
		return StateTooYoung
	}
	return StateHidden
}

// having says that a member has a revision.
func (e *explanation) having(r conan.RevisionTime) string {
	text := "has " + e.node.With(r.ID).String()
	if !r.Time.IsZero() {
		text += ", published " + minute(r.Time)
	}
	if r.Dropped {
		text += ", which the upstream does not list any more"
	}
	return text
}

// withHidden adds to a text what is hidden, at most three revisions.
func (e *explanation) withHidden(text string, list []conan.RevisionTime) string {
	const most = 3
	parts := []string{}
	if text != "" {
		parts = append(parts, text)
	}
	for _, r := range list[:min(most, len(list))] {
		part := e.having(r) + ", hidden"
		if r.Why != nil && r.Why.Hide != 0 {
			part += fmt.Sprintf(" (hide %d)", r.Why.Hide)
		}
		if r.Why != nil {
			part += ": " + r.Why.Reason
		}
		parts = append(parts, part)
	}
	if len(list) > most {
		parts = append(parts, fmt.Sprintf("and %d more hidden ones", len(list)-most))
	}
	return strings.Join(parts, "; ")
}

// when says how the server came by an answer of an upstream.
func when(o conan.Origin) string {
	switch {
	case o.State == conan.StateMiss, o.State == conan.StateHit && o.Age < time.Second:
		return " (asked now)"
	case o.State == conan.StateHit:
		return fmt.Sprintf(" (asked %s ago)", age(o.Age))
	case o.State == conan.StateStale:
		return fmt.Sprintf(" (an answer of %s ago, used because the upstream could not be asked: %s)", age(o.Age), o.Reason)
	}
	return ""
}

func age(d time.Duration) time.Duration {
	if d > time.Minute {
		return d.Round(time.Minute)
	}
	return d.Round(time.Second)
}

func minute(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

// conflict tells how the files of a revision differ from those of the member that answers, as far
// as their digests are known; empty if they do not.
func conflict(files, winner conan.Snapshot, member string) string {
	for _, f := range files {
		w, ok := winner.Find(f.Name)
		if !ok || conan.IsMetadata(f.Name) {
			continue
		}
		for _, d := range [][3]string{{"sha256", f.SHA256, w.SHA256}, {"sha1", f.SHA1, w.SHA1}, {"md5", f.MD5, w.MD5}} {
			if d[1] != "" && d[2] != "" && d[1] != d[2] {
				return fmt.Sprintf("its %s has other bytes than that of %s: %s %s, not %s", f.Name, member, d[0], d[1], d[2])
			}
		}
	}
	return ""
}
