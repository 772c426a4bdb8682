package conantest

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"conanproxy/internal/conan"
)

// serve logs a request, makes the good answer and sends it as the faults will have it.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	line, done := s.note(r)
	ctx, cancel := s.ended(r)
	defer cancel()

	fault := s.faultFor(line)
	good := httptest.NewRecorder()
	s.route(good, r)
	a := &answer{status: good.Code, header: good.Header().Clone(), body: good.Body.Bytes()}
	fault.change(a, r)
	sent, err := fault.send(ctx, w, r, a)
	if fault.BlackHole || fault.Reset {
		a.status = 0
	}
	done(a.status, sent)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
}

// route answers as conan_server does.
func (s *Server) route(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()

	p, ok := strings.CutPrefix(r.URL.Path, s.options.Prefix)
	version, rest, _ := strings.Cut(strings.TrimPrefix(p, "/"), "/")
	speaks := version == "v1" && s.options.API&V1 != 0 || version == "v2" && s.options.API&V2 != 0
	switch {
	case !ok || (version != "v1" && version != "v2"):
		s.missing(w, nil)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		plain(w, http.StatusMethodNotAllowed, "this server is only read")
	case version == "v1" && rest == "ping":
		s.ping(w, r)
	case rest == "users/authenticate" && s.options.Profile.OtherAPI == nil && !s.options.Profile.NoUsersRoutes:
		s.authenticate(w, r)
	case !speaks:
		s.otherAPI(w)
	case rest == "users/authenticate" && !s.options.Profile.NoUsersRoutes:
		s.authenticate(w, r)
	case s.options.Profile.RedirectFiles && r.Host != s.address && !s.stored(w, r):
	case version == "v1" && strings.HasPrefix(rest, "files/"):
		s.fileV1(w, r, strings.TrimPrefix(rest, "files/"))
	case !s.allowed(w, r):
	case rest == "users/check_credentials":
		plain(w, http.StatusOK, s.userOf(r))
	case rest == "conans/search":
		s.search(w, r)
	case strings.HasPrefix(rest, "conans/"):
		s.reference(w, r, version, strings.Split(strings.TrimPrefix(rest, "conans/"), "/"))
	default:
		s.missing(w, nil)
	}
}

func (s *Server) ping(w http.ResponseWriter, r *http.Request) {
	for name, values := range s.options.Profile.PingHeader {
		w.Header()[name] = values
	}
	if p := s.options.Profile.LockedPing; p != PingOpen && s.options.Private && !s.loggedIn(r) {
		if p == PingEmptyCapabilities {
			w.Header().Set("X-Conan-Server-Capabilities", "")
		}
		s.unauthorized(w, "")
		return
	}
	capabilities := s.options.Capabilities
	if capabilities == "" {
		capabilities = "complex_search"
		if s.options.API&V2 != 0 {
			capabilities += ",revisions"
		}
	}
	if !s.options.NoCapabilities {
		w.Header().Set("X-Conan-Server-Capabilities", capabilities)
	}
	w.Header().Set("Content-Type", "text/html; charset=UTF-8")
}

func (s *Server) authenticate(w http.ResponseWriter, r *http.Request) {
	user, password, ok := r.BasicAuth()
	if !ok && s.options.Profile.Anonymous400 {
		plain(w, http.StatusBadRequest, "")
		return
	}
	want, known := s.options.Users[user]
	if !ok || !known || want != password {
		w.Header().Set("WWW-Authenticate", `Basic realm="Login Required"`)
		s.unauthorized(w, "Wrong user or password")
		return
	}
	s.serial++
	token := fmt.Sprintf("token-%d-%s", s.serial, user)
	s.tokens[token] = true
	plain(w, http.StatusOK, token)
}

// unauthorized answers 401 as the server does.
func (s *Server) unauthorized(w http.ResponseWriter, text string) {
	if s.options.Profile.WrongLogin == nil {
		plain(w, http.StatusUnauthorized, text)
		return
	}
	for name, values := range s.options.Profile.WrongLogin {
		w.Header()[name] = values
	}
	w.WriteHeader(http.StatusUnauthorized)
	w.Write([]byte(jsonPage(http.StatusUnauthorized, "Bad Credentials").Body))
}

// loggedIn tells whether a request has a good token.
func (s *Server) loggedIn(r *http.Request) bool {
	token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return bearer && s.tokens[token]
}

