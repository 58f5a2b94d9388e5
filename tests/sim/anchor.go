package sim

import (
	"bytes"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
)

// committees is that of anchor.Context.
func (n *network) committees(id shard.ID, epoch uint64) (*committee.Committee, []*bls.Key, bool) {
	s, ok := n.seats[id]
	if !ok || id == ledger.MainChain {
		return nil, nil, false
	}
	c := s.at(epoch)
	return &c.committee, c.keys, true
}

// anchors applies a transaction with runs of heights to the state of main, and returns
// the checkpoints that it anchored. Signatures are verified here, by their model, so
// that chain/anchor takes them as proved, as it does after admission.
func (n *network) anchors(o *chain.Overlay, height uint64, raw []byte) ([]cert.Checkpoint, error) {
	a, err := anchor.DecodeAnchors(raw)
	if err != nil {
		return nil, err
	}
	ctx := &anchor.Context{
		State: o, Rules: &n.anchor, Network: n.id, Height: height, Epoch: epochOf(height), Committees: n.committees,
		Proved: func(ledger.Hash) bool { return true },
	}
	if _, err := ctx.Check(&a); err != nil {
		return nil, err
	}
	for i := range a.Runs {
		if !n.signed(&a.Runs[i]) {
			return nil, chain.Refuse(chain.CodeBadCertificate, "run of shard %d: %v", a.Runs[i].Chain, errFalse)
		}
	}
	results, err := ctx.Apply(&a)
	if err != nil {
		return nil, err
	}
	var list []cert.Checkpoint
	for i := range results {
		for at := range a.Runs[i].Heads {
			if results[i].Taken() {
				list = append(list, a.Runs[i].Checkpoint(at))
			}
		}
	}
	return list, nil
}

// signed reports whether the signature of a run is the sum of its signers'.
func (n *network) signed(r *cert.Run) bool {
	s, ok := n.seats[r.Chain]
	if !ok || n.fault == FaultCertificates {
		return ok
	}
	var sum bls.Signature
	for i := range r.Heads {
		c := r.Checkpoint(i)
		message := c.Message()
		com := s.at(c.Epoch)
		for _, member := range r.Signers(i) {
			if member >= len(com.committee.Members) {
				return false
			}
			add(&sum, vote(&com.committee.Members[member], message))
		}
	}
	return sum == r.Signature
}

// add adds a signature of the model.
func add(sum *bls.Signature, s bls.Signature) {
	for i := range s {
		sum[i] ^= s[i]
	}
}

// join returns the run of certificates of heights that follow each other, as cert.Join
// does with signatures that are real.
func join(list []cert.Certificate) cert.Run {
	first := &list[0].Checkpoint
	r := cert.Run{Network: first.Network, Chain: first.Chain, First: first.Height}
	for i := range list {
		c, p := &list[i], &list[i].Checkpoint
		at := slices.IndexFunc(r.Sets, func(s cert.SignerSet) bool {
			return s.CommitteeHash == p.CommitteeHash && bytes.Equal(s.Bitmap, c.Bitmap)
		})
		if at < 0 {
			at = len(r.Sets)
			r.Sets = append(r.Sets, cert.SignerSet{Epoch: p.Epoch, CommitteeHash: p.CommitteeHash, Bitmap: c.Bitmap})
		}
		r.Heads = append(r.Heads, cert.Head{
			Set: uint8(at), Round: p.Round, BlockHash: p.BlockHash, StateRoot: p.StateRoot,
			OutboxRoot: p.OutboxRoot, UsageRoot: p.UsageRoot, ResultsRoot: p.ResultsRoot,
		})
		add(&r.Signature, c.Signature)
	}
	return r
}

// anchorOf returns the transaction that anchors runs.
func anchorOf(runs ...cert.Run) item {
	a := anchor.Anchors{Runs: runs}
	return item{itemAnchor, a.Encode()}
}

// anchoredHeight returns the last height of a shard that main has anchored.
func anchoredHeight(v chain.View, id shard.ID) uint64 {
	s, _ := anchor.Read(v, id)
	return s.Height()
}

// older adds the proof of a height that is not one of the last ones, if there is one.
func older(k *anchor.Known, d *delivery) (link.Anchors, error) {
	if len(d.older) == 0 {
		return k, nil
	}
	p, err := anchor.DecodeProof(d.older)
	if err != nil {
		return nil, err
	}
	return k, k.Prove(&p)
}
