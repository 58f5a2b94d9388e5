package pay

import (
	"context"
	"crypto/rand"

	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
)

// HashTerms are what a hash lane costs.
type HashTerms struct {
	UnitPrice ledger.Amount // drops for each step
	UnitSize  uint32        // bytes of service for each step
	Steps     uint16        // 1 to channel.MaxHashSteps
}

// hashChain is the commitment that a lane pays on.
type hashChain struct {
	commitment Commitment
	values     []ledger.Hash // w_0 to w_n
	step       uint16        // revealed
}

// CommitHash signs a commitment to a new hash chain on lane, on top of what the
// lane owes. Until the next voucher on the lane, Reveal pays a unit for the cost
// of a hash. The deposit must cover all steps; it is used up one by one.
func (c *PayerChannel) CommitHash(ctx context.Context, lane uint8, terms HashTerms) (Commitment, error) {
	if terms.Steps == 0 || terms.Steps > channel.MaxHashSteps || terms.UnitPrice == 0 {
		return Commitment{}, refuse(InvalidAmount, "hash lane of %d steps at %d drops", terms.Steps, uint64(terms.UnitPrice))
	}
	l, err := c.ready(ctx, lane)
	if err != nil {
		return Commitment{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	all, err := terms.UnitPrice.Mul(uint64(terms.Steps))
	if err != nil {
		return Commitment{}, refuse(InvalidAmount, "%v", err)
	}
	if available := c.Available(); all > available {
		return Commitment{}, refuse(Underfunded, "%d drops, the deposit has %d left", uint64(all), uint64(available))
	}
	var tip ledger.Hash
	rand.Read(tip[:]) // never fails
	values := channel.HashChain(tip, terms.Steps)
	commitment := Commitment{HashCommit: channel.HashCommit{
		ChannelID: c.ID(), Lane: uint16(lane), BaseCumulative: l.mark.owed, BaseUnits: l.mark.units,
		Root: values[0], UnitPrice: terms.UnitPrice, UnitSize: terms.UnitSize, Steps: terms.Steps, ChainNo: l.count,
	}}
	l.count++
	commitment.Signature = c.key.Sign(commitment.Signed(c.payer.domain.Domain))
	l.chain = &hashChain{commitment: commitment, values: values}
	return commitment, nil
}

// Reveal pays the next unit of the lane's hash chain. It refuses with BadLane if
// there is none or it is used up.
func (c *PayerChannel) Reveal(ctx context.Context, lane uint8) (Reveal, error) {
	l, err := c.ready(ctx, lane)
	if err != nil {
		return Reveal{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.chain
	if h == nil || h.step == h.commitment.Steps {
		return Reveal{}, refuse(BadLane, "lane %d has no hash chain left", lane)
	}
	id, err := c.reserve(h.commitment.UnitPrice)
	if err != nil {
		return Reveal{}, err
	}
	h.step++
	l.mark.owed += h.commitment.UnitPrice
	l.mark.units++
	if err := c.payer.keep(ctx, laneKey{id, lane}, l.mark, h.commitment.UnitPrice); err != nil {
		return Reveal{}, err
	}
	return Reveal{
		ChannelID: id, Lane: uint16(lane), ChainNo: h.commitment.ChainNo, Step: h.step, Preimage: h.values[h.step],
	}, nil
}
