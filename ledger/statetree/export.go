package statetree

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/cosmos/iavl"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/stateproof"
)

// exportCache is the number of nodes an export keeps in memory. It meets each node
// once.
const exportCache = 1_000

// Summary is what identifies a state and says how large it is.
type Summary struct {
	Height  uint64
	AppHash ledger.Hash
	Version int64  // of the IAVL tree; it enters the hashes of later blocks
	Leaves  uint64 // of the IAVL tree: registry keys and pages
	Rows    uint64
}

// Export calls emit with each record of the state, in order (see record.go), until
// emit fails or ctx ends. The record is valid during the call. A Tree that is given
// them all by Restore has the same application hash at the same height, and after
// every later block.
//
// It reads the store as it was when the snapshot was opened and delays nobody. A
// state in which no block ever changed anything has nothing to export.
func (s *Snapshot) Export(ctx context.Context, emit func(record []byte) error) (Summary, error) {
	sum, err := s.export(ctx, emit)
	if err != nil {
		return sum, fmt.Errorf("export the state at height %d: %w", s.head.height, err)
	}
	return sum, nil
}

func (s *Snapshot) export(ctx context.Context, emit func(record []byte) error) (Summary, error) {
	sum := Summary{Height: s.head.height, AppHash: s.head.root, Version: s.head.version}
	if s.head.version == 0 {
		return sum, errors.New("it is empty")
	}
	reader := &nodeStore{store: readOnly{s.snap.nodes}}
	tree := iavl.NewMutableTree(reader, exportCache, true, iavl.NewNopLogger())
	im, err := tree.GetImmutable(s.head.version)
	if err != nil {
		return sum, fmt.Errorf("read version %d of the tree: %w", s.head.version, err)
	}
	nodes, err := im.Export()
	if err != nil {
		return sum, err
	}
	defer nodes.Close()
	var at shape
	var buf []byte
	for {
		node, err := nodes.Next()
		if errors.Is(err, iavl.ErrorExportDone) {
			break
		}
		if err != nil {
			return sum, err
		}
		if err := ctx.Err(); err != nil {
			return sum, err
		}
		if buf, err = s.record(buf[:0], &at, node); err != nil {
			return sum, err
		}
		if err := emit(buf); err != nil {
			return sum, err
		}
	}
	// IAVL ends an export early, without a word, if it cannot read a node.
	if !at.whole() || at.leaves != uint64(im.Size()) || at.version != s.head.version {
		return sum, fmt.Errorf("the tree cannot be read: %d of %d leaves", at.leaves, im.Size())
	}
	sum.Leaves, sum.Rows = at.leaves, at.rows
	return sum, nil
}

// record appends the record of a node to buf.
func (s *Snapshot) record(buf []byte, at *shape, node *iavl.ExportNode) ([]byte, error) {
	rec := record{kind: recordInner, version: node.Version, height: node.Height}
	if node.Height > 0 {
		key, err := at.add(&rec, s.head.version)
		if err == nil && !bytes.Equal(key, node.Key) {
			err = fmt.Errorf("an inner node has the key %x, want %x: the store is damaged", node.Key, key)
		}
		return appendInner(buf, rec.version, rec.height), err
	}
	rec.key = node.Key
	table, number, ok := parsePageKey(node.Key)
	if !ok {
		rec.kind = recordValue
		var err error
		if rec.value, err = s.snap.Get(node.Key); err != nil {
			return nil, err
		}
		if rec.value == nil {
			return nil, fmt.Errorf("registry key %x is missing: the store is damaged", node.Key)
		}
		buf = appendValue(buf, rec.version, rec.key, rec.value)
	} else {
		rec.kind = recordPage
		var err error
		if rec.page, err = loadPage(s.snap, newPageID(table, number), s.schema.RowSize(table), s.empty); err != nil {
			return nil, err
		}
		buf = appendPage(buf, rec.version, rec.page)
	}
	if !bytes.Equal(rec.leaf(), node.Value) {
		return nil, fmt.Errorf("what lies under key %x differs from the tree: the store is damaged", node.Key)
	}
	_, err := at.add(&rec, s.head.version)
	return buf, err
}

// parsePageKey undoes stateproof.PageKey.
func parsePageKey(key []byte) (table byte, number uint64, ok bool) {
	if len(key) != pageKeySize || !bytes.Equal(key[:1], stateproof.PageKey(0, 0)[:1]) {
		return 0, 0, false
	}
	for _, b := range key[2:] {
		number = number<<8 | uint64(b)
	}
	return key[1], number, true
}

// readOnly is a reader as the Store that IAVL's nodes are read from.
type readOnly struct{ kv.Reader }

var errReadOnly = errors.New("the store is read only")

func (readOnly) NewBatch() kv.Batch             { return noBatch{} }
func (readOnly) Snapshot() (kv.Snapshot, error) { return nil, errReadOnly }
func (readOnly) Close() error                   { return nil }

type noBatch struct{}

func (noBatch) Set(_, _ []byte) error { return errReadOnly }
func (noBatch) Delete([]byte) error   { return errReadOnly }
func (noBatch) Commit(bool) error     { return errReadOnly }
func (noBatch) Discard()              {}
