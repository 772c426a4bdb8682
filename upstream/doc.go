// Package upstream is the client of one remote Conan server. A [Remote] answers the
// questions of [conan.Source] by asking a server that speaks v2 (revisions), or v1 only:
// there the revisions are computed from the manifests.
//
// The way of a question, from the outside in:
//
//	remote.go    the seam: which dialect, and what an error means to the caller
//	protocol.go  ping: v1 or v2
//	v2.go v1.go  the routes of one dialect; v1state.go what is known of a v1 folder
//	document.go  small JSON answers, bounded, in memory
//	body.go      file bodies that continue by themselves when they are cut
//	budget.go    the places of the connections, shared fairly
//	retry.go     the only place that asks again
//	breaker.go   stops asking a server that does not answer
//	exchange.go  one question over the wire: Authorization, redirects
//	classify.go     what an answer is worth
//	transport.go watchdog.go  connections, and the end of silent ones
//
// Nothing of the client that caused a question goes upstream, and the credentials go to no
// other host than the configured one.
package upstream
