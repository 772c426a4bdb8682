package localstore

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"io"
	"testing"
	"time"

	"conanproxy/internal/conan"
)

// packedAs is a package whose archive has these members.
func packedAs(contents files, members ...tar.Header) files {
	return pkg(info2, contents).with(files{"conan_package.tgz": gzipped(tarOfMembers(contents, members...), gzip.DefaultCompression)})
}

// audit reads the audit trail.
func (e *env) audit() (lines []string) {
	e.t.Helper()
	db, err := sql.Open("sqlite", e.path)
	wantError(e.t, err, nil)
	defer db.Close()
	rows, err := db.QueryContext(e.t.Context(), `SELECT action || ' ' || usr || ' ' || target FROM audit WHERE action <> 'publish' ORDER BY id`)
	wantError(e.t, err, nil)
	defer rows.Close()
	for rows.Next() {
		var line string
		wantError(e.t, rows.Scan(&line), nil)
		lines = append(lines, line)
	}
	wantError(e.t, rows.Err(), nil)
	return lines
}

func sha256Of(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func regular(name string, mode int64) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode}
}

// TestOtherBytes publishes the same package revision again, with an archive whose members differ in
// what the manifest does not tell.
func TestOtherBytes(t *testing.T) {
	t.Parallel()
	contents := files{"bin/a": "a", "lib/b": "b"}
	link := func(target string) tar.Header {
		return tar.Header{Typeflag: tar.TypeSymlink, Name: "out", Linkname: target}
	}
	folder := tar.Header{Typeflag: tar.TypeDir, Name: "empty/", Mode: 0o755}
	base := []tar.Header{regular("bin/a", 0o644), regular("lib/b", 0o644), link("/usr")}
	changed := func(i int, h tar.Header) []tar.Header {
		out := append([]tar.Header{}, base...)
		out[i] = h
		return out
	}
	owned := regular("bin/a", 0o644)
	owned.Uid, owned.Uname, owned.ModTime = 7, "ann", time.Unix(1e9, 0)
	tests := map[string]struct {
		archive []tar.Header
		more    files
		stays   bool
	}{
		"order":                 {archive: []tar.Header{base[2], base[1], base[0]}, stays: true},
		"owner and time":        {archive: changed(0, owned), stays: true},
		"mode":                  {archive: changed(0, regular("bin/a", 0o755))},
		"link target":           {archive: changed(2, link("/opt"))},
		"no link":               {archive: base[:2]},
		"empty folder":          {archive: append(base[:3:3], folder)},
		"name":                  {archive: append(base[:3:3], regular("extra", 0o644)), more: files{"extra": "x"}},
		"packed as a hard link": {archive: append(base[:2:2], base[2], tar.Header{Typeflag: tar.TypeLink, Name: "more", Linkname: "bin/a", Mode: 0o644})},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, onDisk(t))
			recipe := e.publishRecipe(hi, plainRecipe("class A"))
			first := packedAs(contents, base...)
			rev := e.publishPackage(recipe, pid2, first)
			old, err := e.Open(t.Context(), rev, "conan_package.tgz")
			wantError(t, err, nil)
			defer old.Close()

			e.clock.advance(time.Second)
			second := first.with(files{"conan_package.tgz": gzipped(tarOfMembers(contents.with(test.more), test.archive...), gzip.DefaultCompression)})
			e.publishPackage(recipe, pid2, second)
			want := second
			if test.stays {
				want = first
			}
			wantEqual(t, "content", content(t, e, rev), want)
			now, err := e.Open(t.Context(), rev, "conan_package.tgz")
			wantError(t, err, nil)
			defer now.Close()
			var replaced time.Time
			if !test.stays {
				replaced = e.clock.Now()
			}
			wantEqual(t, "when it was replaced", now.Replaced, replaced)

			e.collect()
			b, err := io.ReadAll(old)
			wantError(t, err, nil)
			if string(b) != first["conan_package.tgz"] {
				t.Error("the reader under way did not keep the first bytes")
			}
		})
	}
}

// TestOtherCompression: an archive of other contents and another compression takes the place of the
// published one.
func TestOtherCompression(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	recipe := e.publishRecipe(hi, plainRecipe("class A"))
	contents := files{"bin/a": "a"}
	first := packedAs(contents, regular("bin/a", 0o755))
	rev := e.publishPackage(recipe, pid2, first)
	second := first.without("conan_package.tgz").with(files{"conan_package.tzst": tzst(contents)}) // mode 644
	e.publishPackage(recipe, pid2, second)
	wantEqual(t, "content", content(t, e, rev), second)
	wantEqual(t, "audit", e.audit(), []string{"overwrite ann " + rev.String() + " conan_package.tgz sha256:" + sha256Of(first["conan_package.tgz"]) +
		" -> conan_package.tzst sha256:" + sha256Of(second["conan_package.tzst"])})
	if err := e.sendV1(conan.Revision{Ref: hi, PackageID: pid2}, first); err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "Conan 1 replaces too", content(t, e, rev), first)
}

// TestNoOverwriting: a store that does not overwrite refuses other bytes, and takes the same ones.
func TestNoOverwriting(t *testing.T) {
	t.Parallel()
	e := newEnv(t, func(o *Options) { o.Overwrite = false })
	recipe := e.publishRecipe(hi, plainRecipe("class A"))
	contents := files{"bin/a": "a"}
	first := packedAs(contents, regular("bin/a", 0o644))
	rev := e.publishPackage(recipe, pid2, first)
	wantError(t, e.send(rev, packedAs(contents, regular("bin/a", 0o755))), conan.ErrDenied, "does not allow")
	wantEqual(t, "content", content(t, e, rev), first)
	wantError(t, e.send(rev, first.with(files{"conan_package.tgz": tgz(contents, gzip.BestSpeed)})), nil)
	wantEqual(t, "content", content(t, e, rev), first)
}
