package exec

import (
	"bytes"
	"fmt"

	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
)

// checkpoint is what the committee signs of a block that leads to root, but for the
// round; nil without a committee, or without a hash of the block.
func (e *Executor) checkpoint(el *electorate, p *prepared) *cert.Checkpoint {
	if el == nil || len(p.block.Hash) != ledger.HashSize {
		return nil
	}
	return &cert.Checkpoint{
		Network: e.traits.Chain.Network, Chain: e.traits.Chain.Chain,
		Generation: p.result.Generation, Height: p.block.Height, Epoch: el.committee.Epoch,
		BlockHash: ledger.Hash(p.block.Hash), StateRoot: p.root,
		OutboxRoot: p.result.OutboxRoot, UsageRoot: p.result.UsageRoot, ResultsRoot: p.result.ResultsRoot,
		CommitteeHash: el.hash,
	}
}

// Extend returns what goes with this node's vote for b: its BLS signature of the
// checkpoint of the state after b, which it waits for. It is nil if this node is
// not in the committee, or has no key. An error is one of executing b; it halts
// nothing before b is agreed on.
//
// What others send is not looked at before their votes count: a validator whose
// state or software differs must show as a wrong signature, not as a silence that
// could stop the chain. What an extension is worth is found out when a certificate
// is assembled from it.
func (e *Executor) Extend(b Block) (extension []byte, err error) {
	defer contain("extend the vote", &err)
	if e.cfg.BLS == nil || e.isHalted() {
		return nil, nil
	}
	if want := e.head.Load().height + 1; b.Height != want {
		return nil, fmt.Errorf("extend the vote for block %d, the next is %d", b.Height, want)
	}
	el, err := e.electorateOf(b.Height)
	if err != nil {
		return nil, err
	}
	if _, ok := el.holder(e.cfg.BLS); !ok {
		return nil, nil
	}
	p, _, err := e.ahead.finish(b)
	if err != nil {
		return nil, err
	}
	if p.checkpoint == nil {
		return nil, nil
	}
	sent := *p.checkpoint
	sent.Round = b.Round
	e.sent.add(&sent)
	if p.signature != nil && b.Round == 0 {
		return bytes.Clone(p.signature[:]), nil
	}
	signature := e.signCheckpoint(p, b.Round)
	return signature[:], nil
}

// signCheckpoint signs what goes with a vote in a round.
func (e *Executor) signCheckpoint(p *prepared, round uint32) bls.Signature {
	checkpoint := *p.checkpoint
	checkpoint.Round = round
	return e.cfg.BLS.Sign(checkpoint.Message())
}

// signAhead signs what goes with this node's vote for a block that was executed ahead,
// while others say whether they accept the block: the vote need not wait for it then.
// Most votes are of round 0. The signature leaves this node with its vote, or never.
func (e *Executor) signAhead(p *prepared) {
	var err error
	defer contain("sign ahead", &err) // Extend does it, or says what is wrong
	if e.cfg.BLS == nil || p.checkpoint == nil {
		return
	}
	el, err := e.electorateOf(p.block.Height)
	if err != nil {
		return
	}
	if _, ok := el.holder(e.cfg.BLS); ok {
		signature := e.signCheckpoint(p, 0)
		p.signature = &signature
	}
}
