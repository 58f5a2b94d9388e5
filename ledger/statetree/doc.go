// Package statetree keeps the state of a chain on a kv.Store and knows its
// application hash. It is the only package that touches IAVL.
//
// # Two levels
//
// Registry keys are leaves of an IAVL tree. Rows of dense tables (chain.Table)
// are too many and change too often for that: 1,024 of them make a page, a flat
// Merkle tree whose root is one IAVL leaf. Package stateproof defines every hash.
// Values and rows themselves lie flat in the store, sorted by state key, so that
// a read costs one look-up and a range one scan; the IAVL tree holds hashes only.
//
//	'd' | state key   value of a registry key, or row
//	't' | node key    nodes of the IAVL tree, written by IAVL
//	'm'               height, IAVL version, application hash and tables
//	'o'               oldest IAVL version kept, once one was pruned
//	'r'               a restore has begun and not finished
//
// # A block
//
// Prepare computes the application hash of a block and shows nothing of it to
// readers. WriteTo puts everything the block changes into the caller's batch,
// each key once, in order. When that batch is durable, Apply shows the block.
// A Prepare may be followed by another Prepare, which drops the first. After
// WriteTo there is no way back: if the batch cannot be committed, the Tree must
// be closed and opened again.
//
// A block that changes nothing, by having no changes or by writing what is there
// already, keeps the application hash and writes only the height. IAVL counts
// versions, and versions enter its hashes, so such a block makes no version: the
// version is the number of blocks that changed something, which is the same on
// every replica.
//
// # Reading
//
// Read hands out a chain.View of the last applied height for the length of a
// call. Pages that were written to lately are in memory, within a budget, and
// their rows are read without allocation; the rest comes from a snapshot of the
// store taken at that height. Apply waits for running calls of Read, so they must
// be short. OpenSnapshot gives a view that may live long and reads the store only.
//
// # Moving a state
//
// Snapshot.Export writes a state as records that prove each other up to the
// application hash, Tree.Restore takes them into an empty tree. The restored state
// is the same to every reader, and gives the same application hashes ever after.
//
// # Versions
//
// The last Options.KeepVersions versions of the IAVL tree are kept. Prune deletes
// older ones and is meant to be called between blocks.
package statetree
