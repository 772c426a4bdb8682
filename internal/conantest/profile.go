package conantest

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"path"
	"slices"
	"strings"

	"conanproxy/internal/conan"
)

// Profile is how a real server answers where it differs from conan_server, header for header. The
// zero value is conan_server. [Profiles] has those of known servers.
type Profile struct {
	PingHeader    http.Header // of ping, beside the capabilities
	LockedPing    LockedPing  // ping of a private server without a login
	NoUsersRoutes bool        // has no login
	Anonymous400  bool        // a login without credentials is 400
	WrongLogin    http.Header // of the 401, in place of conan_server's
	NotFound      *Page       // in place of conan_server's 404
	// of the routes of the API that it does not speak, login included; nil: NotFound
	OtherAPI     *Page
	PrettyJSON   bool   // indented, and chunked without a length
	CacheControl string // of JSON
	TimeFormat   string // of revisions; empty: conan_server's
	ListKey      string // of the package in a list of package revisions; empty: none
	OldestFirst  bool   // revisions are listed in this order
	// revisions of an unknown recipe are an empty list, and a v1 snapshot of one is {}
	EmptyIfUnknown bool
	NoRevisions    bool        // has latest, but no route for the list
	NullFiles      bool        // the values in a list of files are null
	Packages       PackageForm // of package search
	PrefixSearch   bool        // a search wants q, finds names that begin with it, and nothing for *
	Checksums      bool        // files have X-Checksum headers and the sha1 as unquoted ETag
	RedirectFiles  bool        // files are at another host by signed URLs, where an Authorization is 400
	NoHead         bool        // HEAD of a file is 404
}

// LockedPing is the answer of a private server to a ping without a login.
type LockedPing int

// The answers. PingOpen is that of conan_server: as if a login came with it.
const (
	PingOpen              LockedPing = iota
	Ping401                          // without the capability header
	PingEmptyCapabilities            // 401 with the header, empty
)

// PackageForm is what package search tells of a binary.
type PackageForm int

// The forms.
const (
	TextAndParsed PackageForm = iota // conaninfo.txt and its settings and options
	ParsedOnly                       // settings, options and requires
)

// Page is an answer of fixed content.
type Page struct {
	Status      int
	ContentType string
	Body        string
}

func (p Page) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", p.ContentType)
	w.WriteHeader(p.Status)
	w.Write([]byte(p.Body))
}

// jsonPage is an error as Artifactory writes it.
func jsonPage(status int, message string) *Page {
	return &Page{Status: status, ContentType: "application/json",
		Body: fmt.Sprintf("{\n  \"errors\" : [ {\n    \"status\" : %d,\n    \"message\" : %q\n  } ]\n}", status, message)}
}

// Refused is a Fault that refuses one thing as Artifactory's curation does.
func Refused(route string) Fault {
	p := jsonPage(http.StatusForbidden, "Artifact download request rejected: blocked by policy 'no-gpl'.")
	return Fault{Route: route, Status: p.Status, ContentType: p.ContentType, Body: Text(p.Body)}
}

// Profiles are Options of known servers, by name. The sources are public recordings and sources of
// these servers. Each may be changed further: with users, private, with another prefix.
func Profiles() map[string]Options {
	artifactory := Profile{
		PingHeader: http.Header{
			"X-Conan-Server-Version": {"0.20.0"}, "X-Jfrog-Version": {"Artifactory/7.161.20"},
			"X-Artifactory-Id": {"2f1c0fe0a1d7f5d8:-6c2c6d4b:19:-8000"}, "X-Artifactory-Node-Id": {"node-1"},
		},
		LockedPing: Ping401,
		WrongLogin: http.Header{"Www-Authenticate": {`Basic realm="Artifactory Realm"`}, "Content-Type": {"application/json;charset=ISO-8859-1"}},
		NotFound:   jsonPage(http.StatusNotFound, "Not Found"),
		OtherAPI:   jsonPage(http.StatusBadRequest, "Unsupported Conan v1 repository request"),
		PrettyJSON: true,
		TimeFormat: "2006-01-02T15:04:05.000-0700",
		ListKey:    "packageReference",
		Checksums:  true,
	}
	artifactoryOptions := func(change func(*Profile)) Options {
		p := artifactory
		if change != nil {
			change(&p)
		}
		return Options{
			API: V2, Prefix: "/artifactory/api/conan/conan-local", UnderscoreRefs: true, Validator: NoValidator, Profile: p,
			Capabilities: "complex_search,checksum_deploy,revisions,matrix_params",
		}
	}
	old := artifactoryOptions(func(p *Profile) {
		p.OtherAPI = jsonPage(http.StatusInternalServerError, "Unsupported Conan v2 repository request")
		p.LockedPing = PingEmptyCapabilities
	})
	old.API, old.FileURLs, old.Unsigned, old.Capabilities = V1, Absolute, true, "complex_search"
	center := artifactoryOptions(func(p *Profile) {
		p.PingHeader = http.Header{"Server": {"nginx/1.21.4"}, "Via": {"1.1 google"}, "X-Conan-Server-Version": {"0.20.0"}}
		p.NoUsersRoutes, p.CacheControl = true, "public,max-age=300"
	})
	center.Prefix, center.Capabilities = "", center.Capabilities+",only_v2"
	gitlab := Profile{
		NotFound:   &Page{http.StatusNotFound, "application/json", `{"message":"404 Package Not Found"}`},
		TimeFormat: "2006-01-02T15:04:05.000-0700", EmptyIfUnknown: true, Packages: ParsedOnly, PrefixSearch: true,
	}
	gitlabProject := Options{Prefix: "/api/v4/projects/9/packages/conan", Capabilities: "revisions", Profile: gitlab, Validator: NoValidator}
	gitlabInstance := gitlabProject
	gitlabInstance.Prefix, gitlabInstance.API, gitlabInstance.FileURLs, gitlabInstance.Unsigned = "/api/v4/packages/conan", V1, Absolute, true
	early := gitlabProject
	early.API, early.Profile.NoRevisions = V2, true
	return map[string]Options{
		"artifactory":         artifactoryOptions(nil),
		"artifactory virtual": artifactoryOptions(func(p *Profile) { p.OldestFirst, p.EmptyIfUnknown = true, true }),
		"artifactory cloud":   artifactoryOptions(func(p *Profile) { p.RedirectFiles = true }),
		"artifactory 6, v1":   old,
		"conancenter":         center,
		"nexus": {
			API: V2, Prefix: "/repository/conan", Capabilities: "revisions", Validator: ETag,
			Profile: Profile{
				LockedPing: Ping401, NoHead: true,
				NotFound: &Page{http.StatusNotFound, "text/html", "<!DOCTYPE html>\n<html><head><title>404 - Nexus Repository</title></head><body>Not Found</body></html>"},
			},
		},
		"gitlab":               gitlabProject,
		"gitlab, instance":     gitlabInstance,
		"gitlab, no revisions": early,
		"gitea": {
			Prefix: "/api/packages/me/conan", Capabilities: "revisions", FileURLs: Absolute, Unsigned: true, Validator: LastModified,
			Profile: Profile{
				TimeFormat: "2006-01-02T15:04:05-07:00", Anonymous400: true, NullFiles: true, Packages: ParsedOnly,
				NotFound: &Page{http.StatusNotFound, "application/json", `{"errors":[{"message":"package does not exist"}]}`},
			},
		},
	}
}

