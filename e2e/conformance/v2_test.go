package conformance

import (
	"testing"

	"conanproxy/internal/conantest"
	"conanproxy/internal/harness"
)

// v2World is what the cases of the v2 API share: a server with some packages, and one with
// upstreams. Every case has names of its own beside these.
type v2World struct {
	*site
	front *front
	hello conantest.Set // hello/1.0
	lib   conantest.Set // a package of it, larger than 700 kB
}

// TestConformanceV2 runs the catalogue of the v2 API against the built program. The flows of real
// clients stand here as the requests that those clients send; the tests of the clients themselves
// are elsewhere.
func TestConformanceV2(t *testing.T) {
	t.Parallel()
	runCases(t, newV2World(t), 78, v2Cases)
}

func newV2World(t *testing.T) *v2World {
	t.Helper()
	w := &v2World{
		site: startSite(t, harness.Settings{"auth": harness.Settings{
			"read":  []harness.Settings{{"pattern": "private*", "users": []string{"ann"}}, {"pattern": "*", "users": []string{"*"}}},
			"write": []harness.Settings{{"pattern": "private*", "users": []string{"ann"}}, {"pattern": "frozen*", "users": []string{"ann"}}, {"pattern": "*", "users": []string{"?"}}},
		}}),
		front: startFront(t, v2Upstreams, harness.Settings{"local": harness.Settings{"owns": []string{"owned-*"}}}),
	}
	w.hello = conantest.Recipe("hello", "1.0", conantest.File("data.txt", "exported"), conantest.Source("src/hello.c", "int hello;"))
	w.lib = conantest.Package(w.hello, conantest.Random("lib/libhello.a", 750_000))
	w.publish2(t, "demo", w.hello, w.lib)
	return w
}

