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
	imports [][]byte    // of a shard: encoded relays
	resume  []byte      // of a shard: how it goes on as another generation, if it does with this block
	txs     [][]byte    // raw transactions
}

func (b *block) encode() []byte {
	w := codec.NewWriter(1 << 10)
	w.Uint64(b.height)
	w.Fixed(b.parent[:])
	w.Bytes32(b.resume)
	for _, list := range [][][]byte{b.imports, b.txs} {
		writeList(w, list)
	}
	return w.Bytes()
}

func decodeBlock(raw []byte) (block, error) {
	r := codec.NewReader(raw)
	b := block{height: r.Uint64()}
	r.Into(b.parent[:])
	b.resume = r.Bytes32(most)
	b.imports, b.txs = readList(r), readList(r)
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
