package upstream

import "sync"

// blockPages is how many different files have to be refused by a web page, and no good answer to
// come between them, before it is taken as the block page of a firewall.
const blockPages = 3

// pages tells a web page in the place of one file, by which a server refuses that file, from the
// block page of a firewall or a portal, which comes for whatever is asked. The zero value is ready.
type pages struct {
	mu    sync.Mutex
	paths map[string]bool // of files that were refused by a page since the last good answer
}

// good notes a good answer: what comes for whatever is asked did not come.
func (p *pages) good() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.paths = nil
}

// classify looks at why a file cannot be had; nil: it can. It returns f, or, if f refuses the file
// by a page and pages refused too many different files, a failure that is no refusal of one file.
func (p *pages) classify(path string, f *failure) *failure {
	if f == nil || f.kind != kindForeign || !f.refused {
		return f
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.paths == nil {
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
