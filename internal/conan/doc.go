// Package conan is the vocabulary that every package of conanproxy shares:
// references and revisions, file lists, the manifest and conaninfo formats,
// search patterns, errors, and the two seams [Source] and [Publisher].
//
// Everything untrusted is parsed here, once, at the edge; inside the program
// there are no raw strings for references. The package imports no other package of it.
package conan
