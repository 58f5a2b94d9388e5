package exec

import (
	"encoding/binary"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// The index, written in the same commit as the state but part of no hash.
// Heights and rows are u64, positions in a block u32, both big-endian, so that
// keys are in order of time.
//
//	'b' | height               block, as the rules encode it
//	'r' | height | position    receipt, likewise
//	't' | hash                 height and position of the record's receipt; if that
//	                           had no effect, the record's valid_until
//	's' | signer | height      positions of the signer's records
//	'y' | payee | height       positions of records that pay somebody
//	'p' | height               proof of the block's results in the state
//	'q' | height               payees in 'y' of that height, 21 bytes each
//	'n'                        what the chain is told from others by
//	'l'                        height and position (u32) of the first receipt that
//	                           was not removed yet
//	'k' | height               checkpoint of a block that may have to be certified yet
//	'o' | height               leaves of the block's outbox, if it has any
//	'z' | height               seal of the block: see sealrecord.go
//
// Proofs of rows for other chains are in proved.go, and which block took in which messages
// in acked.go.
// What rules keep beside that has other first bytes: mainindex.go has those of the main
// chain, shardindex.go those of shards.
const (
	idxBlock   = 'b'
	idxReceipt = 'r'
	idxHash    = 't'
	idxSigner  = 's'
	idxPaid    = 'y'
	idxProof   = 'p'
	idxPayees  = 'q'
	idxNetwork = 'n'
	idxKept    = 'l'
	idxOutbox  = 'o'
	idxSeal    = 'z'

	idxCheckpoint = 'k'
)

func keyOf(prefix byte, name []byte, numbers ...uint64) []byte {
	k := make([]byte, 0, 1+len(name)+8*len(numbers))
	k = append(append(k, prefix), name...)
	for _, n := range numbers {
		k = binary.BigEndian.AppendUint64(k, n)
	}
	return k
}

func receiptKey(height uint64, position uint32) []byte {
	return binary.BigEndian.AppendUint32(keyOf(idxReceipt, nil, height), position)
}

// indexer collects the index entries of one block.
type indexer struct {
	pairs  chain.Changes
	height uint64
	// positions by key, in the order the keys came up
	order []string
	lists map[string][]uint32
}

// indexBlock returns the index entries of a finalized block.
func (e *Executor) indexBlock(p *prepared) (chain.Changes, error) {
	x := &indexer{height: p.block.Height, lists: make(map[string][]uint32)}
	b := p.committed()
	x.add(keyOf(idxBlock, nil, x.height), e.rules.EncodeBlock(b))
	if x.height == 1 {
		x.add([]byte{idxNetwork}, e.traits.Identity[:])
	}
	if e.proof != nil {
		x.pairs = append(x.pairs, *e.proof)
	}
	named := make(map[ledger.Hash]bool, len(p.records))
	for i := range p.result.Receipts {
		receipt := &p.result.Receipts[i]
		x.add(receiptKey(x.height, uint32(i)), e.rules.EncodeReceipt(receipt))
		names, err := e.names(p.records[i], receipt, named)
		if err != nil {
			return nil, err
		}
		if !names {
			continue
		}
		named[receipt.Hash] = true
		w := codec.NewWriter(8)
		w.Uvarint(x.height)
		w.Uvarint(uint64(i))
		if !receipt.Consumed {
			w.Uvarint(p.records[i].tx.ValidUntil)
		}
		x.add(keyOf(idxHash, receipt.Hash[:]), w.Bytes())
		x.list(keyOf(idxSigner, receipt.Signer[:], x.height), uint32(i))
		for _, payee := range e.rules.Payees(&p.records[i].tx, b, i) {
			if payee != receipt.Signer {
				x.list(keyOf(idxPaid, payee[:], x.height), uint32(i))
			}
		}
	}
	var payees []byte
	for _, key := range x.order {
		if key[0] == idxPaid {
			payees = append(payees, key[1:1+ledger.AddressSize]...)
		}
		w := codec.NewWriter(2 * len(x.lists[key]))
		last := uint32(0)
		for _, position := range x.lists[key] {
			w.Uvarint(uint64(position - last))
			last = position
		}
		x.add([]byte(key), w.Bytes())
	}
	if payees != nil {
		x.add(keyOf(idxPayees, nil, x.height), payees)
	}
	x.pairs = append(x.pairs, e.rules.Entries(b, p.txs())...)
	if b.Outbox > 0 {
		x.add(keyOf(idxOutbox, nil, x.height), encodeOutbox(p.result.Outbox))
	}
	if p.sealed {
		x.add(keyOf(idxSeal, nil, x.height), p.seal.encode())
	}
	x.pairs = append(x.pairs, p.acked...)
	x.pairs = append(x.pairs, e.indexWatched(p)...)
	checkpoints, err := e.indexCheckpoint(p)
	x.pairs = append(x.pairs, checkpoints...)
	return x.pairs, err
}

// names reports whether the receipt says what became of the record of that
// name. The first effect stands; what had none gives way to what has one.
func (e *Executor) names(r *record, receipt *Receipt, named map[ledger.Hash]bool) (bool, error) {
	switch {
	case !aboutRecord(r, receipt):
		return false, nil
	case receipt.Consumed:
		return true, nil
	case named[receipt.Hash]:
		return false, nil
	}
	old, err := e.index.Get(keyOf(idxHash, receipt.Hash[:]))
	return old == nil, err
}

func (x *indexer) add(key, value []byte) {
	x.pairs = append(x.pairs, chain.Change{Key: key, Value: value})
}

func (x *indexer) list(key []byte, position uint32) {
	k := string(key)
	if _, ok := x.lists[k]; !ok {
		x.order = append(x.order, k)
	}
	x.lists[k] = append(x.lists[k], position)
}
