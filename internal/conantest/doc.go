// Package conantest is what the tests of every package need of the Conan world.
//
// # Sets of files
//
// [Recipe] and [Package] build the files of a revision as the clients do: a recipe, a
// manifest with the right md5 lines, archives, conaninfo.txt, and the revision and package
// ids that follow from them. The same arguments always give the same bytes.
//
//	zlib := conantest.Recipe("zlib", "1.3", conantest.File("conandata.yml", "x"), conantest.Source("src/a.c", "int a;"))
//	lib := conantest.Package(zlib, conantest.Random("lib/libz.a", 1<<20))
//	next := conantest.Recipe("zlib", "1.3", conantest.Code("# fixed"), conantest.Published(later)) // another revision
//	old := conantest.Package(zlib, conantest.Conan1())                                            // a binary of Conan 1
//
// # A server
//
// [NewServer] serves such sets on 127.0.0.1 as conan_server does, by the v1 API, the v2 API
// or both. It keeps a log, and breaks where it is told to:
//
//	srv := conantest.NewServer(t, conantest.V2, zlib, lib)
//	srv.Fault(conantest.Fault{Route: "GET */latest", Count: 2, Status: 503, Header: http.Header{"Retry-After": {"1"}}})
//	srv.Fault(conantest.Fault{Route: "*/conan_package.tgz", Count: 1, Cut: conantest.At(1000)})
//	… use srv.URL …
//	if n := srv.Count("GET */conan_package.tgz"); n != 1 { … }
//
// Login, signed URLs, foreign hosts and the like are [Options] of [NewServerWith]. [Profiles] are
// the Options of servers other than conan_server: Artifactory, ConanCenter, Nexus, GitLab, Gitea.
//
// # A network
//
// [NewRelay] stands between a client and a server and breaks what is below HTTP: resets,
// stalls, slow lines.
//
// # Contract suites
//
// [TestSource] and [TestPublisher] are what every conan.Source and conan.Publisher keeps.
package conantest
