// Package cache is a conan.Source over a conan.Remote: it remembers what an upstream said for as
// long as that may be used, stores the files that were asked for, and goes on answering when the
// upstream does not. Bytes that were not verified are neither stored nor served to their end.
//
// One [Cache] stands in front of one upstream; all of them share one space.Budget, which leases
// space before bytes are written and evicts the revisions that were unused longest.
//
// A question goes this way; the first place that has an answer gives it:
//
//	recall       refusal of a short time ago ──► not found, or the refusal
//	             document in memory, else in the index, that is fresh ──► hit
//	askUpstream  one question to upstream for all that ask the same ──► miss
//	fallBack     an older document, an older "not found", what is stored ──► stale
//
// and a file this way:
//
//	openHere     bytes that are being downloaded ──► miss, while they arrive
//	             bytes that are stored ──► hit
//	listedFile   the list of its revision, by ask
//	fetch        refusal of a short time ago ──► not found, or the refusal
//	             one fill for all that ask for the same file ──► miss, while it arrives
//	             no space to store it: pass hands it to one client ──► miss
//
// A file that may change is listed first, and what is stored of it is used while it is current
// (openMutable).
package cache
