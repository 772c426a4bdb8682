package cache

import "conanproxy/internal/conan"

// listAhead asks for the files of a revision that a client was just told of and is about to ask
// about, unless something is known of them.
func (c *Cache) listAhead(rev conan.Revision) {
	if !c.begin() {
		return
	}
	go func() {
		defer c.running.Done()
		doc, err := load(c.ctx, c, c.filesQuestion(rev))
		if err == nil && doc == nil {
			_, _, _ = c.listed(c.ctx, rev) // the client that asks is told of a failure
		}
	}()
}

// prefetch begins with the files that a client asks for one after the other once it has the list,
// so that the round trips to upstream overlap: all but sources, which only builds need, and
// metadata. It takes no slot that another download may need: there have to be enough of them.
func (c *Cache) prefetch(rev conan.Revision, list conan.Snapshot) {
	stored, err := c.stored(c.ctx, rev)
	if err != nil {
		return // the client that asks for a file is told
	}
	var wanted conan.Snapshot
	for _, f := range list {
		if _, isStored := stored.find(f.Name); isStored || mayChange(rev, f.Name) || !isForInstall(f.Name) {
			continue
		}
		if _, isRefused := c.refusedFile(rev, f); !isRefused {
			wanted = append(wanted, f)
		}
	}
	if len(wanted) == 0 {
		return // all of it is here
	}
	c.mu.Lock()
	busy := len(c.fills)
	c.mu.Unlock()
	if busy+len(wanted) > c.o.MaxFills {
		return
	}
	for _, f := range wanted {
		if !c.begin() {
			return
		}
		go func() {
			defer c.running.Done()
			c.start(rev, f)
		}()
	}
}

// start begins a fill for a client that is about to ask: a large file waits for it as long as for
// one that left.
func (c *Cache) start(rev conan.Revision, want conan.FileInfo) {
	f, err := c.attach(rev, want)
	if err != nil {
		return
	}
	if file, err := f.open(c.ctx); err == nil {
		file.Close()
	}
}
