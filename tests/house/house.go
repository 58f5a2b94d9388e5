// Package house holds the rules of the tree itself as tests: which folders
// exist, which versions are linked, how files are formatted and how long they
// may be, and that what the README promises is there to be run.
//
// A rule that the compiler or the linter can hold is not repeated here. The
// tests look at the files that git tracks or would track, so that a build
// directory or an editor's files do not matter; without git (an unpacked
// archive) they look at every file but dot-folders and build/.
package house
