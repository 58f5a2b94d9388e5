// Package stateproof proves what a chain's state holds under a key to somebody
// who knows only an application hash. It verifies without badger or IAVL, so
// that clients can use it, and defines how ledger/statetree hashes.
//
// The application hash is the root of an IAVL tree. Its leaves are:
//
//	registry key           SHA256(value)
//	0x00 | table | page    root of a page of a dense table
//
// where table is the prefix byte of the table and page a big-endian u64. Page p
// of a table holds the rows 1024p to 1024p+1023 as a Merkle tree of ten levels:
//
//	row      SHA256(0x00 | table | index u64 | row bytes)
//	no row   SHA256(0x02)
//	inner    SHA256(0x01 | left | right)
//
// A page without rows has no leaf. No state key begins with 0x00, and a key that
// begins with a table's prefix is a row of that table and nothing else; the
// verifier must therefore know the tables, which the rules of the chain fix.
//
// A proof of a registry key is one ICS23 proof of existence or non-existence. A
// proof of a row, or of its absence, is an ICS23 proof of its page and the ten
// siblings of the row; if the page does not exist, its non-existence is enough.
// In an empty tree, whose hash is SHA256(""), nothing exists and no proof is
// needed.
package stateproof

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	ics23 "github.com/cosmos/ics23/go"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
)

const (
	// PageRows is the number of rows of a page.
	PageRows = 1 << PageDepth
	// PageDepth is the number of levels between a row and its page's root.
	PageDepth = 10
	// MaxKeySize is the length in bytes of the longest state key.
	MaxKeySize = 256

	rowTag    = 0x00
	innerTag  = 0x01
	emptyTag  = 0x02
	pageSpace = 0x00 // first byte of the tree's keys for pages
)

// ErrInvalid is wrapped by every error of Verify: the proof does not prove the
// claim.
var ErrInvalid = errors.New("state proof is invalid")

// Proof shows what one key holds. Its meaning depends on the claim it is
// verified for. It is owned by one goroutine, in Verify too: ics23 writes behind
// the slices of a proof.
type Proof struct {
	// Tree is the ICS23 proof of a registry key or of a page. Nil: the tree is
	// empty.
	Tree *ics23.CommitmentProof
	// Siblings are the hashes beside the way from a row up to its page's root.
	// They are there exactly if Tree proves the existence of the row's page.
	Siblings []ledger.Hash
}

// EmptyRoot returns the application hash of a state without keys.
func EmptyRoot() ledger.Hash { return sha256.Sum256(nil) }

// ValueHash returns what the tree holds for a registry key of that value.
func ValueHash(value []byte) ledger.Hash { return sha256.Sum256(value) }

// RowHash returns the hash of a row. Only its first len(row)+10 bytes of buf are
// used, to save an allocation; buf may be nil.
func RowHash(buf []byte, table byte, index uint64, row []byte) ledger.Hash {
	buf = append(buf[:0], rowTag, table)
	buf = binary.BigEndian.AppendUint64(buf, index)
	return sha256.Sum256(append(buf, row...))
}

// NoRowHash returns the hash that stands for a missing row.
func NoRowHash() ledger.Hash { return sha256.Sum256([]byte{emptyTag}) }

// InnerHash returns the hash of an inner node of a page.
func InnerHash(left, right []byte) ledger.Hash {
	var buf [1 + 2*ledger.HashSize]byte
	buf[0] = innerTag
	copy(buf[1:], left)
	copy(buf[1+ledger.HashSize:], right)
	return sha256.Sum256(buf[:])
}

// PageKey returns the tree's key of a page of a table.
func PageKey(table byte, page uint64) []byte {
	k := make([]byte, 2, 10)
	k[0], k[1] = pageSpace, table
	return binary.BigEndian.AppendUint64(k, page)
}

// Schema is what is known about the keys of a state: its dense tables, by
// prefix. The zero value has none.
type Schema struct{ rows [256]int }

// NewSchema returns the schema of a state with the given tables. It refuses
// tables without or with the same prefix, and rows outside 1 to 65,536 bytes.
func NewSchema(tables []chain.Table) (Schema, error) {
	var s Schema
	for _, t := range tables {
		switch {
		case t.Prefix == pageSpace:
			return Schema{}, fmt.Errorf("table prefix %#02x is reserved", t.Prefix)
		case t.RowSize < 1 || t.RowSize > 1<<16:
			return Schema{}, fmt.Errorf("rows of table %#02x have %d bytes, want 1 to 65536", t.Prefix, t.RowSize)
		case s.rows[t.Prefix] != 0:
			return Schema{}, fmt.Errorf("two tables have the prefix %#02x", t.Prefix)
		}
		s.rows[t.Prefix] = t.RowSize
	}
	return s, nil
}

