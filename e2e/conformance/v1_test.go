package conformance

import (
	"testing"

	"conanproxy/internal/conantest"
	"conanproxy/internal/harness"
)

// v1World is what the cases of the v1 API share: a server with some packages, and one with
// upstreams. Every case has names of its own beside these.
type v1World struct {
	*site
	front *front
	hello conantest.Set // hello/1.0@demo/testing
	lib   conantest.Set // a package of it
	nouc  conantest.Set // nouc/2.0
	big   conantest.Set // a package of nouc, larger than 700 kB
}

// TestConformanceV1 runs the catalogue of the v1 API against the built program. The flows of real
// clients stand here as the requests that those clients send; the tests of the clients themselves
// are elsewhere.
func TestConformanceV1(t *testing.T) {
	t.Parallel()
	w := newV1World(t)
	runCases(t, w, 92, v1Cases)
}

func newV1World(t *testing.T) *v1World {
	t.Helper()
	w := &v1World{
		site: startSite(t, harness.Settings{"auth": harness.Settings{
			"read": []harness.Settings{
				{"pattern": "private*", "users": []string{"ann"}},
				{"pattern": "*", "users": []string{"*"}},
			},
			"write": []harness.Settings{
				{"pattern": "frozen*", "users": []string{"ann"}},
				{"pattern": "private*", "users": []string{"ann"}},
				{"pattern": "*", "users": []string{"?"}},
			},
		}}),
		front: startFront(t, v1Upstreams),
	}
	w.hello = conantest.Recipe("hello", "1.0", conantest.Owner("demo", "testing"), conantest.Conan1(),
		conantest.File("data.txt", "exported"), conantest.Source("src/hello.c", "int hello;"))
	w.lib = conantest.Package(w.hello, conantest.Conan1())
	w.nouc = conantest.Recipe("nouc", "2.0", conantest.Conan1())
	w.big = conantest.Package(w.nouc, conantest.Conan1(), conantest.Random("lib/big.a", 750_000))
	w.publish1(t, "demo", w.hello, w.lib, w.nouc, w.big)
	return w
}

