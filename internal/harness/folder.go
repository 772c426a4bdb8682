package harness

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// cleaner removes a folder once its standard input ends, which is when the process that holds the
// other end dies, however it dies. Before that it kills what still works in the folder: workers of
// a killed nginx, for example.
const cleaner = `cat >/dev/null
for cwd in /proc/[0-9]*/cwd; do
	case "$(readlink "$cwd")" in "$1"|"$1"/*) pid=${cwd#/proc/}; kill -9 "${pid%/cwd}" ;; esac
done 2>/dev/null
rm -rf -- "$1"`

// Folder is a temporary folder that goes away with this process, even if this process is killed.
type Folder struct {
	Path    string
	cleaner *exec.Cmd
	hold    interface{ Close() error }
}

// NewFolder makes one whose name begins with name.
func NewFolder(name string) (*Folder, error) {
	path, err := os.MkdirTemp("", name+"-")
	if err != nil {
		return nil, err
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return nil, err
	}
	f := &Folder{Path: path}
	if runtime.GOOS == "windows" {
		return f, nil
	}
	f.cleaner = exec.Command("sh", "-c", cleaner, "cleaner", path)
	f.cleaner.Dir = "/"
	f.cleaner.SysProcAttr = detached() // it has to outlive this process, and its signals
	if f.hold, err = f.cleaner.StdinPipe(); err != nil {
		return nil, err
	}
	if err := f.cleaner.Start(); err != nil {
		return nil, fmt.Errorf("watch %s: %w", path, errors.Join(err, os.Remove(path)))
	}
	return f, nil
}

// Remove removes the folder, and kills what still works in it.
func (f *Folder) Remove() error {
	if f.cleaner == nil {
		return os.RemoveAll(f.Path)
	}
	return errors.Join(f.hold.Close(), f.cleaner.Wait())
}

// Keep leaves the folder and what is in it.
func (f *Folder) Keep() error {
	if f.cleaner == nil {
		return nil
	}
	err := f.cleaner.Process.Kill()
	f.cleaner.Wait() // killed
	return err
}
