package sim

import (
	"fmt"

	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/ledger/merkle"
)

// most is the longest field of what crosses the network, in bytes.
const most = 4 << 20

// block is a block of either kind of chain, as it is decided and stored.
type block struct {
	height  uint64
	parent  ledger.Hash // digest of the history before it
	epoch   []byte      // of a shard: a proof with an epoch record, or nothing
	anchors [][]byte    // of main: encoded anchors
	imports [][]byte    // encoded deliveries
	txs     [][]byte    // raw transactions
}

func (b *block) encode() []byte {
	w := codec.NewWriter(1 << 10)
	w.Uint64(b.height)
	w.Fixed(b.parent[:])
	w.Bytes32(b.epoch)
	for _, list := range [][][]byte{b.anchors, b.imports, b.txs} {
		writeList(w, list)
	}
	return w.Bytes()
}

func decodeBlock(raw []byte) (block, error) {
	r := codec.NewReader(raw)
	b := block{height: r.Uint64()}
	r.Into(b.parent[:])
	b.epoch = r.Bytes32(most)
	b.anchors, b.imports, b.txs = readList(r), readList(r), readList(r)
	if err := r.Done(); err != nil {
		return block{}, fmt.Errorf("decode block: %w", err)
	}
	return b, nil
}

func writeList(w *codec.Writer, list [][]byte) {
	w.Uint16(uint16(len(list)))
	for _, b := range list {
		w.Bytes32(b)
	}
}

func readList(r *codec.Reader) (list [][]byte) {
	for range r.Uint16() {
		b := r.Bytes32(most)
		if r.Err() != nil {
			return nil
		}
		list = append(list, b)
	}
	return list
}

// proof shows that main, by the certificate of one of its blocks, has a record; or,
// without a record, what the block itself says.
type proof struct {
	main        cert.Certificate
	index, size uint64
	path        []ledger.Hash
	record      []byte
}

func (p *proof) encode() []byte {
	w := codec.NewWriter(1 << 10)
	w.Bytes32(p.main.Encode())
	w.Uint64(p.index)
	w.Uint64(p.size)
	w.Uint8(uint8(len(p.path)))
	for i := range p.path {
		w.Fixed(p.path[i][:])
	}
	w.Bytes32(p.record)
	return w.Bytes()
}

func decodeProof(raw []byte) (proof, error) {
	r := codec.NewReader(raw)
	var p proof
	main := r.Bytes32(most)
	p.index, p.size = r.Uint64(), r.Uint64()
	for range r.Uint8() {
		var h ledger.Hash
		r.Into(h[:])
		p.path = append(p.path, h)
	}
	p.record = r.Bytes32(most)
	if err := r.Done(); err != nil {
		return proof{}, fmt.Errorf("decode proof: %w", err)
	}
	var err error
	if p.main, err = cert.Decode(main); err != nil {
		return proof{}, fmt.Errorf("decode proof: %w", err)
	}
	return p, nil
}

// check verifies the proof against the committee of main.
func (p *proof) check(main *seats) error {
	if err := main.verify(&p.main); err != nil {
		return err
	}
	if len(p.record) == 0 {
		return nil
	}
	return merkle.Verify(p.main.Checkpoint.StateRoot, p.record, p.index, p.size, p.path)
}

// delivery is a transaction with an import. proof is for shards; main knows what it
// anchored. older is an anchor.Proof, if the height is not one of the last ones.
type delivery struct{ proof, older, imported []byte }

func (d *delivery) encode() []byte {
	w := codec.NewWriter(12 + len(d.proof) + len(d.older) + len(d.imported))
	w.Bytes32(d.proof)
	w.Bytes32(d.older)
	w.Bytes32(d.imported)
	return w.Bytes()
}

func decodeDelivery(raw []byte) (delivery, error) {
	r := codec.NewReader(raw)
	d := delivery{proof: r.Bytes32(most), older: r.Bytes32(most), imported: r.Bytes32(most)}
	if err := r.Done(); err != nil {
		return delivery{}, fmt.Errorf("decode delivery: %w", err)
	}
	return d, nil
}

const (
	recordAnchored = 'a'
	recordEpoch    = 'e'
)

// encodeAnchored returns the record of a shard's row of anchors, as a proof of the state
// would have it.
func encodeAnchored(id ledger.ChainID, row []byte) []byte {
	w := codec.NewWriter(9 + len(row))
	w.Uint8(recordAnchored)
	w.Uint32(uint32(id))
	w.Bytes32(row)
	return w.Bytes()
}

func decodeAnchored(b []byte) (id ledger.ChainID, row []byte, ok bool) {
	r := codec.NewReader(b)
	kind := r.Uint8()
	id, row = ledger.ChainID(r.Uint32()), r.Bytes32(most)
	return id, row, r.Done() == nil && kind == recordAnchored
}

// epochRecord says that an epoch of main has begun.
type epochRecord struct{ epoch, sigma uint64 }

func (e *epochRecord) encode() []byte {
	w := codec.NewWriter(17)
	w.Uint8(recordEpoch)
	w.Uint64(e.epoch)
	w.Uint64(e.sigma)
	return w.Bytes()
}

func decodeEpochRecord(b []byte) (e epochRecord, ok bool) {
	r := codec.NewReader(b)
	kind := r.Uint8()
	e = epochRecord{epoch: r.Uint64(), sigma: r.Uint64()}
	return e, r.Done() == nil && kind == recordEpoch
}
