// Package upstream is the client of one remote Conan server. A [Remote] answers the questions of
// [conan.Remote] by asking a server that speaks v2 (revisions), or v1 only: there the revisions are
// computed from the manifests.
//
// The files, from the seam to the wire:
//
//	remote.go      options, the seam, what an error means to the caller
//	protocol.go    ping, and which dialect is believed: v1 or v2
//	v2.go          the routes of v2
//	v1.go          the questions of v1; v1folder.go, v1listing.go, v1urls.go, v1body.go the state of its folders
//	search.go packages.go times.go   answers that both dialects share
//	document.go    small answers, bounded, in memory
//	body.go        file bodies; resume.go continues those that are cut, version.go tells whether it is the same file
//	budget.go      slots for connections, shared fairly
//	retry.go       the only place that asks again
//	breaker.go     stops questions to a server that is down
//	exchange.go    one question over the wire; origin.go where credentials and redirects may go
//	token.go       login
//	classify.go    what an answer is worth; failure.go the kinds, sentence.go the server's own words
//	transport.go watchdog.go   connections, and the end of silent ones
//
// Nothing of the client that caused a question goes upstream, and the credentials go to no
// other origin than the configured ones.
package upstream
