package index

import (
	"context"
	"fmt"
	"testing"
	"time"

	"conanproxy/internal/conan"
)

// BenchmarkQueries asks an index of 40,000 package revisions, as a busy team's cache has.
func BenchmarkQueries(b *testing.B) {
	ctx := context.Background()
	db := openForTest(b, b.TempDir())
	const refs, packages = 1000, 40
	fill(b, db, refs, packages)

	i := 0
	recipe := func() conan.Revision {
		i++
		return conan.Revision{Ref: conan.Ref{Name: "lib", Version: fmt.Sprint(i % refs)}, RRev: "r1"}
	}
	pkg := func() conan.Revision {
		r := recipe()
		r.PackageID, r.PRev = fmt.Sprint("p", i%packages), "v1"
		return r
	}
	queries := []struct {
		name string
		run  func() error
	}{
		{"Find", func() error { _, err := db.Find(ctx, center, pkg()); return err }},
		{"Files", func() error { _, err := db.Files(ctx, center, pkg()); return err }},
		{"Held", func() error { _, err := db.Held(ctx, center, pkg()); return err }},
		{"Revisions", func() error { _, err := db.Revisions(ctx, center, conan.Revision{Ref: recipe().Ref}); return err }},
		{"Packages", func() error { _, err := db.Packages(ctx, center, recipe(), false); return err }},
		{"Refs", func() error { _, err := db.Refs(ctx, center); return err }},
		{"Coldest", func() error { _, err := db.Coldest(ctx, 64); return err }},
		{"BlobNamed", func() error { _, err := db.BlobNamed(ctx, fmt.Sprintf("%064x", i)); return err }},
		{"PutRevision", func() error {
			i++
			rev := conan.Revision{Ref: conan.Ref{Name: "new", Version: fmt.Sprint(i)}, RRev: "r1"}
			return db.PutRevision(ctx, center, rev, PutOptions{Time: time.Now(), Files: []conan.FileInfo{testFile("conanfile.py", i+1<<30, 1)}})
		}},
		{"PutStaged and Publish", func() error {
			i++
			rev := conan.Revision{Ref: conan.Ref{Name: "published", Version: fmt.Sprint(i)}, RRev: "r1"}
			stage := Stage{ID: rev.String(), Revision: rev, Touched: time.Now()}
			file := testFile("conanmanifest.txt", i+1<<30, 1)
			if _, err := db.PutStaged(ctx, stage, StagedFile{FileInfo: file}); err != nil {
				return err
			}
			_, err := db.Publish(ctx, Publication{StageID: stage.ID, Revision: rev, Now: time.Now(),
				Files: []conan.FileInfo{file}, Staged: map[string]string{file.Name: file.SHA256}})
			return err
		}},
	}
	for _, q := range queries {
		b.Run(q.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := q.run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// fill records refs recipes with packages binaries each in one transaction.
func fill(b *testing.B, db *DB, refs, packages int) {
	b.Helper()
	ctx := context.Background()
	id := 0
	file := func(name string) conan.FileInfo { id++; return testFile(name, id, 1000) }
	info := "[settings]\n    os=Linux\n"
	err := db.update(ctx, func(ctx context.Context, tx *transaction) error {
		for r := range refs {
			rev := conan.Revision{Ref: conan.Ref{Name: "lib", Version: fmt.Sprint(r)}, RRev: "r1"}
			o := PutOptions{Time: time.Unix(int64(r), 0), Files: []conan.FileInfo{file("conanfile.py"), file("conanmanifest.txt")}}
			if err := putRevision(ctx, tx, center, rev, o, time.Now()); err != nil {
				return err
			}
			for p := range packages {
				rev.PackageID, rev.PRev = fmt.Sprint("p", p), "v1"
				o := PutOptions{Time: time.Unix(int64(p), 0), Info: &info, Files: []conan.FileInfo{file("conaninfo.txt"), file("conanmanifest.txt"), file("conan_package.tgz")}}
				if err := putRevision(ctx, tx, center, rev, o, time.Now()); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}
