package bundle_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/chain/bundle"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/lanelog"
)

var update = flag.Bool("update", false, "make the golden bundles anew")

// golden is what is pinned of a golden bundle, beside its bytes.
type golden struct {
	Name        string
	About       string
	Network     ledger.Hash
	Committee   ledger.Hash // to be trusted
	EpochBlocks uint64
	Report      bundle.Report
}

// made is a golden bundle that was just made.
type made struct {
	golden

	file []byte
}

func (w *chains) finish(name, about string, p *bundle.Parts) made {
	w.tb.Helper()
	m := made{golden: golden{Name: name, About: about, Network: w.gen.Hash(), Committee: p.Committee.Hash(), EpochBlocks: fakeBlocks}, file: mustAssemble(w.tb, p)}
	r, err := bundle.Verify(m.file, m.trust())
	if err != nil {
		w.tb.Fatal(err)
	}
	m.Report = *r
	return m
}

func (g *golden) trust() bundle.Trust {
	return bundle.Trust{Network: g.Network, Committee: g.Committee, EpochBlocks: g.EpochBlocks}
}

// makeGolden makes all golden bundles by running the chains.
func makeGolden(tb testing.TB) (list []made) {
	tb.Helper()
	w := newChains(tb)
	t := w.open()
	first, seventh := t.voucher(0, 1_000), t.voucher(7, 1_500)
	t.book(first)
	w.block(w.anchor(0))
	c := w.block(t.settle(first))
	list = append(list, w.finish("plain", "lane 0; one certificate for both paths; booked as it was settled",
		t.parts(c, first, 1_000, 417, 2, 1_000)))

	t.book(t.voucher(0, 1_001), t.voucher(7, 2_000))
	c = w.block(t.settle(seventh))
	p := t.parts(c, seventh, 1_500, 1_024, 2, 2_000)
	other := w.block(w.anchor(2))
	later := t.parts(other, seventh, 1_500, 1_024, 3, 2_000)
	p.Anchor, p.Block, p.Booking, p.Other = later.Anchor, later.Block, later.Booking, &other
	list = append(list, w.finish("lane", "lane 7; a certificate for each path; booked for more than was settled", p))

	last := w.gen.Params.Staking.LastBlock(0)
	for c.Checkpoint.Height < last {
		c = w.block()
	}
	s := w.prove(staking.CommitteeKey(1))
	record, err := committee.DecodeRecord(s.Value)
	if err != nil {
		tb.Fatal(err)
	}
	over := bundle.Handover{Certificate: c, Record: record, Path: pathOf(tb, s)}
	direct := t.voucher(0, 2_100)
	c = w.block(t.settle(direct))
	p = t.parts(c, direct, 2_100, 0, 3, 1_001)
	p.Committee, p.Handovers = t.committee(0), []bundle.Handover{over}
	return append(list, w.finish("handover", "lane 0; a hand-over to the committee that signed; settled for more than was booked", p))
}

// TestRealChains: bundles are made of what the rules of both kinds of chain do, always the
// same, and have less than 8 KiB.
func TestRealChains(t *testing.T) {
	t.Parallel()
	list := makeGolden(t)
	for i := range list {
		m := &list[i]
		if len(m.file) > 8<<10 {
			t.Errorf("%s: %d bytes", m.Name, len(m.file))
		}
		t.Logf("%s: %d bytes", m.Name, len(m.file))
		file := filepath.Join("testdata", m.Name+".bundle")
		about, err := json.MarshalIndent(m.golden, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if *update {
			if err := os.WriteFile(file, m.file, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join("testdata", m.Name+".json"), append(about, '\n'), 0o600); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if want, err := os.ReadFile(file); err != nil || !bytes.Equal(m.file, want) {
			t.Errorf("%s: the chains make another bundle than they did, %v", m.Name, err)
		}
	}
}

// goldens reads the golden bundles.
func goldens(tb testing.TB) (list []made) {
	tb.Helper()
	names, err := filepath.Glob(filepath.Join("testdata", "*.bundle"))
	if err != nil || len(names) < 3 {
		tb.Fatalf("%d golden bundles, %v", len(names), err)
	}
	for _, name := range names {
		file, err := os.ReadFile(name)
		if err != nil {
			tb.Fatal(err)
		}
		about, err := os.ReadFile(name[:len(name)-len("bundle")] + "json")
		if err != nil {
			tb.Fatal(err)
		}
		m := made{file: file}
		if err := json.Unmarshal(about, &m.golden); err != nil {
			tb.Fatal(err)
		}
		list = append(list, m)
	}
	return list
}

// TestGolden: the golden bundles hold, and prove what they did when they were made.
func TestGolden(t *testing.T) {
	t.Parallel()
	for _, m := range goldens(t) {
		r, err := bundle.Verify(m.file, m.trust())
		if err != nil {
			t.Errorf("%s: %v", m.Name, err)
			continue
		}
		if diff := cmp.Diff(m.Report, *r); diff != "" {
			t.Errorf("%s: %s", m.Name, diff)
		}
	}
}

// TestEveryByte: whichever byte of a bundle is changed, the bundle fails, and the error names
// the layer that the byte is in. Bytes of main are tried with all of the proof, and some of
// the others; the rest with what is below main, which is the same then.
func TestEveryByte(t *testing.T) {
	t.Parallel()
	for _, m := range goldens(t) {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			of := make([]bundle.Layer, len(m.file))
			for i := range of {
				of[i] = bundle.LayerFile
			}
			for i, at := range sections(t, m.file) {
				for j := at[0]; j < at[1]; j++ {
					of[j] = layers()[i]
				}
			}
			for i := range ledger.HashSize {
				of[len(bundle.Magic)+1+i] = bundle.LayerMain // the network
			}
			for i := range m.file {
				changed := bytes.Clone(m.file)
				for _, bits := range []byte{1, 0x80, 0xff} {
					changed[i] = m.file[i] ^ bits
					verify := bundle.VerifyBelow
					if whole := i%50 == 0 && bits == 1; whole || of[i] == bundle.LayerMain && (bits == 1 || i%9 == 0) {
						verify = func(b []byte) (*bundle.Report, error) { return bundle.Verify(b, m.trust()) }
					} else if of[i] == bundle.LayerMain {
						continue
					}
					_, err := verify(changed)
					if e, ok := errors.AsType[*bundle.Error](err); !ok || e.Layer != of[i] || e.Step == "" {
						t.Errorf("byte %d of %s, changed by %#02x: %v", i, of[i], bits, err)
					}
				}
			}
		})
	}
}

// TestLogsAreThoseOfLanes: the trees of these tests are those that lanes keep.
func TestLogsAreThoseOfLanes(t *testing.T) {
	t.Parallel()
	id := lanelog.ID{Channel: ledger.HashOf("bundle/channel"), Lane: 7}
	b := write(t, id, 2_100, 1<<30)
	l := lanelog.New(b.key, id)
	for i := range b.list {
		if _, err := l.Append(b.list[i]); err != nil {
			t.Fatal(err)
		}
	}
	if root, err := l.Root(); err != nil || root != b.root(2_100) {
		t.Errorf("root %+v, want %+v, %v", root, b.root(2_100), err)
	}
}
