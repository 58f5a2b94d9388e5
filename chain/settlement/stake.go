package settlement

import (
	"fmt"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/ledger"
)

// stakeMessage is the decoded payload of a staking transaction: exactly one
// field is set.
type stakeMessage struct {
	register   *staking.Register
	edit       *staking.Edit
	delegate   *staking.Delegate
	redelegate *staking.Redelegate
	undelegate *staking.Undelegate
	claim      *staking.Claim
	unjail     *staking.Unjail
}

// decodeStake returns nil, without an error, for a kind that has nothing to do
// with staking.
func decodeStake(tx *chain.Tx) (*stakeMessage, error) {
	switch tx.Kind {
	case chain.KindRegisterValidator:
		v, err := staking.DecodeRegister(tx.Payload)
		return &stakeMessage{register: &v}, err
	case chain.KindEditValidator:
		v, err := staking.DecodeEdit(tx.Payload)
		return &stakeMessage{edit: &v}, err
	case chain.KindDelegate:
		v, err := staking.DecodeDelegate(tx.Payload)
		return &stakeMessage{delegate: &v}, err
	case chain.KindRedelegate:
		v, err := staking.DecodeRedelegate(tx.Payload)
		return &stakeMessage{redelegate: &v}, err
	case chain.KindUndelegate:
		v, err := staking.DecodeUndelegate(tx.Payload)
		return &stakeMessage{undelegate: &v}, err
	case chain.KindClaimRewards:
		v, err := staking.DecodeClaim(tx.Payload)
		return &stakeMessage{claim: &v}, err
	case chain.KindUnjail:
		v, err := staking.DecodeUnjail(tx.Payload)
		return &stakeMessage{unjail: &v}, err
	default:
		return nil, nil
	}
}

// fee returns what the message costs on top of TxFee.
func (m *stakeMessage) fee(p *staking.Params) ledger.Amount {
	switch {
	case m.register != nil:
		return p.RegisterFee
	case m.claim != nil:
		return p.StakeFee * ledger.Amount(len(m.claim.Validators))
	default:
		return p.StakeFee
	}
}

// run executes the message of from.
func (m *stakeMessage) run(c *staking.Context, from staking.Party) ([]staking.Event, error) {
	var e staking.Event
	var err error
	switch {
	case m.register != nil:
		e, err = c.Register(from, m.register)
	case m.edit != nil:
		e, err = c.Edit(from, m.edit)
	case m.delegate != nil:
		e, err = c.Delegate(from, m.delegate)
	case m.redelegate != nil:
		e, err = c.Redelegate(from, m.redelegate)
	case m.undelegate != nil:
		e, err = c.Undelegate(from, m.undelegate)
	case m.unjail != nil:
		e, err = c.Unjail(from, m.unjail)
	case m.claim != nil:
		return c.Claim(from, m.claim)
	}
	if err != nil {
		return nil, err
	}
	return []staking.Event{e}, nil
}

// stake executes a staking transaction. What its signer earned and is paid with
// it is the receipt's Paid.
func (b *block) stake(index int, r *Receipt, m *stakeMessage, from staking.Party) error {
	events, err := m.run(&b.staking, from)
	if err != nil {
		return err
	}
	for i := range events {
		r.Paid += events[i].Reward
	}
	events = append(events, b.staking.Noted()...)
	for i := range events {
		events[i].TxIndex = index
	}
	b.stakingEvents = append(b.stakingEvents, events...)
	return nil
}

// beginStaking is what comes before a block's records: the evidence, so that a
// slash reaches what would leave in this block.
func (b *block) beginStaking(blk *Block) {
	if !b.staking.On() {
		return
	}
	for i := range blk.Evidence {
		b.stakingEvents = append(b.stakingEvents, b.staking.Punish(&blk.Evidence[i])...)
	}
}

// NeedsTick reports whether the chain has to go on to the block at height although
// nobody sends transactions: something of staking or of the registry waits for an epoch
// to end, shards have something under way, or the earliest deadline of a channel is no further than the longest challenge.
func NeedsTick(v chain.View, p *Params, height uint64) bool {
	if staking.NeedsTick(v, p.Staking, height) || registryNeedsTick(v, p, height) || ShardsNeedTick(v, p, height) {
		return true
	}
	deadline, ok := NextDeadline(v)
	sigma := Clock(v, height)
	return ok && (deadline <= sigma || deadline-sigma <= uint64(p.MaxChallenge))
}

// checkSeals returns an error unless the block comes with the seals of its epoch if
// it is the last one, and without any otherwise: a seed of fewer seals would be
// another one than that of the other nodes.
func (b *block) checkSeals(blk *Block) error {
	rules := &b.params.Staking
	epoch := rules.Epoch(blk.Height)
	want := uint64(0)
	if b.staking.On() && blk.Height == rules.LastBlock(epoch) {
		want = rules.EpochBlocks
	}
	if got := uint64(len(blk.Seals)); got != want {
		return fmt.Errorf("block %d: it comes with the seals of %d blocks of epoch %d, want those of %d", blk.Height, got, epoch, want)
	}
	for i, seal := range blk.Seals {
		if len(seal) != 0 && len(seal) != bls.SignatureSize {
			return fmt.Errorf("block %d: the seal of block %d has %d bytes, want %d or none", blk.Height, rules.FirstBlock(epoch)+uint64(i), len(seal), bls.SignatureSize)
		}
	}
	return nil
}

// endStaking is what comes after a block's records: the votes, which count only if
// a record paid a fee, in a tick's block and with the end of an epoch, and the end of
// the block.
func (b *block) endStaking(blk *Block, res *Result) {
	if !b.staking.On() {
		return
	}
	paid := slices.ContainsFunc(res.Receipts, func(r Receipt) bool { return r.Fee > 0 })
	counts := paid || b.ticked || b.params.Staking.EpochBlock(blk.Height)
	if counts {
		b.stakingEvents = append(b.stakingEvents, b.staking.Count(blk.Proposer, blk.Votes)...)
	}
	bk := &b.bank.books
	out := b.staking.End(staking.Pot{Fees: bk.Fees, Minted: bk.Minted, Supply: bk.supply}, blk.Seals)
	res.Staking = append(b.stakingEvents, out.Events...)
	res.Updates, res.Election, res.Candidates = out.Updates, out.Election, out.Candidates
	if counts { // before the draw, which goes on from who serves now
		b.redrawStalled()
	}
	b.registry.End(out.Candidates)
	b.noteRegistry(-1)
	res.Registry = b.registryEvents
}
