package shardblock

import (
	"bytes"
	"iter"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/stateproof"
	"github.com/tributary-network/tributary/shard"
)

// news adds to o what a relay says of main. All of it must be new, or heads that the rest
// of the relay needs: nobody fills blocks for nothing with what is known or not of use. A
// relay that is for nothing but heads must not come too soon, or with each block of main
// anybody could have every idle shard make one, which main anchors, and so on for ever.
func (w *work) news(o *chain.Overlay, r *Relay) error {
	for i := range r.News.Handovers {
		if err := w.handover(o, &r.News.Handovers[i]); err != nil {
			return err
		}
	}
	if r.Kind != KindHead {
		if err := r.checkHeads(); err != nil {
			return err
		}
	} else if len(r.News.Handovers) == 0 {
		if err := w.beat(o, r.News.Heads); err != nil {
			return err
		}
	}
	for i := range r.News.Heads {
		h := &r.News.Heads[i]
		useful, err := w.head(o, h)
		if err != nil {
			return err
		}
		if r.Kind == KindHead && !useful {
			return chain.Refuse(chain.CodeNothingNew, "block %d of the main chain is known, or too old to be remembered: leave it out", h.Checkpoint.Height)
		}
	}
	return nil
}

// beat refuses heads of main that come by themselves if none is much newer than what is known.
func (w *work) beat(o *chain.Overlay, heads []cert.Certificate) error {
	if w.config.BeatBlocks == 0 {
		return nil
	}
	known, last := newestHead(o), uint64(0)
	for i := range heads {
		last = max(last, heads[i].Checkpoint.Height)
	}
	if want := known + w.config.BeatBlocks; last < want {
		return chain.Refuse(chain.CodeNothingNew, "block %d of the main chain by itself, and block %d is known: bring block %d or a later one, or what is proved by this one",
			last, known, want)
	}
	return nil
}

// handover takes the committee of main that the one before hands over to.
func (w *work) handover(o *chain.Overlay, h *Handover) error {
	p := &h.Certificate.Checkpoint
	next := p.Epoch + 1
	if _, last := MainEpochs(o); next <= last {
		return chain.Refuse(chain.CodeNothingNew, "the committee of epoch %d of the main chain is known, up to that of epoch %d: leave the hand-over out", next, last)
	}
	if err := w.certified(o, &h.Certificate); err != nil {
		return err
	}
	if epochs := w.epochs(); epochs != nil && !epochs.EpochBlock(p.Height) {
		return chain.Refuse(chain.CodeBadCertificate, "hand-over to epoch %d by block %d of the main chain, want %d or %d",
			next, p.Height, epochs.LastBlock(p.Epoch)-1, epochs.LastBlock(p.Epoch))
	}
	if h.Record.Height != p.Height || h.Record.Value == nil {
		return chain.Refuse(chain.CodeMalformed, "hand-over by block %d with a row of block %d", p.Height, h.Record.Height)
	}
	if err := proveBy(p.StateRoot, staking.CommitteeKey(next), &h.Record); err != nil {
		return err
	}
	c, err := committeeOf(h.Record.Value, next)
	if err != nil {
		return err
	}
	keep(o, prefixMain, next, c.Encode(), KeptMain)
	return nil
}

// epochs says which blocks of main are in which epoch, nil if that is not known.
func (w *work) epochs() *staking.Params {
	if w.config.EpochBlocks == 0 {
		return nil
	}
	return &staking.Params{EpochBlocks: w.config.EpochBlocks}
}

