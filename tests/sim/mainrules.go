package sim

import (
	"bytes"
	"encoding/binary"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard/link"
)

// settlementTx is a transaction of main.
type settlementTx = settlement.BlockTx

// mainRules is the whole of a block of main: chain/settlement with the model of signatures.
type mainRules struct{ net *network }

func isMain(p link.Place) bool { return p == link.Place{} }

// apply is that of rules. Everything may be in a block of main.
func (m *mainRules) apply(v chain.View, b *block, _ bool) (*applied, error) {
	out := &applied{kept: *b}
	blk := settlement.Block{Height: b.height, Seals: m.seals(b), Keys: m.net.decode}
	for _, raw := range b.txs {
		tx, err := chain.DecodeTx(m.net.mainDomain(), raw)
		one := settlement.BlockTx{Tx: tx}
		if err != nil {
			code, _ := chain.CodeOf(err)
			one = settlement.BlockTx{Tx: chain.Tx{Raw: raw, Hash: chain.TxHash(raw)}, Refused: &chain.RuleError{Code: code}}
		}
		blk.Txs = append(blk.Txs, one)
	}
	blk.Proved = m.net.proved(blk.Txs)
	var err error
	out.changes, out.main, err = settlement.ApplyBlock(v, m.net.params, m.net.mainDomain(), blk, m.net.check)
	if err != nil {
		return nil, err
	}
	out.box, out.results, out.epoch = out.main.Outbox, out.main.ResultsRoot, m.net.params.Staking.Epoch(b.height)
	for i := range out.main.Receipts {
		m.outcome(v, &blk.Txs[i].Tx, &out.main.Receipts[i], out)
	}
	return out, nil
}

// seals are those of all blocks of an epoch: signatures that nobody looks at.
func (m *mainRules) seals(b *block) (seals [][]byte) {
	p := &m.net.params.Staking
	epoch := p.Epoch(b.height)
	if b.height != p.LastBlock(epoch) {
		return nil
	}
	for h := p.FirstBlock(epoch); h <= b.height; h++ {
		seal := make([]byte, bls.SignatureSize)
		hash := ledger.HashOf("sim/seal", b.parent[:], binary.BigEndian.AppendUint64(nil, h))
		copy(seal, hash[:])
		seals = append(seals, seal)
	}
	return seals
}

// outcome notes what became of a transaction that carried something for shards.
func (m *mainRules) outcome(v chain.View, tx *chain.Tx, r *settlement.Receipt, out *applied) {
	carries := settlement.HasPairings(tx.Kind) || tx.Kind == chain.KindImport || tx.Kind == chain.KindRelist || tx.Kind == chain.KindReack
	if !carries {
		return
	}
	if r.Code != chain.CodeOK {
		out.refused = append(out.refused, r.Code)
		return
	}
	if tx.Kind == chain.KindAnchor {
		a, _ := anchor.DecodeAnchors(tx.Payload)
		for i := range r.Runs {
			for h := r.Runs[i].First; h <= r.Runs[i].Last && r.Runs[i].Taken(); h++ {
				out.anchored = append(out.anchored, a.Runs[i].Checkpoint(int(h-a.Runs[i].First)))
			}
		}
	}
	if tx.Kind == chain.KindImport {
		d, _ := settlement.DecodeDelivery(tx.Payload)
		old, _ := anchor.Read(v, d.Import.Shard)
		now := old
		for i := range out.changes {
			if bytes.Equal(out.changes[i].Key, anchor.Key(d.Import.Shard)) {
				now, _ = anchor.DecodeState(out.changes[i].Value)
			}
		}
		done := imported{in: d.Import, receipts: r.Links, seen: old.Clock(), most: now.Clock()}
		done.list()
		out.imports = append(out.imports, done)
	}
}
