package statetree

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/stateproof"
)

// First bytes of the keys in the store.
const (
	dataSpace = 'd'
	nodeSpace = 't'
	metaKey   = 'm'
	oldestKey = 'o'
)

// meta is the record of the last block.
type meta struct {
	recorded bool // false before the first block
	height   uint64
	version  int64 // of the IAVL tree
	root     ledger.Hash
}

const (
	metaVersion = 1
	metaSize    = 1 + 8 + 8 + ledger.HashSize
	tableSize   = 1 + 4
)

// encode returns 1 | height u64 | version u64 | root | tables, each table as
// prefix and row size u32, in order of prefix.
func (m *meta) encode(tables []chain.Table) []byte {
	b := make([]byte, 0, metaSize+tableSize*len(tables))
	b = append(b, metaVersion)
	b = binary.BigEndian.AppendUint64(b, m.height)
	b = binary.BigEndian.AppendUint64(b, uint64(m.version))
	b = append(b, m.root[:]...)
	for _, t := range sortedTables(tables) {
		b = append(b, t.Prefix)
		b = binary.BigEndian.AppendUint32(b, uint32(t.RowSize))
	}
	return b
}

// loadMeta reads the record, which must have been written for the same tables.
func loadMeta(r kv.Reader, tables []chain.Table) (*meta, error) {
	b, err := r.Get([]byte{metaKey})
	if err != nil {
		return nil, fmt.Errorf("read the record of the last block: %w", err)
	}
	if b == nil {
		return &meta{root: stateproof.EmptyRoot()}, nil
	}
	if len(b) < metaSize || (len(b)-metaSize)%tableSize != 0 || b[0] != metaVersion {
		return nil, fmt.Errorf("the record of the last block is %x: the store is damaged or of another version", b)
	}
	m := &meta{
		recorded: true,
		height:   binary.BigEndian.Uint64(b[1:]),
		version:  int64(binary.BigEndian.Uint64(b[9:])),
		root:     ledger.Hash(b[17:metaSize]),
	}
	var stored []chain.Table
	for rest := b[metaSize:]; len(rest) > 0; rest = rest[tableSize:] {
		stored = append(stored, chain.Table{Prefix: rest[0], RowSize: int(binary.BigEndian.Uint32(rest[1:]))})
	}
	if m.version < 0 {
		return nil, errors.New("the record of the last block has a negative version: the store is damaged")
	}
	if want := sortedTables(tables); !slices.Equal(stored, want) {
		return nil, fmt.Errorf("the state has the tables %v, this program wants %v", stored, want)
	}
	return m, nil
}

// sortedTables returns tables in order of prefix.
func sortedTables(tables []chain.Table) []chain.Table {
	return slices.SortedFunc(slices.Values(tables), func(a, b chain.Table) int { return cmp.Compare(a.Prefix, b.Prefix) })
}
