package conantest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// WriteStore lays sets down in a folder as conan_server 1.x keeps them in its disk_storage_path.
func WriteStore(dir string, sets ...Set) error {
	type entry struct {
		Revision string `json:"revision"`
		Time     string `json:"time"`
	}
	lists := make(map[string][]entry) // folder → its revisions, oldest first
	sets = slices.SortedStableFunc(slices.Values(sets), func(a, b Set) int { return a.Time.Compare(b.Time) })
	for _, set := range sets {
		list := filepath.Join(dir, filepath.FromSlash(set.Ref.Path()))
		folder := filepath.Join(list, set.RRev, "export")
		if set.IsPackage() {
			list = filepath.Join(list, set.RRev, "package", set.PackageID)
			folder = filepath.Join(list, set.PRev)
		}
		lists[list] = append(lists[list], entry{set.ID(), set.Time.UTC().Format(time.RFC3339)})
		for name, b := range set.Files {
			if err := writeFile(filepath.Join(folder, filepath.FromSlash(name)), b); err != nil {
				return fmt.Errorf("lay down %s of %s: %w", name, set.Revision, err)
			}
		}
	}
	for folder, list := range lists {
		b, err := json.Marshal(map[string]any{"revisions": list})
		if err != nil {
			return err
		}
		if err := writeFile(filepath.Join(folder, "revisions.txt"), b); err != nil {
			return err
		}
	}
	return nil
}

func writeFile(path string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o644)
}
