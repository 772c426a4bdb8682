// Package cache is a conan.Source over any conan.Source: it remembers what an upstream said for as long as that may
// be believed, keeps the files that were asked for, and goes on answering when the upstream does not.
//
// One [Cache] stands in front of one upstream; all of them share one [Quota], which reserves room before bytes are
// written and evicts the coldest revisions. Nothing that was not verified is stored or served to its end.
package cache
