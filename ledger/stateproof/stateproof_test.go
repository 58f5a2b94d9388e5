package stateproof_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"testing"

	ics23 "github.com/cosmos/ics23/go"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
	"github.com/tributary-network/tributary/ledger/stateproof"
	"github.com/tributary-network/tributary/ledger/statetree"
)

func table() chain.Table { return chain.Table{Prefix: 'C', RowSize: 4} }

// goldenRoot is the application hash of the state that statements makes. It
// changes only with the definition of the hashes.
const goldenRoot = "b676165eae3fce1e1df87a1a337b0f00de6d76a144f57a7bc6bfd71539491c75"

// statements returns statements about rows and keys of a small state, some of
// them about what is not there.
func statements(tb testing.TB) (stateproof.Schema, map[string]*stateproof.Statement) {
	tb.Helper()
	s := memkv.New()
	tree, err := statetree.Open(s, statetree.Options{Tables: []chain.Table{table()}})
	if err != nil {
		tb.Fatal(err)
	}
	var c chain.Changes
	for _, i := range []uint64{0, 5, 1023, 2048, 5000} {
		c = append(c, chain.Change{Key: table().Key(i), Value: fmt.Appendf(nil, "%04d", i)})
	}
	for i := range 20 {
		c = append(c, chain.Change{Key: fmt.Appendf(nil, "key%02d", i), Value: fmt.Appendf(nil, "value %d", i)})
	}
	c = append(c, chain.Change{Key: []byte("z"), Value: []byte{}})
	if _, err := tree.Prepare(1, c); err != nil {
		tb.Fatal(err)
	}
	b := s.NewBatch()
	if err := errors.Join(tree.WriteTo(b), b.Commit(true), tree.Apply()); err != nil {
		tb.Fatal(err)
	}
	out := map[string]*stateproof.Statement{}
	for name, key := range map[string][]byte{
		"row": table().Key(5), "last row of a page": table().Key(1023), "no row": table().Key(6),
		"no page between": table().Key(1024), "no page at the end": table().Key(1 << 40),
		"key": []byte("key07"), "empty value": []byte("z"),
		"no key between": []byte("key075"), "no key before": []byte("a"), "no key after": []byte("zz"),
	} {
		st, err := tree.Prove(key)
		if err != nil {
			tb.Fatal(err)
		}
		out[name] = st
	}
	return tree.Schema(), out
}

func TestVerify(t *testing.T) {
	t.Parallel()
	schema, all := statements(t)
	for name, st := range all {
		if got := st.Root.String(); got != goldenRoot {
			t.Fatalf("application hash %s, want %s", got, goldenRoot)
		}
		if err := schema.VerifyStatement(st); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if (st.Value == nil) != (name[:3] == "no ") {
			t.Errorf("%s: value %q", name, st.Value)
		}
		// No statement proves what another says.
		for other, o := range all {
			if other == name {
				continue
			}
			claim := *o
			claim.Proof = clone(t, st.Proof)
			err := schema.VerifyStatement(&claim)
			// The same gap, and the same page that is missing, prove both.
			if err == nil && (st.Value != nil || o.Value != nil) {
				t.Errorf("the proof of %q proves %q", name, other)
			}
			if err != nil && !errors.Is(err, stateproof.ErrInvalid) {
				t.Errorf("error %v does not wrap %v", err, stateproof.ErrInvalid)
			}
		}
	}
}