// allowed answers 401 and returns false if the request needs a login or has a bad token.
func (s *Server) allowed(w http.ResponseWriter, r *http.Request) bool {
	authorization := r.Header.Get("Authorization")
	wantsLogin := s.options.Private || strings.HasSuffix(r.URL.Path, "/users/check_credentials")
	switch {
	case authorization == "" && !wantsLogin, s.loggedIn(r), s.options.Profile.RedirectFiles && r.Host != s.address:
		return true
	case strings.HasPrefix(authorization, "Bearer "):
		s.unauthorized(w, "Wrong JWT token!")
	case authorization != "":
		s.unauthorized(w, "'Http Authentication not implemented'")
	default:
		s.unauthorized(w, "")
	}
	return false
}

func (s *Server) userOf(r *http.Request) string {
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	_, user, _ := strings.Cut(strings.TrimPrefix(token, "token-"), "-")
	return user
}

// search lists every match once; without a pattern, as conan_server does, once for each of its
// revisions.
func (s *Server) search(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if s.options.Profile.PrefixSearch {
		s.prefixed(w, q.Get("q"))
		return
	}
	p, err := conan.ParsePattern(q.Get("q"), !strings.EqualFold(q.Get("ignorecase"), "false"))
	if err != nil {
		plain(w, http.StatusBadRequest, err.Error())
		return
	}
	results := []string{}
	for rev := range s.sets {
		text := rev.Ref.String()
		if s.options.UnderscoreRefs && rev.User == "" {
			text += "@_/_"
		}
		if p.Match(rev.Ref) && !rev.IsPackage() {
			results = append(results, text)
		}
	}
	slices.Sort(results)
	if p.String() != "" {
		results = slices.Compact(results)
	}
	s.document(w, map[string]any{"results": results})
}

// reference answers the routes below conans/{name}/{version}/{user}/{channel}.
func (s *Server) reference(w http.ResponseWriter, r *http.Request, version string, segments []string) {
	if len(segments) < 4 {
		s.missing(w, nil)
		return
	}
	ref, err := conan.NewRef(segments[0], segments[1], segments[2], segments[3])
	if err != nil {
		plain(w, http.StatusNotFound, err.Error())
		return
	}
	if version == "v1" {
		s.documentV1(w, r, ref, segments[4:])
		return
	}
	s.documentV2(w, r, ref, segments[4:])
}

// revisions lists the RREVs of a reference, or the PREVs of a package id, newest first.
// Without its manifest a revision is not published.
func (s *Server) revisions(of conan.Revision) []Set {
	var list []Set
	for rev, set := range s.sets {
		if rev.With("") == of.With("") && set.Files[conan.ManifestFile] != nil {
			list = append(list, set)
		}
	}
	slices.SortFunc(list, func(a, b Set) int {
		if c := b.Time.Compare(a.Time); c != 0 {
			return c
		}
		return strings.Compare(a.ID(), b.ID())
	})
	return list
}

// binaries lists the newest revision of every package id of a recipe revision.
func (s *Server) binaries(recipe conan.Revision) map[string]Set {
	found := make(map[string]Set)
	for rev := range s.sets {
		if rev.IsPackage() && rev.Recipe() == recipe {
			if list := s.revisions(rev); len(list) > 0 {
				found[rev.PackageID] = list[0]
			}
		}
	}
	return found
}

// documentV2 answers the v2 routes of a reference.
func (s *Server) documentV2(w http.ResponseWriter, r *http.Request, ref conan.Ref, segments []string) {
	rev := conan.Revision{Ref: ref}
	for len(segments) >= 2 {
		switch {
		case segments[0] == "revisions" && !rev.Pinned():
			rev = rev.With(segments[1])
		case segments[0] == "packages" && rev.RRev != "" && !rev.IsPackage():
			rev.PackageID = segments[1]
		case segments[0] == "files" && rev.Pinned():
			s.file(w, r, rev, path.Join(segments[1:]...))
			return
		default:
			s.missing(w, nil)
			return
		}
		segments = segments[2:]
	}
	if len(segments) == 0 {
		s.missing(w, nil)
		return
	}
	switch segments[0] {
	case "latest", "revisions":
		s.revisionsV2(w, rev, segments[0] == "latest")
	case "files":
		s.filesV2(w, rev)
	case "search":
		s.packagesV2(w, r, rev)
	default:
		s.missing(w, nil)
	}
}

