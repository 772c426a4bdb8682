package conan

import (
	"errors"
	"io"
)

// ArchiveLister makes the list of an archive's members while its bytes stream by. It is an
// io.WriteCloser that can stand in an io.MultiWriter: Write never fails, and waits only for the
// decompressor; when the list is ready or has failed, Write throws the bytes away.
//
// It gives up instead of waiting for memory, and then has to be made again from the stored bytes.
// Its goroutine ends after Close, which must be called in every case; End, once the list is of no
// use any more, closes it too.
type ArchiveLister struct {
	in    *io.PipeWriter
	done  chan struct{} // closed when list and err are set
	check *Check

	list *Listing
	err  error
}

// NewLister starts the list of an archive of that name; see Check.List.
func (c *Checks) NewLister(name string) *ArchiveLister {
	r, w := io.Pipe()
	l := &ArchiveLister{in: w, done: make(chan struct{}), check: &Check{checks: c}}
	go func() {
		defer close(l.done)
		l.list, l.err = l.check.List(name, r)
		if l.err != nil {
			l.check.End()
		}
		r.Close()
	}()
	return l
}

// Write implements io.Writer. It returns len(b), nil.
func (l *ArchiveLister) Write(b []byte) (int, error) {
	_, _ = l.in.Write(b) // fails when the bytes are not wanted any more
	return len(b), nil
}

// Close says that the archive ends here. It does not wait for the list, and may be called more than
// once.
func (l *ArchiveLister) Close() error { return l.in.Close() }

// Done is closed when List no longer waits.
func (l *ArchiveLister) Done() <-chan struct{} { return l.done }

// List waits for the list, which is ready soon after Close. It is nil without an error if the list
// was given up.
func (l *ArchiveLister) List() (*Listing, error) {
	<-l.done
	if errors.Is(l.err, errLarge) {
		return nil, nil
	}
	return l.list, l.err
}

// End closes the lister and gives the memory back as soon as its goroutine has ended. The list must
// not be used after it.
func (l *ArchiveLister) End() {
	l.in.CloseWithError(errEnded)
	select {
	case <-l.done:
		l.check.End()
	default:
		go func() {
			<-l.done
			l.check.End()
		}()
	}
}

var errEnded = errors.New("the list is not wanted any more")
