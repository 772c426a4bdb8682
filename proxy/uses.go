package proxy

import "conanproxy/internal/conan"

// Uses is told what clients use. *Server calls it for every answer with files or a list of files,
// also for those that are kept rendered, so it must be quick.
type Uses interface {
	// Used notes that the files of a member's pinned revision were listed or asked for.
	Used(member string, rev conan.Revision)
}

// noUses notes nothing.
type noUses struct{}

func (noUses) Used(string, conan.Revision) {}

// use is a revision whose files an answer has or lists, and the member that answered.
type use struct {
	member string // empty: the answer has and lists no files
	rev    conan.Revision
}

// used tells about a use.
func (r *request) used(u use) {
	if u.member != "" {
		r.uses.Used(u.member, u.rev)
	}
}
