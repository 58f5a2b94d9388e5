package statetree

import (
	"fmt"

	"github.com/tributary-network/tributary/chain"
)

// Defaults of Options.
const (
	DefaultPageCacheBytes     = 256 << 20
	DefaultRegistryCacheBytes = 16 << 20
	DefaultNodeCache          = 200_000
	DefaultKeepVersions       = 10
)

// MaxKeepVersions bounds Options.KeepVersions.
const MaxKeepVersions = 10_000

// Options of a Tree. Zero fields take their defaults.
type Options struct {
	// Tables are the dense tables of the state. They are recorded with the
	// first block and must be the same ever after.
	Tables []chain.Table
	// PageCacheBytes is the memory for pages. A page takes 64 bytes a row for
	// its hashes, and the rows themselves while there is room; without the rows
	// a read costs a look-up in the store, without the hashes the first write
	// into the page costs a scan of it (about half a millisecond). So 64 MiB
	// for each million rows is the least for steady work.
	PageCacheBytes int64
	// RegistryCacheBytes is the memory for values of registry keys.
	RegistryCacheBytes int64
	// NodeCache is the number of IAVL nodes kept in memory, about 450 bytes each.
	// A tree of n registry keys has 2n nodes; when they do not all fit, a new key
	// costs a multiple.
	NodeCache int
	// KeepVersions is the number of IAVL versions kept, from 1 to
	// MaxKeepVersions.
	KeepVersions int
}

func (o Options) withDefaults() (Options, error) {
	if o.PageCacheBytes == 0 {
		o.PageCacheBytes = DefaultPageCacheBytes
	}
	if o.RegistryCacheBytes == 0 {
		o.RegistryCacheBytes = DefaultRegistryCacheBytes
	}
	if o.NodeCache == 0 {
		o.NodeCache = DefaultNodeCache
	}
	if o.KeepVersions == 0 {
		o.KeepVersions = DefaultKeepVersions
	}
	switch {
	case o.PageCacheBytes < 0 || o.RegistryCacheBytes < 0 || o.NodeCache < 0:
		return o, fmt.Errorf("negative cache size")
	case o.KeepVersions < 1 || o.KeepVersions > MaxKeepVersions:
		return o, fmt.Errorf("keep %d versions, want 1 to %d", o.KeepVersions, MaxKeepVersions)
	}
	return o, nil
}
