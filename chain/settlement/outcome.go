package settlement

import (
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
)

const (
	// runSize is the length of an encoded anchor.Result: shard 4, first and last 8 each,
	// code 2, flags 1.
	runSize = 4 + 8 + 8 + 2 + 1
	// leafSize is that of an encoded link.Receipt: link, number 8, origin 32, result 1,
	// code 2.
	leafSize = link.Size + 8 + ledger.HashSize + 1 + 2

	runDue, runFinished = 1, 2
)

// RunLeaf returns what the ResultsRoot of anchors is made of for one run:
//
//	shard u32 | first u64 | last u64 | code u16 | flags u8 (1: it was due, 2: the shard
//	is anchored to its end)
func RunLeaf(x *anchor.Result) []byte {
	w := codec.NewWriter(runSize)
	writeRun(w, x)
	return w.Bytes()
}

func writeRun(w *codec.Writer, x *anchor.Result) {
	w.Uint32(uint32(x.Shard))
	w.Uint64(x.First)
	w.Uint64(x.Last)
	w.Uint16(uint16(x.Code))
	var flags uint8
	if x.Due {
		flags |= runDue
	}
	if x.Finished {
		flags |= runFinished
	}
	w.Uint8(flags)
}

func readRun(r *codec.Reader) (x anchor.Result, err error) {
	x.Shard, x.First, x.Last, x.Code = shard.ID(r.Uint32()), r.Uint64(), r.Uint64(), chain.Code(r.Uint16())
	flags := r.Uint8()
	x.Due, x.Finished = flags&runDue != 0, flags&runFinished != 0
	if flags > runDue|runFinished {
		return x, fmt.Errorf("flags %#02x", flags)
	}
	return x, nil
}

func runLeaves(results []anchor.Result) [][]byte {
	leaves := make([][]byte, len(results))
	for i := range results {
		leaves[i] = RunLeaf(&results[i])
	}
	return leaves
}

// LinkLeaf returns what the ResultsRoot of an import is made of for one leaf of the
// outbox that it brought:
//
//	link 12 | seq u64 | origin 32 | result u8 | code u16
func LinkLeaf(x *link.Receipt) []byte {
	w := codec.NewWriter(leafSize)
	writeLink(w, x)
	return w.Bytes()
}

func writeLink(w *codec.Writer, x *link.Receipt) {
	w.Fixed(x.Link.Encode())
	w.Uint64(x.Seq)
	w.Fixed(x.OriginTx[:])
	w.Uint8(uint8(x.Result))
	w.Uint16(uint16(x.Code))
}

func readLink(r *codec.Reader) (x link.Receipt, err error) {
	raw := r.Fixed(link.Size)
	x.Seq = r.Uint64()
	r.Into(x.OriginTx[:])
	x.Result, x.Code = link.Result(r.Uint8()), chain.Code(r.Uint16())
	if r.Err() == nil {
		x.Link, err = link.DecodeLink(raw)
	}
	return x, err
}

func linkLeaves(receipts []link.Receipt) [][]byte {
	leaves := make([][]byte, len(receipts))
	for i := range receipts {
		leaves[i] = LinkLeaf(&receipts[i])
	}
	return leaves
}

// OutcomeLeaves returns the leaves of the receipt's ResultsRoot: one for each entry of a
// batch, run of anchors or leaf of an import.
func (r *Receipt) OutcomeLeaves() [][]byte {
	switch r.Kind {
	case chain.KindAnchor:
		return runLeaves(r.Runs)
	case chain.KindImport:
		return linkLeaves(r.Links)
	default:
		return EntryLeaves(r.Entries)
	}
}

// Outcomes returns the encodings of Runs or Links one after the other, of which a
// receipt of their kind of transaction has some; nil for one of another kind.
func (r *Receipt) Outcomes() []byte {
	var w *codec.Writer
	switch r.Kind {
	case chain.KindAnchor:
		w = codec.NewWriter(len(r.Runs) * runSize)
		for i := range r.Runs {
			writeRun(w, &r.Runs[i])
		}
	case chain.KindImport:
		w = codec.NewWriter(len(r.Links) * leafSize)
		for i := range r.Links {
			writeLink(w, &r.Links[i])
		}
	default:
		return nil
	}
	return w.Bytes()
}

// SetOutcomes reads what Outcomes returned into a receipt whose Kind is set.
func (r *Receipt) SetOutcomes(b []byte) error {
	rd := codec.NewReader(b)
	for rd.Remaining() > 0 && rd.Err() == nil {
		switch r.Kind {
		case chain.KindAnchor:
			x, err := readRun(rd)
			if err != nil {
				return fmt.Errorf("decode outcome %d of anchors: %w", len(r.Runs), err)
			}
			r.Runs = append(r.Runs, x)
		case chain.KindImport:
			x, err := readLink(rd)
			if err != nil {
				return fmt.Errorf("decode outcome %d of an import: %w", len(r.Links), err)
			}
			r.Links = append(r.Links, x)
		default:
			return fmt.Errorf("decode outcomes: a receipt of kind %s has none in its %d bytes", r.Kind, len(b))
		}
	}
	if err := rd.Done(); err != nil {
		return fmt.Errorf("decode outcomes: %w", err)
	}
	return nil
}

// outcomes returns how many outcomes of how many bytes follow the leaf of the receipt.
func (r *Receipt) outcomes() (n, size int) {
	switch r.Kind {
	case chain.KindAnchor:
		return len(r.Runs), runSize
	case chain.KindImport:
		return len(r.Links), leafSize
	default:
		return len(r.Entries), entryResultSize
	}
}
