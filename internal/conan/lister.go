package conan

import (
	"io"
	"sync"
)

// listerBuffer is how many packed bytes an ArchiveLister holds between its writer and its
// decompressor, so that a short pause of one does not stop the other. A hundred uploads at a time each hold that much.
const listerBuffer = 128 << 10

var listerBuffers = sync.Pool{New: func() any { return new([listerBuffer]byte) }}

// ArchiveLister makes the list of an archive's members while its bytes stream by. It is an
// io.WriteCloser that can stand in an io.MultiWriter: Write never fails, and waits only while
// the decompressor is behind by its buffer; when the list is ready or has failed, Write throws
// the bytes away. Its goroutine ends after Close, which must be called in every case; a list
// that nobody wants any more needs no Members.
type ArchiveLister struct {
	name string
	done chan struct{} // closed when members and err are set

	members []Member
	err     error

	mu     sync.Mutex
	change *sync.Cond
	ring   *[listerBuffer]byte // nil once nobody reads any more
	first  int                 // where the oldest byte lies that is not yet read
	held   int                 // bytes that are not yet read
	closed bool                // no more will be written
}

// NewArchiveLister starts the list of an archive of that name; see ListArchive.
func NewArchiveLister(name string) *ArchiveLister {
	l := &ArchiveLister{name: name, done: make(chan struct{}), ring: listerBuffers.Get().(*[listerBuffer]byte)}
	l.change = sync.NewCond(&l.mu)
	go l.run()
	return l
}

func (l *ArchiveLister) run() {
	defer close(l.done)
	l.members, l.err = ListArchive(l.name, listerReader{l})
	l.mu.Lock()
	listerBuffers.Put(l.ring)
	l.ring = nil
	l.change.Broadcast()
	l.mu.Unlock()
}

// Write implements io.Writer. It copies b and returns len(b), nil. Not to be called after Close.
func (l *ArchiveLister) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for rest := b; len(rest) > 0; {
		for l.held == listerBuffer && l.ring != nil && !l.closed {
			l.change.Wait()
		}
		if l.ring == nil || l.closed {
			break
		}
		end := (l.first + l.held) % listerBuffer
		n := copy(l.ring[end:min(listerBuffer, end+listerBuffer-l.held)], rest)
		l.held += n
		rest = rest[n:]
		l.change.Broadcast()
	}
	return len(b), nil
}

// Close says that the archive ends here. It does not wait for the list, and may be called more than once.
func (l *ArchiveLister) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.change.Broadcast()
	return nil
}

// Done is closed when Members no longer waits.
func (l *ArchiveLister) Done() <-chan struct{} { return l.done }

// Members waits for the list, which is ready soon after Close, and returns what ListArchive did.
func (l *ArchiveLister) Members() ([]Member, error) {
	<-l.done
	return l.members, l.err
}

// listerReader is the reading end.
type listerReader struct{ l *ArchiveLister }

func (r listerReader) Read(b []byte) (int, error) {
	l := r.l
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.held == 0 && !l.closed {
		l.change.Wait()
	}
	if l.held == 0 {
		return 0, io.EOF
	}
	n := copy(b, l.ring[l.first:min(listerBuffer, l.first+l.held)])
	l.first, l.held = (l.first+n)%listerBuffer, l.held-n
	l.change.Broadcast()
	return n, nil
}