// certified returns nil if the committee of main that the state knows signed a block.
func (w *work) certified(o *chain.Overlay, c *cert.Certificate) error {
	p := &c.Checkpoint
	com, ok := MainCommittee(o, p.Epoch)
	switch epochs := w.epochs(); {
	case p.Network != w.config.Network:
		return chain.Refuse(chain.CodeWrongNetwork, "block of network %s, this is %s", p.Network, w.config.Network)
	case p.Chain != ledger.MainChain:
		return chain.Refuse(chain.CodeWrongChain, "block of chain %d, want one of the main chain", p.Chain)
	case p.Height == 0:
		return chain.Refuse(chain.CodeMalformed, "block 0 of the main chain is certified by nobody")
	case !ok:
		first, last := MainEpochs(o)
		return chain.Refuse(chain.CodeUnknownCommittee, "block %d of epoch %d of the main chain; the committees of epochs %d to %d are known: bring hand-overs first",
			p.Height, p.Epoch, first, last)
	case epochs != nil && epochs.Epoch(p.Height) != p.Epoch:
		return chain.Refuse(chain.CodeBadCertificate, "block %d of the main chain is not of epoch %d", p.Height, p.Epoch)
	}
	encoded := string(c.Encode())
	switch {
	case w.verified[encoded]:
		return nil
	case len(w.verified) == MaxCertificates:
		return chain.Refuse(chain.CodeTooLarge, "more than %d certificates in a block", MaxCertificates)
	}
	if err := w.verify(c, &com); err != nil {
		return refusal(err)
	}
	w.verified[encoded], w.fresh = true, append(w.fresh, encoded)
	return nil
}

// head takes a block of main for the relay that brings it, and remembers it unless a newer
// one is in its place. One that is remembered is passed over.
func (w *work) head(o *chain.Overlay, c *cert.Certificate) (useful bool, err error) {
	p := &c.Checkpoint
	next := Head{Height: p.Height, Epoch: p.Epoch, StateRoot: p.StateRoot, OutboxRoot: p.OutboxRoot}
	old, taken := slotAt(o, p.Height)
	if taken && old.Height == p.Height {
		if old != next || p.Network != w.config.Network || p.Chain != ledger.MainChain {
			return false, chain.Refuse(chain.CodeBadCertificate, "block %d of the main chain is known as another one", p.Height)
		}
		return false, nil
	}
	if err := w.certified(o, c); err != nil {
		return false, err
	}
	w.brought[p.Height] = next
	if taken && old.Height > p.Height {
		return false, nil
	}
	o.Set(HeadKey(p.Height), next.Encode())
	return true, nil
}

// headAt returns a block of main that is remembered, or that the relay under way brings.
func (w *work) headAt(v chain.View, height uint64) (h Head, ok bool) {
	if h, ok = w.brought[height]; ok {
		return h, true
	}
	return HeadAt(v, height)
}

// prove returns nil if a row is in the state after a block of main that is known.
func (w *work) prove(v chain.View, key []byte, r *Row) error {
	h, ok := w.headAt(v, r.Height)
	if !ok {
		return chain.Refuse(chain.CodeNotAnchored, "row %x of block %d of the main chain, which is not known here; bring its certificate too", key, r.Height)
	}
	return proveBy(h.StateRoot, key, r)
}

// proveBy returns nil if a row is in the state with a root. What is proved is never in a
// dense table of main, so the schema of its state does not matter.
func proveBy(root ledger.Hash, key []byte, r *Row) error {
	p, err := stateproof.Decode(r.Proof)
	if err != nil {
		return chain.Refuse(chain.CodeMalformed, "proof of row %x: %v", key, err)
	}
	var schema stateproof.Schema
	if err := schema.Verify(root, key, r.Value, p); err != nil {
		return chain.Refuse(chain.CodeBadProof, "row %x of block %d of the main chain: %v", key, r.Height, err)
	}
	return nil
}

// epoch begins an epoch: its committee votes CommitteeDelay blocks later. If others are
// drawn for it meanwhile, the shard goes on as another generation: see Resume.
func (w *work) epoch(o *chain.Overlay, e *Epoch) error {
	s := ReadStatus(o)
	if e.Epoch <= s.Epoch || s.Ended != 0 {
		return chain.Refuse(chain.CodeNothingNew, "epoch %d, the shard is in epoch %d", e.Epoch, s.Epoch)
	}
	record, a, err := w.proveEpoch(o, e)
	if err != nil {
		return err
	}
	since := w.height + CommitteeDelay
	s.Epoch, s.Since, s.Calls = e.Epoch, since, 0
	if a.Last {
		s.Ended = since
	}
	keep(o, prefixOwn, since, a.Committee.Encode(), KeptOwn)
	o.Set(StatusKey(), s.Encode())
	w.startEpoch(&record)
	return nil
}