func (s *Server) revisionsV2(w http.ResponseWriter, rev conan.Revision, latest bool) {
	p := s.options.Profile
	list := s.revisions(rev)
	if len(list) == 0 || rev.ID() != "" || p.NoRevisions && !latest {
		if p.EmptyIfUnknown && rev.ID() == "" && !latest && !p.NoRevisions {
			s.document(w, map[string]any{"reference": rev.String(), "revisions": []any{}})
			return
		}
		s.missing(w, rev)
		return
	}
	layout := p.TimeFormat
	if layout == "" {
		layout = "2006-01-02T15:04:05.000000-07:00"
	}
	render := func(set Set) map[string]string {
		return map[string]string{"revision": set.ID(), "time": set.Time.UTC().Format(layout)}
	}
	if latest {
		s.document(w, render(list[0]))
		return
	}
	all := []map[string]string{}
	for _, set := range list {
		all = append(all, render(set))
	}
	answer := map[string]any{"revisions": all}
	if p.OldestFirst {
		slices.Reverse(all)
	}
	if p.ListKey != "" && rev.IsPackage() {
		answer[p.ListKey] = rev.String()
	}
	s.document(w, answer)
}

func (s *Server) filesV2(w http.ResponseWriter, rev conan.Revision) {
	set, ok := s.sets[rev]
	if !ok || set.Files[conan.ManifestFile] == nil {
		s.missing(w, rev)
		return
	}
	files := make(map[string]any)
	for name := range set.Files {
		files[name] = struct{}{}
		if s.options.Profile.NullFiles {
			files[name] = nil
		}
	}
	s.document(w, map[string]any{"files": files})
}

func (s *Server) packagesV2(w http.ResponseWriter, r *http.Request, rev conan.Revision) {
	if rev.IsPackage() {
		s.missing(w, nil)
		return
	}
	list := s.revisions(conan.Revision{Ref: rev.Ref})
	if len(list) == 0 {
		s.missing(w, rev)
		return
	}
	if rev.RRev == "" {
		rev.RRev = list[0].RRev
	}
	answer := make(map[string]any)
	for id, set := range s.binaries(rev) {
		if strings.EqualFold(r.URL.Query().Get("list_only"), "true") {
			answer[id] = struct{}{}
			continue
		}
		answer[id] = s.binary(set)
	}
	s.document(w, answer)
}

// documentV1 answers the v1 routes of a reference: of its newest revisions.
func (s *Server) documentV1(w http.ResponseWriter, r *http.Request, ref conan.Ref, segments []string) {
	list := s.revisions(conan.Revision{Ref: ref})
	if len(list) == 0 && len(segments) == 0 && s.options.Profile.EmptyIfUnknown {
		s.document(w, map[string]any{})
		return
	}
	if len(list) == 0 {
		s.missing(w, ref)
		return
	}
	set := list[0]
	if len(segments) >= 2 && segments[0] == "packages" {
		rev := set.Revision
		rev.PackageID = segments[1]
		binaries := s.revisions(rev)
		if len(binaries) == 0 {
			s.missing(w, rev)
			return
		}
		set, segments = binaries[0], segments[2:]
	}
	question := strings.Join(segments, "/")
	switch {
	case question == "":
		sums := make(map[string]string)
		for name, b := range set.Files {
			sums[name] = md5Of(b)
		}
		s.document(w, sums)
	case question == "digest":
		s.document(w, s.urls(set, conan.ManifestFile))
	case question == "download_urls":
		s.document(w, s.urls(set, set.Names()...))
	case question == "search" && !set.IsPackage():
		s.packagesV1(w, ref)
	default:
		s.missing(w, nil)
	}
}

// packagesV1 merges the binaries of all recipe revisions; the newest that has an id wins.
func (s *Server) packagesV1(w http.ResponseWriter, ref conan.Ref) {
	answer := make(map[string]any)
	for _, recipe := range s.revisions(conan.Revision{Ref: ref}) {
		for id, set := range s.binaries(recipe.Revision) {
			if _, have := answer[id]; have {
				continue
			}
			answer[id] = s.binary(set)
		}
	}
	s.document(w, answer)
}