var v2Cases = []conformanceCase[*v2World]{
	// The surface of the protocol.
	{number: 1, name: "ping announces revisions", run: v2Ping},
	{number: 2, name: "ping under every mount and prefix", run: v2PingMounts},
	{number: 3, name: "ping with an expired token", run: v2PingExpired},
	{number: 4, name: "ping of a private repository", run: v2PingPrivate},
	{number: 5, name: "JSON is exactly application/json", run: v2JSON},
	{number: 6, name: "authenticate", run: v2Authenticate},
	{number: 7, name: "authenticate with a wrong password", run: v2WrongPassword},
	{number: 8, name: "authenticate with a token", run: v2AuthenticateBearer},
	{number: 9, name: "password with colon and non-ASCII", run: v2ColonPassword},
	{number: 10, name: "check_credentials", run: v2CheckCredentials},
	{number: 11, name: "upload without the right", run: v2NoRight},
	{number: 12, name: "a valid token is never told to log in", run: v2NeverLogin},
	{number: 13, name: "authenticate on the v1 route", run: v2AuthenticateV1},

	// Search.
	{number: 14, name: "patterns", run: v2SearchPatterns},
	{number: 15, name: "nothing beyond the pattern", run: v2SearchExact},
	{number: 16, name: "plus in a version", run: v2SearchPlus},
	{number: 17, name: "anonymous search beside private references", run: v2SearchPrivate},

	// Revisions.
	{number: 18, name: "latest of something unknown", run: v2LatestUnknown},
	{number: 19, name: "times", run: v2Times},
	{number: 20, name: "newest first", run: v2NewestFirst},
	{number: 21, name: "publications at once have distinct times", run: v2DistinctTimes},
	{number: 22, name: "forced upload of the latest", run: v2ForceLatest},
	{number: 23, name: "forced upload of the oldest", run: v2ForceOldest,
		differs: "within a minute of its publication a revision keeps its time, so that parallel jobs do not reorder each other"},
	{number: 24, name: "delete after a forced upload", run: v2DeleteForced},
	{number: 25, name: "delete the latest", run: v2DeleteLatest},
	{number: 26, name: "delete the last", run: v2DeleteLast},
	{number: 27, name: "every DELETE is 200, then 404", run: v2Deletes},
	{number: 28, name: "delete packages without a token", run: v2DeletePackagesAnonymous},
	{number: 29, name: "delete packages where there are none", run: v2DeleteNoPackages},
	{number: 30, name: "all but the latest by position", run: v2NotLatest},

	// Upload.
	{number: 31, name: "a recipe without its manifest is invisible", run: v2NoManifest},
	{number: 32, name: "a manifest after a failed archive", run: v2FailedArchive},
	{number: 33, name: "a body that is cut", run: v2CutBody},
	{number: 34, name: "wrong X-Checksum-Sha1", run: v2WrongChecksum},
	{number: 35, name: "chunked empty conaninfo", run: v2EmptyInfo},
	{number: 36, name: "large files in constant memory", run: v2Large,
		differs: "48 MB are sent for memory's sake; 5 GiB are begun and cut, since writing them would take minutes"},
	{number: 37, name: "checksum deploy of unknown bytes", run: v2ProbeUnknown},
	{number: 38, name: "checksum deploy of known bytes", run: v2ProbeKnown},
	{number: 39, name: "package without a recipe", run: v2NoRecipe},
	{number: 40, name: "names of metadata", run: v2MetadataNames},
	{number: 41, name: "metadata on an old revision", run: v2MetadataLater},
	{number: 42, name: "archives of another compression", run: v2Compression},

	// Reading.
	{number: 43, name: "headers of a file", run: v2FileHeaders},
	{number: 44, name: "range from the middle", run: v2Range},
	{number: 45, name: "range past the end", run: v2RangePastEnd},
	{number: 46, name: "a cut download is resumed", run: v2Resume},
	{number: 47, name: "unknown file", run: v2UnknownFile},
	{number: 48, name: "traversal in every variable", run: v2Traversal},
	{number: 49, name: "redirect of a file to another host", run: v2Redirect,
		differs: "files are never answered with a redirect: the program follows that of its upstream itself"},
	{number: 50, name: "binaries of both generations", run: v2BothGenerations},
	{number: 51, name: "list_only", run: v2ListOnly},
	{number: 52, name: "package search of an unknown revision", run: v2UnknownRevision},
	{number: 53, name: "package search of an unknown reference", run: v2UnknownReference},
	{number: 54, name: "a pinned revision that is not the latest", run: v2Pinned},
	{number: 55, name: "newest package revisions", run: v2NewestPackages},
	{number: 56, name: "parallel uploads of one reference", run: v2ParallelUploads},
	{number: 57, name: "a reader during a forced upload", run: v2ReaderDuringUpload},
	{number: 58, name: "user without channel", run: v2UserOnly},
	{number: 59, name: "upper case", run: v2UpperCase,
		differs: "upper case is accepted, since Conan 1 has it; what matters is that no path is folded"},
	{number: 60, name: "HEAD on every GET route", run: v2Head},

	// Upstreams.
	{number: 61, name: "cold install through the proxy and without it", run: v2ColdInstall},
	{number: 62, name: "install with upstream stopped", run: v2Offline,
		differs: "what is not stored is 503 at first and then 424, whose text clients show"},
	{number: 63, name: "upstream fails on the latest package", run: v2UpstreamFails,
		differs: "503 at first and then 424, whose text clients show"},
	{number: 64, name: "a hundred questions for a missing binary", run: v2HundredMisses,
		differs: "upstream is asked for latest and revisions at once, each one time: either may know the newest"},
	{number: 65, name: "a binary that appears upstream", run: v2AppearsLater},
	{number: 66, name: "upstream refuses the program", run: v2UpstreamDenies,
		differs: "424 instead of 503: trying again does not help, and clients show the text"},
	{number: 67, name: "odd content types of upstream", run: v2UpstreamJSON},
	{number: 68, name: "upstream's times", run: v2UpstreamTimes},
	{number: 69, name: "upstream's @_/_", run: v2Underscores},
	{number: 70, name: "truncated archive upstream", run: v2Truncated,
		differs: "424 instead of 503 where the bytes are wrong, not only cut"},
	{number: 71, name: "tampered archive upstream", run: v2Tampered,
		differs: "424 instead of 503: trying again does not make the bytes right"},
	{number: 72, name: "a listing that is completed later", run: v2CompletedLater},
	{number: 73, name: "recipe here and upstream, binary only here", run: v2LocalBinary},
	{number: 74, name: "an older revision copied to the local store", run: v2OlderCopied},
	{number: 75, name: "an owned name is not asked upstream", run: v2Owned},
	{number: 76, name: "upload to the local view of what upstream has", run: v2UploadKnown},
	{number: 77, name: "package upload for a recipe of upstream", run: v2Adopt},
	{number: 78, name: "revision 0 of upstream", run: v2RevisionZero},
}