var v1Cases = []conformanceCase[*v1World]{
	// The surface of the protocol.
	{number: 1, name: "ping answers everybody", run: v1Ping},
	{number: 2, name: "authenticate", run: v1Authenticate},
	{number: 3, name: "authenticate refuses", run: v1AuthenticateRefuses},
	{number: 4, name: "check_credentials", run: v1CheckCredentials},
	{number: 5, name: "JSON is exactly application/json", run: v1JSON},
	{number: 6, name: "success is exactly 200", run: v1Exactly200},
	{number: 7, name: "unknown routes and methods", run: v1UnknownRoutes},
	{number: 8, name: "HEAD on every GET route", run: v1Head},
	{number: 9, name: "unknown query arguments are ignored", run: v1UnknownArguments},
	{number: 10, name: "paths that are not clean are never redirected", run: v1UncleanPaths,
		differs: "a writer's path with an empty segment is 400, not 404: he is to be told what is wrong with it"},
	{number: 11, name: "foreign headers are accepted", run: v1ForeignHeaders},
	{number: 12, name: "matrix parameters are no part of a name", run: v1MatrixParameters},

	// References.
	{number: 13, name: "reference without user and channel", run: v1NoUser},
	{number: 14, name: "every legal character survives the round trip", run: v1LegalCharacters},
	{number: 15, name: "case makes another recipe", run: v1Case},
	{number: 16, name: "lengths of names and versions", run: v1Lengths},
	{number: 17, name: "only one of user and channel", run: v1HalfOwner},
	{number: 18, name: "illegal names", run: v1IllegalNames},
	{number: 19, name: "illegal package ids", run: v1IllegalPackageIDs},
	{number: 20, name: "unusual versions", run: v1UnusualVersions},
	{number: 21, name: "traversal on the file route", run: v1Traversal,
		differs: "a signature of another path is 403 even where no file can be: credentials are looked at before names"},

	// Reading.
	{number: 22, name: "missing recipe", run: v1MissingRecipe},
	{number: 23, name: "missing package", run: v1MissingPackage},
	{number: 24, name: "recipe without binaries", run: v1NoBinaries},
	{number: 25, name: "digest lists the manifest only", run: v1Digest},
	{number: 26, name: "a recipe without its manifest is invisible", run: v1Staged},
	{number: 27, name: "URLs resolve with and without slash, prefix and TLS", run: v1URLsResolve},
	{number: 28, name: "URLs under two host names", run: v1TwoHosts},
	{number: 29, name: "headers of a file", run: v1FileHeaders},
	{number: 30, name: "range from the middle", run: v1Range},
	{number: 31, name: "range past the end, several ranges", run: v1OddRanges},
	{number: 32, name: "a cut download is resumed", run: v1Resume},
	{number: 33, name: "signatures of downloads", run: v1Signatures},
	{number: 34, name: "a valid signature beside an unrelated Authorization", run: v1Netrc},
	{number: 35, name: "large files in constant memory", run: v1Large,
		differs: "48 MB are sent for memory's sake; 5 GB are announced, begun and cut, since writing them would take minutes"},
	{number: 36, name: "package search over odd conaninfo", run: v1OddInfo},
	{number: 37, name: "package search ignores its query", run: v1PackageQuery},

	// Recipe search.
	{number: 38, name: "patterns", run: v1SearchPatterns},
	{number: 39, name: "no pattern finds everything readable", run: v1SearchEverything},
	{number: 40, name: "nothing matches", run: v1SearchNothing},
	{number: 41, name: "hostile patterns", run: v1SearchHostile,
		differs: "a pattern of 1 MB is 431: a request line of that length is refused before it is looked at"},
	{number: 42, name: "references of Conan 2 are not listed", run: v1SearchConan2Only},
	{number: 43, name: "sorted, unique, without revisions", run: v1SearchForm},
	{number: 44, name: "anonymous search beside private references", run: v1SearchPrivate},
	{number: 45, name: "version range without user and channel", run: v1SearchRange},

	// Upload.
	{number: 46, name: "new recipe and package over signed and unsigned URLs", run: v1Upload},
	{number: 47, name: "a probe stores nothing", run: v1Probe},
	{number: 48, name: "a probe with a body", run: v1ProbeWithBody},
	{number: 49, name: "genuine empty files", run: v1EmptyFiles},
	{number: 50, name: "a body that is cut", run: v1CutBody},
	{number: 51, name: "a body of another length than announced", run: v1WrongLength},
	{number: 52, name: "wrong X-Checksum-Sha1", run: v1WrongChecksum},
	{number: 53, name: "announcements that are refused whole", run: v1BadAnnouncements},
	{number: 54, name: "the answer has exactly the announced names", run: v1AnnouncedNames},
	{number: 55, name: "a new recipe of which a file fails", run: v1FailedFile},
	{number: 56, name: "a changed recipe of which a file fails", run: v1FailedChange},
	{number: 57, name: "the order of old clients", run: v1ManifestFirst},
	{number: 58, name: "only changed files are announced", run: v1PartialUpload},
	{number: 59, name: "remove_files", run: v1RemoveFiles,
		differs: "a name that the manifest implies is 400: a revision never loses what its manifest lists"},
	{number: 60, name: "package without a recipe", run: v1NoRecipe},
	{number: 61, name: "announcements of those who may not", run: v1MayNotAnnounce},
	{number: 62, name: "a large upload is refused with a reason", run: v1RefusedLarge,
		differs: "24 MB in place of 1 GB: what is read of a refused body is bounded at 64 MB"},
	{number: 63, name: "storing fails", run: v1StorageFails},
	{number: 64, name: "two uploaders of one reference", run: v1TwoUploaders},
	{number: 65, name: "a reader with URLs from before", run: v1OldURLs},
	{number: 66, name: "an upload that outlasts its signature", run: v1OutlastsSignature},
	{number: 67, name: "the same content again", run: v1SameAgain},
	{number: 68, name: "overwriting is forbidden", run: v1NoOverwriting,
		differs: "there is no rule against overwriting, since nothing is ever overwritten; a write rule refuses at upload_urls"},
	{number: 69, name: "upload over a recipe of Conan 2", run: v1OverConan2},

	// Delete.
	{number: 70, name: "delete twice", run: v1DeleteTwice},
	{number: 71, name: "delete all packages", run: v1DeleteAllPackages},
	{number: 72, name: "delete a known and an unknown package", run: v1DeleteSomePackages},
	{number: 73, name: "bodies that name no packages", run: v1DeleteBadBodies},
	{number: 74, name: "anonymous delete tells nothing", run: v1DeleteAnonymous},
	{number: 75, name: "delete during a download", run: v1DeleteDuringDownload},

	// Logins, as clients go about them.
	{number: 76, name: "expired token with a password at hand", run: v1ExpiredToken},
	{number: 77, name: "valid user without the right", run: v1NoRight},
	{number: 78, name: "wrong password", run: v1WrongPassword},
	{number: 79, name: "anonymous install from a private server", run: v1PrivateInstall},
	{number: 80, name: "expired token on a public read", run: v1ExpiredPublic},

	// Upstreams.
	{number: 81, name: "upstream's signed URLs expire", run: v1UpstreamExpires},
	{number: 82, name: "file request first", run: v1FileFirst},
	{number: 83, name: "forms of upstream's URLs", run: v1UpstreamURLForms},
	{number: 84, name: "forms of upstream's JSON", run: v1UpstreamJSON},
	{number: 85, name: "upstream fails, nothing cached", run: v1UpstreamFails,
		differs: "503 while trying again can help, and then 424, whose text clients show; never 404: that makes clients build from source"},
	{number: 86, name: "upstream fails, with a copy", run: v1UpstreamStale,
		differs: "what is not stored is 503 at first and then 424, whose text clients show"},
	{number: 87, name: "upload at upstream within and after the fresh time", run: v1UpstreamChanges},
	{number: 88, name: "bytes that are not the snapshot's", run: v1UpstreamWrongBytes},
	{number: 89, name: "fifty cold installs", run: v1FiftyInstalls},
	{number: 90, name: "what the client says of itself stays here", run: v1Privacy},
	{number: 91, name: "upload through a read-only view", run: v1ReadOnlyView,
		differs: "a delete of what only an upstream has is 409, not 404, whose text clients hide"},
	{number: 92, name: "redirect to object storage", run: v1ObjectStorage},
}