// RowSize returns the row size of the table with that prefix, or 0 if there is
// none.
func (s *Schema) RowSize(prefix byte) int { return s.rows[prefix] }

// Check returns an error if key, or key with value, cannot be in a state of this
// schema. A nil value is not checked.
func (s *Schema) Check(key, value []byte) error {
	if len(key) == 0 || len(key) > MaxKeySize || key[0] == pageSpace {
		return fmt.Errorf("key %x cannot be a state key", key)
	}
	size := s.rows[key[0]]
	if size == 0 {
		return nil
	}
	if len(key) != chain.RowKeySize {
		return fmt.Errorf("key %x is not a row of table %#02x", key, key[0])
	}
	if value != nil && len(value) != size {
		return fmt.Errorf("row %x has %d bytes, want %d", key, len(value), size)
	}
	return nil
}

// Verify returns nil if p proves that the state with application hash root holds
// value under key, or nothing if value is nil. It never panics.
func (s *Schema) Verify(root ledger.Hash, key, value []byte, p *Proof) (err error) {
	if p == nil {
		return fmt.Errorf("%w: there is none", ErrInvalid)
	}
	defer func() {
		if r := recover(); r != nil { // ics23 panics on some malformed proofs
			err = fmt.Errorf("%w: %v", ErrInvalid, r)
		}
	}()
	if err := s.Check(key, value); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if p.Tree == nil {
		return verifyEmpty(root, value, p)
	}
	if s.rows[key[0]] == 0 {
		if len(p.Siblings) != 0 {
			return fmt.Errorf("%w: siblings for a registry key", ErrInvalid)
		}
		if value == nil {
			return verifyTree(root, key, nil, p.Tree)
		}
		h := ValueHash(value)
		return verifyTree(root, key, h[:], p.Tree)
	}
	index := binary.BigEndian.Uint64(key[1:])
	pageKey := PageKey(key[0], index/PageRows)
	if len(p.Siblings) == 0 {
		if value != nil {
			return fmt.Errorf("%w: no siblings for a row", ErrInvalid)
		}
		return verifyTree(root, pageKey, nil, p.Tree)
	}
	page, err := pageRoot(key[0], index, value, p.Siblings)
	if err != nil {
		return err
	}
	return verifyTree(root, pageKey, page[:], p.Tree)
}

func verifyEmpty(root ledger.Hash, value []byte, p *Proof) error {
	if value != nil || len(p.Siblings) != 0 || root != EmptyRoot() {
		return fmt.Errorf("%w: the state is not empty", ErrInvalid)
	}
	return nil
}

// pageRoot climbs from a row, or its absence, to the root of its page.
func pageRoot(table byte, index uint64, row []byte, siblings []ledger.Hash) (ledger.Hash, error) {
	if len(siblings) != PageDepth {
		return ledger.Hash{}, fmt.Errorf("%w: %d siblings, want %d", ErrInvalid, len(siblings), PageDepth)
	}
	h := NoRowHash()
	if row != nil {
		h = RowHash(nil, table, index, row)
	}
	for level, sibling := range siblings {
		if index>>level&1 == 0 {
			h = InnerHash(h[:], sibling[:])
		} else {
			h = InnerHash(sibling[:], h[:])
		}
	}
	return h, nil
}

// verifyTree checks an ICS23 proof that the tree holds value under key, or
// nothing if value is nil.
func verifyTree(root ledger.Hash, key, value []byte, p *ics23.CommitmentProof) error {
	var err error
	switch {
	case value != nil && p.GetExist() != nil:
		err = p.GetExist().Verify(ics23.IavlSpec, root[:], key, value)
	case value == nil && p.GetNonexist() != nil:
		n := p.GetNonexist()
		if !bytes.Equal(n.Key, key) {
			return fmt.Errorf("%w: it is about another key", ErrInvalid)
		}
		err = n.Verify(ics23.IavlSpec, root[:], key)
	default:
		return fmt.Errorf("%w: it proves the opposite or something else", ErrInvalid)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}