// document writes JSON as the server does.
func (s *Server) document(w http.ResponseWriter, v any) {
	p := s.options.Profile
	encode := json.Marshal
	if p.PrettyJSON {
		encode = func(v any) ([]byte, error) { return json.MarshalIndent(v, "", "  ") }
	}
	b, err := encode(v)
	must(err)
	w.Header().Set("Content-Type", "application/json")
	if p.CacheControl != "" {
		w.Header().Set("Cache-Control", p.CacheControl)
	}
	if p.PrettyJSON {
		w.Header().Set("Transfer-Encoding", "chunked")
	}
	w.Write(b)
}

// missing says that something is not there.
func (s *Server) missing(w http.ResponseWriter, what fmt.Stringer) {
	switch {
	case s.options.Profile.NotFound != nil:
		s.options.Profile.NotFound.write(w)
	case what == nil:
		notFoundPage(w)
	default:
		plain(w, http.StatusNotFound, fmt.Sprintf("Recipe or package not found: '%s'", what))
	}
}

// otherAPI answers the routes of an API that the server does not speak.
func (s *Server) otherAPI(w http.ResponseWriter) {
	if p := s.options.Profile.OtherAPI; p != nil {
		p.write(w)
		return
	}
	s.missing(w, nil)
}

// prefixed finds references as GitLab does.
func (s *Server) prefixed(w http.ResponseWriter, q string) {
	results := []string{}
	for rev := range s.sets {
		text := rev.Ref.String()
		if q != "*" && !rev.IsPackage() && strings.HasPrefix(text, strings.TrimRight(q, "*")) {
			results = append(results, text)
		}
	}
	slices.Sort(results)
	s.document(w, map[string]any{"results": slices.Compact(results)})
}

// fileHeader sets what Artifactory tells of a file.
func fileHeader(h http.Header, set Set, name string) {
	info, _ := set.Snapshot().Find(name)
	h.Set("ETag", info.SHA1)
	h.Set("X-Checksum-Md5", info.MD5)
	h.Set("X-Checksum-Sha1", info.SHA1)
	h.Set("X-Checksum-Sha256", info.SHA256)
	h.Set("X-Artifactory-Filename", path.Base(name))
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": path.Base(name)}))
	h.Set("Last-Modified", set.Time.UTC().Format(http.TimeFormat))
}

// redirectFile sends for a file to the other host, by a signed URL.
func (s *Server) redirectFile(w http.ResponseWriter, r *http.Request) {
	s.serial++
	signature := fmt.Sprintf("signature-%d", s.serial)
	s.signatures[signature] = r.URL.Path
	host := strings.Replace(s.foreign, "127.0.0.1", "localhost", 1)
	w.Header().Set("Location", "http://"+host+r.URL.EscapedPath()+"?X-Amz-Signature="+signature)
	w.WriteHeader(http.StatusFound)
}

// stored answers the other host of RedirectFiles, which knows signatures only.
func (s *Server) stored(w http.ResponseWriter, r *http.Request) (ok bool) {
	switch {
	case r.Header.Get("Authorization") != "":
		plain(w, http.StatusBadRequest, "Only one auth mechanism allowed")
	case s.signatures[r.URL.Query().Get("X-Amz-Signature")] != r.URL.Path:
		plain(w, http.StatusForbidden, "Request has expired")
	default:
		return true
	}
	return false
}

// parsed is what Gitea and GitLab tell of a package.
func parsed(info conan.Info) map[string]any {
	return map[string]any{"settings": info.Settings, "options": info.Options, "requires": info.Requires, "recipe_hash": nil}
}
