package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"conanproxy/internal/conan"
	"conanproxy/proxy/auth"
	"conanproxy/proxy/resolver"
)

// identify finds the caller. Wrong credentials are auth.ErrLogin, also where none are needed.
func (r *request) identify() error {
	if r.identified {
		return nil
	}
	caller, err := r.settings.guard.Identify(r.ctx(), r.req.Header.Get("Authorization"), r.addr)
	if err != nil {
		return err
	}
	r.caller, r.identified = caller, true
	return nil
}

// takeSignature identifies the caller by the signature of the URL, if it has one. Then
// Authorization is ignored: clients may send the token of another host there. The signature only
// names the caller and the file; the caller's rights are checked like those of any other.
func (r *request) takeSignature() error {
	signature := r.argument("signature")
	if signature == "" {
		return nil
	}
	grant, err := r.settings.guard.VerifySignature(signature, r.req.Method, r.path)
	if err != nil {
		return err
	}
	if grant.View != r.view.Name || grant.Member != r.grantedMember() {
		return fmt.Errorf("%w: the signature of the URL is for another view or store", conan.ErrDenied)
	}
	r.grant = &grant
	r.caller, r.identified = grant.Caller, true
	return nil
}

// grantedMember is the member that signed URLs of this request name: of an upload the store that
// takes it.
func (r *request) grantedMember() string {
	if isUpload(r.req) {
		return r.view.Store
	}
	return ""
}

// readable is the node that the path names, if the caller may read its reference in a member of the
// view.
func (r *request) readable() (conan.Revision, error) {
	if err := r.identify(); err != nil {
		return conan.Revision{}, err
	}
	rev, err := r.revision()
	if err != nil {
		return rev, err
	}
	r.readableIn, err = r.settings.guard.ReadableIn(r.caller, r.view.Members, rev.Ref)
	return rev, r.withoutLogin(err)
}

// readableSet names the members in which the caller may read what the path names; it is empty for
// all of the view. Answers are shared by the callers of one set.
func (r *request) readableSet() string {
	if len(r.readableIn) == len(r.view.Members) {
		return ""
	}
	return strings.Join(r.readableIn, ",")
}

// rights are those of the caller, for the resolver. They may outlive the request.
func (r *request) rights() *callerRights {
	rights := &callerRights{ReadRights: auth.ReadRights{Guard: r.settings.guard, Caller: r.caller}}
	if len(r.readableIn) > 0 {
		rights.ref, rights.readableIn = r.rev.Ref, r.readableIn
	}
	return rights
}

// callerRights are what a caller may read. They know already about the reference that a request
// names.
type callerRights struct {
	auth.ReadRights
	ref        conan.Ref // that is known about; zero: none
	readableIn []string  // the members in which the caller may read it
}

var _ resolver.Rights = (*callerRights)(nil)

// MayRead implements resolver.Rights.
func (c *callerRights) MayRead(member string, ref conan.Ref) bool {
	if ref == c.ref {
		return slices.Contains(c.readableIn, member)
	}
	return c.ReadRights.MayRead(member, ref)
}

// writable is the node that the path names, if the view takes writes and the caller may write its
// reference in the view's store. readOnly is the status for a view that does not. Rights are
// checked before anything is looked up.
func (r *request) writable(readOnly int) (conan.Revision, error) {
	if err := notFromOtherSite(r.req); err != nil {
		return conan.Revision{}, err
	}
	if err := r.identify(); err != nil {
		return conan.Revision{}, err
	}
	if err := r.settings.takesWrites(r.view, readOnly); err != nil {
		return conan.Revision{}, err
	}
	rev, err := r.revision()
	if err != nil {
		return rev, err
	}
	return rev, r.withoutLogin(r.settings.guard.MayWrite(r.caller, r.view.Store, rev.Ref))
}

// withoutLogin is err, but no invitation to log in if the URL is signed: its signature decides who
// calls, whatever credentials come with it.
func (r *request) withoutLogin(err error) error {
	if r.grant != nil && errors.Is(err, auth.ErrLogin) {
		return fmt.Errorf("%w: the rules no longer allow what the URL was signed for", conan.ErrDenied)
	}
	return err
}

// crossOrigin knows by what browsers say about a request whether a page of another site made it.
var crossOrigin = http.NewCrossOriginProtection()

// notFromOtherSite refuses writes that a browser makes for a page of another site, perhaps with
// credentials that it remembers. Conan's clients are no browsers.
func notFromOtherSite(req *http.Request) error {
	if err := crossOrigin.Check(req); err != nil {
		return fmt.Errorf("%w: pages of other sites may not write here", conan.ErrDenied)
	}
	return nil
}

// loginHelps tells whether a login could lift a refusal: not if there are no users. A token is
// refused all the same, so that its client drops it.
func (r *request) loginHelps() bool {
	scheme, _, _ := strings.Cut(r.req.Header.Get("Authorization"), " ")
	return strings.EqualFold(scheme, "bearer") || r.settings.guard.HasUsers()
}
