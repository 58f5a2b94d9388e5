package stateproof_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/ledger/stateproof"
)

func encodePath(p, like *stateproof.Path) []byte {
	w := codec.NewWriter(0)
	p.Append(w, like)
	return w.Bytes()
}

func decodePath(b []byte, siblings int, like *stateproof.Path) (stateproof.Path, error) {
	r := codec.NewReader(b)
	p, err := stateproof.ReadPath(r, siblings, like)
	if err == nil {
		err = r.Done()
	}
	return p, err
}

// TestPath: what exists is proved by a path of fewer bytes, with the steps of another one or
// without, and not by one that differs in any byte.
func TestPath(t *testing.T) {
	t.Parallel()
	schema, all := statements(t)
	last, err := all["last row of a page"].Proof.Path()
	if err != nil {
		t.Fatal(err)
	}
	for name, st := range all {
		p, err := st.Proof.Path()
		if st.Value == nil && st.Proof.Tree.GetExist() == nil {
			if !errors.Is(err, stateproof.ErrMalformed) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if st.Value == nil { // an empty place in a page that is there
			if _, err := schema.Root(st.Key, st.Value, &p); !errors.Is(err, stateproof.ErrInvalid) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if root, err := schema.Root(st.Key, st.Value, &p); err != nil || root != st.Root {
			t.Errorf("%s: it leads to %s, want %s, %v", name, root, st.Root, err)
		}
		if root, err := schema.Root(st.Key, append(bytes.Clone(st.Value), 0), &p); err == nil && root == st.Root {
			t.Errorf("%s: it proves another value", name)
		}
		whole, err := st.Proof.Encode()
		if err != nil {
			t.Fatal(err)
		}
		for _, like := range []*stateproof.Path{nil, &last} {
			raw := encodePath(&p, like)
			if len(raw) >= len(whole) {
				t.Errorf("%s: %d bytes, ICS23 has %d", name, len(raw), len(whole))
			}
			q, err := decodePath(raw, len(st.Proof.Siblings), like)
			if err != nil || !bytes.Equal(encodePath(&q, like), raw) || !bytes.Equal(encodePath(&q, nil), encodePath(&p, nil)) {
				t.Errorf("%s: it is read otherwise, %v", name, err)
			}
			for i := range raw {
				for bit := range 8 {
					changed := bytes.Clone(raw)
					changed[i] ^= 1 << bit
					q, err := decodePath(changed, len(st.Proof.Siblings), like)
					if err != nil {
						continue
					}
					if root, err := schema.Root(st.Key, st.Value, &q); err == nil && root == st.Root {
						t.Errorf("%s: byte %d of the path does not matter", name, i)
					}
				}
			}
		}
	}
}

// TestPathsThatAreNone: keys, values and steps that no state has.
func TestPathsThatAreNone(t *testing.T) {
	t.Parallel()
	schema, all := statements(t)
	row, key := all["row"], all["key"]
	for _, c := range []struct {
		name   string
		of     string
		change func(p *stateproof.Path)
	}{
		{"a row without siblings", "row", func(p *stateproof.Path) { p.Siblings = nil }},
		{"a key with siblings", "key", func(p *stateproof.Path) { p.Siblings = row.Proof.Siblings }},
		{"a node as low as a leaf", "key", func(p *stateproof.Path) { p.Steps[0].Height = 0 }},
		{"a node below the one before it", "key", func(p *stateproof.Path) { p.Steps[1].Height = 1 }},
		{"a size that is none", "key", func(p *stateproof.Path) { p.Steps[0].Size = 1 << 63 }},
		{"a version that is none", "key", func(p *stateproof.Path) { p.Version = 1 << 63 }},
		{"too many steps", "key", func(p *stateproof.Path) { p.Steps = make([]stateproof.Step, stateproof.MaxSteps+1) }},
	} {
		p, err := all[c.of].Proof.Path()
		if err != nil {
			t.Fatal(err)
		}
		c.change(&p)
		if _, err := schema.Root(all[c.of].Key, all[c.of].Value, &p); !errors.Is(err, stateproof.ErrInvalid) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	p, err := key.Proof.Path()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := schema.Root(key.Key, nil, &p); !errors.Is(err, stateproof.ErrInvalid) {
		t.Errorf("nothing: %v", err)
	}
	if _, err := schema.Root(nil, key.Value, &p); !errors.Is(err, stateproof.ErrInvalid) {
		t.Errorf("no key: %v", err)
	}
}

// FuzzReadPath: what is read is written back alike.
func FuzzReadPath(f *testing.F) {
	_, all := statements(f)
	like, err := all["row"].Proof.Path()
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range []string{"row", "key"} {
		p, err := all[name].Proof.Path()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(encodePath(&p, nil), len(p.Siblings) > 0, false)
		f.Add(encodePath(&p, &like), len(p.Siblings) > 0, true)
	}
	f.Fuzz(func(t *testing.T, raw []byte, row, shares bool) {
		siblings, other := 0, (*stateproof.Path)(nil)
		if row {
			siblings = stateproof.PageDepth
		}
		if shares {
			other = &like
		}
		p, err := decodePath(raw, siblings, other)
		if err != nil {
			return
		}
		if again := encodePath(&p, other); !bytes.Equal(again, raw) {
			t.Fatalf("%x is written back as %x", raw, again)
		}
	})
}