// startEpoch has the service begin an epoch.
func (w *work) startEpoch(record *registry.EpochRecord) {
	w.began = record
	w.run.StartEpoch(service.EpochStart{Epoch: record.Epoch, Sigma: record.Sigma})
}

// proveEpoch checks the rows of an epoch.
func (w *work) proveEpoch(o *chain.Overlay, e *Epoch) (r registry.EpochRecord, a shard.Assignment, err error) {
	if err := w.prove(o, registry.EpochKey(e.Epoch), &e.Record); err != nil {
		return r, a, err
	}
	if err := w.prove(o, registry.AssignmentKey(e.Epoch, w.shard.Chain), &e.Assignment); err != nil {
		return r, a, err
	}
	if e.Record.Value == nil || e.Assignment.Value == nil {
		return r, a, chain.Refuse(chain.CodeAnchorEpoch, "epoch %d has not begun, or shard %d does not serve in it", e.Epoch, w.shard.Chain)
	}
	if r, err = registry.DecodeEpochRecord(e.Record.Value); err != nil {
		return r, a, chain.Refuse(chain.CodeMalformed, "%v", err)
	}
	if a, err = shard.OpenAssignment(w.shard.Chain, e.Assignment.Value, e.Committee); err != nil {
		return r, a, chain.Refuse(chain.CodeMalformed, "%v", err)
	}
	switch {
	case e.Assignment.Height+1 < r.First: // others may have been drawn since
		return r, a, chain.Refuse(chain.CodeAnchorEpoch, "who serves in epoch %d is proved by block %d of the main chain, want %d or later: the last before the epoch", e.Epoch, e.Assignment.Height, r.First-1)
	case r.Epoch != e.Epoch || a.Committee.Epoch != e.Epoch:
		return r, a, chain.Refuse(chain.CodeMalformed, "record of epoch %d and committee of epoch %d, want %d", r.Epoch, a.Committee.Epoch, e.Epoch)
	case len(a.Committee.Members) == 0:
		return r, a, chain.Refuse(chain.CodeUnknownCommittee, "nobody serves shard %d in epoch %d", w.shard.Chain, e.Epoch)
	}
	return r, a, nil
}

// updates returns what consensus must change to go from one committee to the next,
// ascending by key.
func updates(old, next *committee.Committee) (list []staking.Update) {
	powers := make(map[[32]byte]uint64, len(old.Members))
	for i := range old.Members {
		powers[old.Members[i].ConsensusKey] = old.Members[i].Power
	}
	for i := range next.Members {
		m := &next.Members[i]
		if powers[m.ConsensusKey] != m.Power {
			list = append(list, staking.Update{ConsensusKey: m.ConsensusKey, Power: int64(m.Power)})
		}
		delete(powers, m.ConsensusKey)
	}
	for i := range old.Members {
		if m := &old.Members[i]; powers[m.ConsensusKey] != 0 {
			list = append(list, staking.Update{ConsensusKey: m.ConsensusKey})
		}
	}
	slices.SortFunc(list, func(a, b staking.Update) int { return bytes.Compare(a.ConsensusKey[:], b.ConsensusKey[:]) })
	return list
}

// row is a view of one row of main, which was proved.
type row struct{ key, value []byte }

// Get is that of chain.View.
func (r row) Get(key []byte) []byte {
	if bytes.Equal(key, r.key) {
		return r.value
	}
	return nil
}

// Range is that of chain.View.
func (r row) Range(prefix []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		if bytes.HasPrefix(r.key, prefix) {
			yield(r.key, r.value)
		}
	}
}
