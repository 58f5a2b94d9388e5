package sim

import (
	"fmt"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// most is the longest field of what crosses the network, in bytes.
const most = 4 << 20

// block is a block of either kind of chain, as it is decided and stored.
type block struct {
	height  uint64
	parent  ledger.Hash // digest of the history before it
	anchors [][]byte    // of main: encoded anchors
	imports [][]byte    // of main: encoded deliveries; of a shard: encoded relays
	txs     [][]byte    // raw transactions
}

func (b *block) encode() []byte {
	w := codec.NewWriter(1 << 10)
	w.Uint64(b.height)
	w.Fixed(b.parent[:])
	for _, list := range [][][]byte{b.anchors, b.imports, b.txs} {
		writeList(w, list)
	}
	return w.Bytes()
}

func decodeBlock(raw []byte) (block, error) {
	r := codec.NewReader(raw)
	b := block{height: r.Uint64()}
	r.Into(b.parent[:])
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

// delivery is a transaction of main with an import. older is an anchor.Proof, if the
// height is not one of the last ones.
type delivery struct{ older, imported []byte }

func (d *delivery) encode() []byte {
	w := codec.NewWriter(8 + len(d.older) + len(d.imported))
	w.Bytes32(d.older)
	w.Bytes32(d.imported)
	return w.Bytes()
}

func decodeDelivery(raw []byte) (delivery, error) {
	r := codec.NewReader(raw)
	d := delivery{older: r.Bytes32(most), imported: r.Bytes32(most)}
	if err := r.Done(); err != nil {
		return delivery{}, fmt.Errorf("decode delivery: %w", err)
	}
	return d, nil
}