// binary is what package search tells of a package.
func (s *Server) binary(set Set) map[string]any {
	text := string(set.Files[conan.InfoFile])
	info := conan.ParseInfo(text)
	if s.options.Profile.Packages == ParsedOnly {
		return parsed(info)
	}
	entry := map[string]any{
		"content": text, "settings": info.Settings, "options": info.Options,
		"full_requires": info.FullRequires, "recipe_hash": nil,
	}
	if info.RecipeHash != "" {
		entry["recipe_hash"] = info.RecipeHash
	}
	return entry
}

// urls gives the files of a set their v1 URLs.
func (s *Server) urls(set Set, names ...string) map[string]string {
	urls := make(map[string]string)
	for _, name := range names {
		p := "v1/files/" + set.Ref.Path() + "/" + set.RRev
		if set.IsPackage() {
			p += "/package/" + set.PackageID + "/" + set.PRev
		} else {
			p += "/export"
		}
		p += "/" + name
		rooted := s.options.Prefix + "/" + p
		u := escaped(rooted)
		switch s.options.FileURLs {
		case Relative:
			u = escaped(p)
		case Absolute:
			u = "http://" + s.address + u
		case Foreign:
			u = "http://" + strings.Replace(s.foreign, "127.0.0.1", "localhost", 1) + u
		}
		if !s.options.Unsigned {
			s.serial++
			signature := fmt.Sprintf("signature-%d", s.serial)
			s.signatures[signature] = rooted
			u += "?signature=" + signature
		}
		urls[name] = u
	}
	return urls
}

func escaped(path string) string { return (&url.URL{Path: path}).EscapedPath() }

// fileV1 serves {ref}/{rrev}/export/{name} and {ref}/{rrev}/package/{id}/{prev}/{name}.
func (s *Server) fileV1(w http.ResponseWriter, r *http.Request, rest string) {
	if signature := r.URL.Query().Get("signature"); signature != "" || !s.options.Unsigned {
		if s.signatures[signature] != r.URL.Path {
			plain(w, http.StatusNotFound, "File not found")
			return
		}
	} else if !s.allowed(w, r) {
		return
	}
	segments := strings.Split(rest, "/")
	if len(segments) < 7 {
		s.missing(w, nil)
		return
	}
	ref, err := conan.NewRef(segments[0], segments[1], segments[2], segments[3])
	if err != nil {
		s.missing(w, nil)
		return
	}
	rev := conan.Revision{Ref: ref, RRev: segments[4]}
	segments = segments[5:]
	if segments[0] == "package" && len(segments) >= 4 {
		rev.PackageID, rev.PRev = segments[1], segments[2]
		segments = segments[2:]
	}
	s.file(w, r, rev, path.Join(segments[1:]...))
}

// file serves the bytes of a file, of an unpublished revision too.
func (s *Server) file(w http.ResponseWriter, r *http.Request, rev conan.Revision, name string) {
	set := s.sets[rev]
	b, ok := set.Files[name]
	if !ok || r.Method == http.MethodHead && s.options.Profile.NoHead {
		s.missing(w, nil)
		return
	}
	if s.options.Profile.RedirectFiles && r.Host == s.address {
		s.redirectFile(w, r)
		return
	}
	contentType := "application/octet-stream"
	switch path.Ext(name) {
	case ".tgz":
		contentType = "x-gzip"
	case ".txt":
		contentType = "text/plain; charset=UTF-8"
	case ".py":
		contentType = "text/x-python; charset=UTF-8"
	}
	w.Header().Set("Content-Type", contentType)
	if s.options.Profile.Checksums {
		fileHeader(w.Header(), set, name)
	}
	var modified time.Time
	switch s.options.Validator {
	case LastModified:
		modified = set.Time
	case ETag:
		w.Header().Set("ETag", `"`+md5Of(b)+`"`)
	case NoRanges:
		w.Header().Set("Content-Length", fmt.Sprint(len(b)))
		w.Write(b)
		return
	}
	http.ServeContent(w, r, "", modified, bytes.NewReader(b))
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	w.Write([]byte(text))
}

func notFoundPage(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/html; charset=UTF-8")
	w.WriteHeader(http.StatusNotFound)
	w.Write([]byte("<!DOCTYPE HTML PUBLIC \"-//IETF//DTD HTML 2.0//EN\">\n<html><body><h1>Error: 404 Not Found</h1></body></html>\n"))
}
