package harness

import (
	"fmt"
	"os"
	"path/filepath"
)

// MakeOnce makes the folder dir by a function, unless an earlier call of this or another process
// has done so to the end. Other processes wait meanwhile. What an interrupted call left is removed
// first.
func MakeOnce(dir string, fill func() error) error {
	complete := filepath.Join(dir, "complete")
	if _, err := os.Stat(complete); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	lock, err := os.OpenFile(dir+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	defer lock.Close()
	unwait := Waiting("for the lock of %s", dir)
	err = lockFile(lock)
	unwait()
	if err != nil {
		return fmt.Errorf("lock %s: %w", dir, err)
	}
	if _, err := os.Stat(complete); err == nil {
		return nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := fill(); err != nil {
		return err
	}
	return os.WriteFile(complete, nil, 0o644)
}
