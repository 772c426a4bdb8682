package api

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"

	"conanproxy/internal/conan"
	"conanproxy/proxy/resolver"
)

// Explanation tells why a reference has the answer that it has in a view.
type Explanation struct {
	Reference string       `json:"reference"`
	View      string       `json:"view"` // as it was asked for; empty: the one at the root
	Answer    Answered     `json:"answer"`
	Members   []MemberSaid `json:"members"`           // in the order in which they answer
	Nearest   *Nearest     `json:"nearest,omitempty"` // of a package: what there is instead or besides
}

// Answered is what a client gets that installs a reference.
type Answered struct {
	Status   int      `json:"status"`             // of HTTP
	Text     string   `json:"text"`               // one sentence
	Revision string   `json:"revision,omitempty"` // that it gets, pinned; with a failure the one whose files it does not get
	Decided  *Decided `json:"decided,omitempty"`  // which member said that this is the revision; missing: the reference names it
	Files    *Decided `json:"files,omitempty"`    // which member its files come from
}

// Decided is a member that answered, and why it did and no other.
type Decided struct {
	Member string `json:"member"`
	Reason string `json:"reason"`
}

// explanation is an Explanation that is being made.
type explanation struct {
	ctx     context.Context
	trace   *resolver.Trace
	client  conan.Generation
	refusal func(error) (int, string)

	asked   conan.Revision // what is explained
	pinned  conan.Revision // what a client gets; zero: nothing
	node    conan.Revision // of which the members tell revisions: the reference, or the package id in a recipe revision
	recipe  conan.Revision // in which a package is looked for; pinned, zero: there is none
	failure error          // of the client's request
	Answered
}

// explain tells what each member said about a reference and which one answered, as a client gets it
// that installs the reference now. It asks what such a client asks, and the other members too.
func (a *API) explain(c *Call) (any, error) {
	rev, err := conan.ParseRevision(c.Query.Get("reference"))
	if err != nil {
		return nil, err
	}
	client, err := c.generation()
	if err != nil {
		return nil, err
	}
	wanted, err := c.wanted()
	if err != nil {
		return nil, err
	}
	trace, err := c.readable(rev.Ref, client)
	if err != nil {
		return nil, err
	}
	e := &explanation{ctx: c.Context, trace: trace, client: client, refusal: c.Refusal, asked: rev}
	e.ask()
	if err := e.look(); err != nil {
		return nil, err
	}
	out := Explanation{Reference: rev.String(), View: c.Query.Get("view"), Members: e.members()}
	if err := e.conclude(out.Members); err != nil {
		return nil, err
	}
	out.Answer = e.Answered
	if e.asksForBinaries(wanted) {
		if out.Nearest, err = e.nearest(wanted); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// generation is the client for which a call asks.
func (c *Call) generation() (conan.Generation, error) {
	switch text := c.Query.Get("client"); text {
	case "":
		return conan.AnyGeneration, nil
	case "1":
		return conan.Conan1, nil
	case "2":
		return conan.Conan2, nil
	}
	return "", fmt.Errorf("%w: client is neither 1 nor 2", conan.ErrInvalid)
}

// ask asks what a client asks that installs the reference. Conan 1 takes a package from an older
// recipe revision if the newest one lacks it.
func (e *explanation) ask() {
	rev := e.asked
	if rev.IsPackage() && rev.RRev == "" {
		recipe, err := e.trace.Newest(e.ctx, rev.Recipe())
		if err != nil {
			e.node, e.failure = rev.Recipe(), err
			return
		}
		e.recipe = recipe.Value
		if e.client != conan.Conan1 {
			rev.RRev = recipe.Value.RRev
		}
	}
	before := len(e.trace.Verdicts())
	pinned, err := e.trace.Newest(e.ctx, rev)
	if err != nil {
		rev.RRev = cmp.Or(rev.RRev, e.recipe.RRev)
		e.node, e.recipe, e.failure = rev.With(""), rev.Recipe(), err
		return
	}
	e.pinned, e.node, e.recipe = pinned.Value, pinned.Value.With(""), pinned.Value.Recipe()
	e.Decided = e.decided(before)
	before = len(e.trace.Verdicts())
	_, e.failure = e.trace.Snapshot(e.ctx, e.pinned)
	e.Files = e.decided(before)
}

// id is the revision that is asked for by its id, among those of the node; empty if none is.
func (e *explanation) id() string {
	if e.asked.IsPackage() != e.node.IsPackage() {
		return ""
	}
	return e.asked.ID()
}

// decided is the last member that decided since a number of verdicts.
func (e *explanation) decided(before int) *Decided {
	verdicts := e.trace.Verdicts()[before:]
	for _, v := range slices.Backward(verdicts) {
		if v.Reason != resolver.HasCopies {
			return &Decided{v.Member, string(v.Reason)}
		}
	}
	return nil
}

// look asks the other members for their lists of revisions, and those that have the client's
// revision for its files.
func (e *explanation) look() error {
	if err := e.trace.Lists(e.ctx, e.node); err != nil || e.Files == nil {
		return err
	}
	var having []string
	for _, s := range e.trace.Standings(e.node.Ref) {
		if s.Member != e.Files.Member && slices.ContainsFunc(e.heard(s).list, func(r conan.RevisionTime) bool { return r.ID == e.pinned.ID() }) {
			having = append(having, s.Member)
		}
	}
	return e.trace.Files(e.ctx, e.pinned, having)
}

// conclude says what the client gets. An internal failure is returned.
func (e *explanation) conclude(members []MemberSaid) error {
	if e.Decided != nil || e.failure == nil {
		e.Revision = e.pinned.String()
	}
	if e.failure == nil {
		e.Status, e.Text = http.StatusOK, e.success()
		return nil
	}
	status, text := e.refusal(e.failure)
	if text == "" {
		return e.failure
	}
	e.Status, e.Text = status, text
	switch {
	case conan.IsAbsent(e.failure):
		e.Text = e.absence(members)
	case e.pinned.Pinned():
	case slices.ContainsFunc(members, func(m MemberSaid) bool { return m.State == StateHas }):
		e.Text += "; no later member answers in its place, since it could have another answer"
	}
	return nil
}

func (e *explanation) success() string {
	from := e.Files
	if e.Decided != nil {
		from = e.Decided
	}
	if from == nil {
		return e.Revision
	}
	text := fmt.Sprintf("%s from %s: %s", e.Revision, from.Member, from.Reason)
	if e.Files != nil && e.Files.Member != from.Member {
		text += fmt.Sprintf("; its files come from %s: %s", e.Files.Member, e.Files.Reason)
	}
	return text
}

// absence says why nothing is found.
func (e *explanation) absence(members []MemberSaid) string {
	what := e.node.With(e.id())
	is := func(states ...State) func(MemberSaid) bool {
		return func(m MemberSaid) bool { return slices.Contains(states, m.State) }
	}
	switch {
	case !slices.ContainsFunc(members, func(m MemberSaid) bool { return m.State != StateNotAsked }):
		return fmt.Sprintf("the rules let no member be asked for %s", what)
	case slices.ContainsFunc(members, is(StateHidden, StateTooYoung)):
		return fmt.Sprintf("no member has a visible revision of %s", what)
	case e.pinned.Pinned() && !e.asked.Pinned():
		return fmt.Sprintf("%s is the newest revision, but its files are not found", e.pinned)
	}
	return fmt.Sprintf("no member has %s", what)
}
