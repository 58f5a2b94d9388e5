package anchor_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger/codec"
)

var update = flag.Bool("update", false, "rewrite the golden vectors")

// TestGolden pins the encodings and what the rules make of them.
func TestGolden(t *testing.T) {
	t.Parallel()
	got := map[string]string{}
	put := func(name string, b []byte) { got[name] = hex.EncodeToString(b) }
	w := newWorld(t)
	put("key", anchor.Key(two))
	put("state of a new shard", w.state(one).Encode())
	in := anchor.Anchors{Runs: []cert.Run{run(t, one, 1, 4, version{}), run(t, two, 1, 1, version{})}}
	put("anchors", in.Encode())
	if _, err := w.ctx.Apply(&in); err != nil {
		t.Fatal(err)
	}
	put("state after four heights", w.state(one).Encode())
	root := w.state(one).Root()
	put("root after four heights", root[:])
	w.ctx.Epoch, w.ctx.Rules.MaxLag = 12, 12
	w.take(run(t, one, 5, 68, version{}))
	w.take(run(t, one, 69, 70, version{}))
	digest := w.digest()
	put("digest of the state after seventy heights", digest[:])
	c := anchor.Conflict{Height: 3, A: run(t, one, 3, 3, version{}), B: run(t, one, 2, 3, version{block: 1})}
	put("conflict", c.Encode())
	p, err := anchor.Prove(checkpoints(one, 7), 5)
	if err != nil {
		t.Fatal(err)
	}
	put("proof", p.Encode())
	params := codec.NewWriter(0)
	defaults := anchor.DefaultParams()
	defaults.Append(params)
	put("default parameters", params.Bytes())

	const path = "testdata/anchors.json"
	if *update {
		text, err := json.MarshalIndent(got, "", "  ")
		if err == nil {
			err = os.WriteFile(path, append(text, '\n'), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]string
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("anchors changed: %s", diff)
	}
}

// TestDecodeRefuses: what is not canonical has no meaning.
func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	a, b := run(t, one, 1, 2, version{}), run(t, two, 1, 1, version{})
	good := (&anchor.Anchors{Runs: []cert.Run{a, b}}).Encode()
	pair := (&anchor.Conflict{Height: 1, A: a, B: b}).Encode()
	proof, err := anchor.Prove(checkpoints(one, 7), 5)
	if err != nil {
		t.Fatal(err)
	}
	path := proof.Encode()
	broken := a
	broken.First = 0
	anchors := func(b []byte) error { _, err := anchor.DecodeAnchors(b); return err }
	conflict := func(b []byte) error { _, err := anchor.DecodeConflict(b); return err }
	proofs := func(b []byte) error { _, err := anchor.DecodeProof(b); return err }
	for _, row := range []struct {
		name   string
		decode func([]byte) error
		in     []byte
		code   chain.Code
	}{
		{"anchors", anchors, good, chain.CodeOK},
		{"nothing", anchors, nil, chain.CodeMalformed},
		{"cut short", anchors, good[:len(good)-1], chain.CodeMalformed},
		{"a byte more", anchors, append(slices.Clone(good), 0), chain.CodeMalformed},
		{"no runs", anchors, []byte{0}, chain.CodeMalformed},
		{"more runs than may be", anchors, []byte{anchor.MaxRuns + 1}, chain.CodeTooLarge},
		{"a run too long", anchors, []byte{1, 0xff, 0, 0, 0}, chain.CodeMalformed},
		{"a run that is none", anchors, (&anchor.Anchors{Runs: []cert.Run{broken}}).Encode(), chain.CodeMalformed},
		{"a shard twice", anchors, (&anchor.Anchors{Runs: []cert.Run{a, a}}).Encode(), chain.CodeBadOrder},
		{"conflict", conflict, pair, chain.CodeOK},
		{"conflict of nothing", conflict, nil, chain.CodeMalformed},
		{"conflict cut short", conflict, pair[:len(pair)-1], chain.CodeMalformed},
		{"conflict and a byte", conflict, append(slices.Clone(pair), 0), chain.CodeMalformed},
		{"proof", proofs, path, chain.CodeOK},
		{"proof of nothing", proofs, nil, chain.CodeMalformed},
		{"proof cut short", proofs, path[:len(path)-1], chain.CodeMalformed},
		{"proof and a byte", proofs, append(slices.Clone(path), 0), chain.CodeMalformed},
		{"proof with too long a path", proofs, func() []byte {
			b := slices.Clone(path)
			b[cert.CheckpointSize+8] = 33
			return b
		}(), chain.CodeMalformed},
	} {
		err := row.decode(row.in)
		if code, ok := chain.CodeOf(err); !ok || code != row.code {
			t.Errorf("%s: %v, want %s", row.name, err, row.code)
		}
	}
	if err := anchors(good[:5]); !errors.Is(err, chain.CodeMalformed.Err()) {
		t.Error(err)
	}
}

// canonical checks that decode accepts nothing but what encode writes.
func canonical[T any](f *testing.F, seed []byte, decode func([]byte) (T, error), encode func(*T) []byte) {
	f.Helper()
	f.Add(seed)
	f.Add(seed[:len(seed)-1])
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := decode(b)
		if err != nil {
			return
		}
		if again := encode(&v); !bytes.Equal(again, b) {
			t.Errorf("%x decodes, and encodes as %x", b, again)
		}
	})
}

func FuzzDecodeAnchors(f *testing.F) {
	in := anchor.Anchors{Runs: []cert.Run{run(f, one, 1, 3, version{}), run(f, two, 7, 8, version{})}}
	canonical(f, in.Encode(), anchor.DecodeAnchors, (*anchor.Anchors).Encode)
}

func FuzzDecodeConflict(f *testing.F) {
	c := anchor.Conflict{Height: 3, A: run(f, one, 3, 3, version{}), B: run(f, one, 3, 3, version{block: 1})}
	canonical(f, c.Encode(), anchor.DecodeConflict, (*anchor.Conflict).Encode)
}

func FuzzDecodeState(f *testing.F) {
	canonical(f, anchored(f, 9).Encode(), anchor.DecodeState, (*anchor.State).Encode)
}

func FuzzDecodeProof(f *testing.F) {
	p, err := anchor.Prove(checkpoints(one, 7), 5)
	if err != nil {
		f.Fatal(err)
	}
	canonical(f, p.Encode(), anchor.DecodeProof, (*anchor.Proof).Encode)
}