func clone(tb testing.TB, p *stateproof.Proof) *stateproof.Proof {
	tb.Helper()
	enc, err := p.Encode()
	if err != nil {
		tb.Fatal(err)
	}
	out, err := stateproof.Decode(enc)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// TestCorrupted breaks one thing in a good statement in each row.
func TestCorrupted(t *testing.T) {
	t.Parallel()
	schema, all := statements(t)
	none, err := stateproof.NewSchema(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := none.VerifyStatement(all["key"]); err != nil {
		t.Errorf("key without tables: %v", err)
	}
	for _, c := range []struct {
		name, of string
		change   func(*stateproof.Statement)
	}{
		{"other root", "row", func(s *stateproof.Statement) { s.Root[0] ^= 1 }},
		{"zero root", "key", func(s *stateproof.Statement) { s.Root = ledger.Hash{} }},
		{"other value", "row", func(s *stateproof.Statement) { s.Value = []byte("0006") }},
		{"short value", "row", func(s *stateproof.Statement) { s.Value = []byte("000") }},
		{"no value", "row", func(s *stateproof.Statement) { s.Value = nil }},
		{"empty row", "row", func(s *stateproof.Statement) { s.Value = []byte{} }},
		{"row that is not there", "no row", func(s *stateproof.Statement) { s.Value = []byte("0006") }},
		{"neighbour", "row", func(s *stateproof.Statement) { s.Key = table().Key(4) }},
		{"row of another page", "row", func(s *stateproof.Statement) { s.Key = table().Key(5 + 1024) }},
		{"key with the page's root", "row", func(s *stateproof.Statement) { s.Key = stateproof.PageKey('C', 0) }},
		{"page as value of the row with its number", "row", func(s *stateproof.Statement) {
			s.Key, s.Value, s.Proof.Siblings = table().Key(0), s.Proof.Tree.GetExist().Value, nil
		}},
		{"no siblings", "row", func(s *stateproof.Statement) { s.Proof.Siblings = nil }},
		{"nine siblings", "row", func(s *stateproof.Statement) { s.Proof.Siblings = s.Proof.Siblings[:9] }},
		{"eleven siblings", "row", func(s *stateproof.Statement) { s.Proof.Siblings = append(s.Proof.Siblings, ledger.Hash{}) }},
		{"other sibling", "row", func(s *stateproof.Statement) { s.Proof.Siblings[3][0] ^= 1 }},
		{"siblings for a key", "key", func(s *stateproof.Statement) { s.Proof.Siblings = make([]ledger.Hash, 10) }},
		{"siblings for no page", "no page between", func(s *stateproof.Statement) { s.Proof.Siblings = make([]ledger.Hash, 10) }},
		{"nothing said to be empty", "no key before", func(s *stateproof.Statement) { s.Value = []byte{} }},
		{"empty said to be nothing", "empty value", func(s *stateproof.Statement) { s.Value = nil }},
		{"no tree", "key", func(s *stateproof.Statement) { s.Proof.Tree = nil }},
		{"no tree for nothing", "no key before", func(s *stateproof.Statement) { s.Proof.Tree = nil }},
		{"no proof", "key", func(s *stateproof.Statement) { s.Proof = nil }},
		{"empty tree proof", "key", func(s *stateproof.Statement) { s.Proof.Tree = &ics23.CommitmentProof{} }},
		{"half a gap", "no key between", func(s *stateproof.Statement) { s.Proof.Tree.GetNonexist().Left = nil }},
		{"other half of a gap", "no key between", func(s *stateproof.Statement) { s.Proof.Tree.GetNonexist().Right = nil }},
		{"no gap at all", "no key between", func(s *stateproof.Statement) {
			n := s.Proof.Tree.GetNonexist()
			n.Left, n.Right = nil, nil
		}},
		{"gap at one key", "no key between", func(s *stateproof.Statement) {
			n := s.Proof.Tree.GetNonexist()
			n.Right = n.Left
		}},
		{"gap about another key", "no key between", func(s *stateproof.Statement) { s.Proof.Tree.GetNonexist().Key = []byte("x") }},
		{"path cut", "key", func(s *stateproof.Statement) {
			e := s.Proof.Tree.GetExist()
			e.Path = e.Path[1:]
		}},
		{"path gone", "no key between", func(s *stateproof.Statement) { s.Proof.Tree.GetNonexist().Left.Path = nil }},
		{"leaf gone", "key", func(s *stateproof.Statement) { s.Proof.Tree.GetExist().Leaf = nil }},
		{"step gone", "key", func(s *stateproof.Statement) { s.Proof.Tree.GetExist().Path[0] = nil }},
		{"empty key", "key", func(s *stateproof.Statement) { s.Key = nil }},
		{"long key", "key", func(s *stateproof.Statement) { s.Key = make([]byte, 300) }},
		{"key that is no row", "row", func(s *stateproof.Statement) { s.Key = s.Key[:8] }},
	} {
		st := *all[c.of]
		st.Proof = clone(t, st.Proof)
		c.change(&st)
		if err := schema.VerifyStatement(&st); !errors.Is(err, stateproof.ErrInvalid) {
			t.Errorf("%s: %v, want %v", c.name, err, stateproof.ErrInvalid)
		}
	}
}

func TestDecode(t *testing.T) {
	t.Parallel()
	_, all := statements(t)
	row, err := all["row"].Proof.Encode()
	if err != nil {
		t.Fatal(err)
	}
	key, err := all["key"].Proof.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if p, err := stateproof.Decode([]byte{1, 0}); err != nil || p.Tree != nil || p.Siblings != nil {
		t.Errorf("proof from an empty tree: %v, %v", p, err)
	}
	for name, b := range map[string][]byte{
		"nothing":             nil,
		"one byte":            {1},
		"other version":       append([]byte{2}, row[1:]...),
		"nine siblings":       append([]byte{1, 9}, row[2:]...),
		"siblings cut":        row[:200],
		"proof cut":           row[:len(row)-1],
		"one byte more":       append(bytes.Clone(row), 0),
		"unknown field":       append(bytes.Clone(key), 0xa2, 0x06, 0x00),
		"batch proof":         {1, 0, 0x1a, 0x00},
		"field twice":         append(bytes.Clone(key), key[2:]...),
		"too long":            append(bytes.Clone(key), make([]byte, stateproof.MaxEncodedSize)...),
		"neither nor":         {1, 0, 0x08, 0x01},
		"non-minimal lengths": append([]byte{1, 0, 0x0a, key[3], key[4] | 0x80, 0x00}, key[5:]...),
	} {
		if _, err := stateproof.Decode(b); !errors.Is(err, stateproof.ErrMalformed) {
			t.Errorf("%s: %v, want %v", name, err, stateproof.ErrMalformed)
		}
	}
	long := &stateproof.Proof{Tree: &ics23.CommitmentProof{Proof: &ics23.CommitmentProof_Exist{
		Exist: &ics23.ExistenceProof{Key: make([]byte, stateproof.MaxEncodedSize)},
	}}}
	if _, err := long.Encode(); err == nil {
		t.Error("an encoding longer than Decode takes")
	}
}

// TestHashes pins the hashes that make up a page.
func TestHashes(t *testing.T) {
	t.Parallel()
	row := stateproof.RowHash(nil, 'C', 5, []byte("0005"))
	none := stateproof.NoRowHash()
	for name, c := range map[string]struct {
		got  ledger.Hash
		want string
	}{
		"empty state": {stateproof.EmptyRoot(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		"no row":      {none, "dbc1b4c900ffe48d575b5da5c638040125f65db0fe3e24494b76ea986457d986"},
		"row":         {row, "147116e71c55ad01ec1144f7fee09ba41e27607d2e89e9845d8ebd52fac1ccef"},
		"inner":       {stateproof.InnerHash(row[:], none[:]), "06e1181484c8ff899473d18685319829f31627aced6f156c9ea4408e4fb4cc78"},
	} {
		if got := hex.EncodeToString(c.got[:]); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	schema, all := statements(f)
	for _, st := range all {
		enc, err := st.Proof.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(enc, st.Key, st.Value)
	}
	f.Add([]byte{1, 0}, []byte("k"), []byte(nil))
	root := all["row"].Root
	f.Fuzz(func(t *testing.T, b, key, value []byte) {
		p, err := stateproof.Decode(b)
		if err != nil {
			if !errors.Is(err, stateproof.ErrMalformed) {
				t.Fatalf("error %v does not wrap %v", err, stateproof.ErrMalformed)
			}
			return
		}
		again, err := p.Encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x decodes and encodes to %x, %v", b, again, err)
		}
		if err := schema.Verify(root, key, value, p); err == nil {
			checkTrue(t, key, value)
		}
	})
}

// checkTrue fails if the state of statements does not hold value under key.
func checkTrue(t *testing.T, key, value []byte) {
	t.Helper()
	var want []byte
	switch k := string(key); {
	case len(key) == chain.RowKeySize && key[0] == 'C':
		index, err := table().Index(key)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range []uint64{0, 5, 1023, 2048, 5000} {
			if i == index {
				want = fmt.Appendf(nil, "%04d", i)
			}
		}
	case k == "z":
		want = []byte{}
	case len(k) == 5 && k[:3] == "key":
		for i := range 20 {
			if k == fmt.Sprintf("key%02d", i) {
				want = fmt.Appendf(nil, "value %d", i)
			}
		}
	}
	if !bytes.Equal(want, value) || (want == nil) != (value == nil) {
		t.Fatalf("proved %q under %q, the state holds %q", value, key, want)
	}
}
