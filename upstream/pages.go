package upstream

import "sync"

// blockPages is how many different URLs have to answer with a web page, and no file to come well
// between them, before it is taken as the block page of a firewall.
const blockPages = 3

// pages tells a web page in the place of one file, by which a server refuses that file, from the
// block page of a firewall or a portal, which comes for whatever is asked. The zero value is ready.
type pages struct {
	mu    sync.Mutex
	paths map[string]bool // that answered with a page since the last good file
}

// classify looks at what came of a question: f is nil for a good file. It returns f, which is no
// longer a refusal of one file if too many different paths got pages.
func (p *pages) classify(path string, f *failure) *failure {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case f == nil:
		p.paths = nil
		return nil
	case f.kind != kindForeign:
		return f
	case p.paths == nil:
		p.paths = make(map[string]bool, blockPages)
	}
	if len(p.paths) < blockPages {
		p.paths[path] = true
	}
	if len(p.paths) < blockPages {
		return f
	}
	return foreign("%s", f.reason)
}
