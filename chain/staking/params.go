package staking

import (
	"errors"
	"fmt"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// Params are the consensus parameters of staking.
type Params struct {
	// EpochBlocks is the length of an epoch in blocks.
	EpochBlocks uint64

	// Election.
	Seats         uint32        // of the committee
	PowerCapBps   uint32        // a member's share of the committee's power, in basis points, at most
	MinStake      ledger.Amount // of a candidate, its delegators' included
	MinSelfStake  ledger.Amount // of its operator
	MinDelegation ledger.Amount // of one delegation or redelegation

	// UnbondingEpochs is how long stake that was undelegated stays answerable
	// before it is paid out, EvidenceEpochs how long a fault can be punished. An
	// epoch's committee is remembered for both and two epochs more.
	UnbondingEpochs uint32
	EvidenceEpochs  uint32
	MaxEntries      uint32 // unbondings of one delegation, and redelegations into one, under way

	// Rewards.
	EpochReward ledger.Amount // minted at the end of an epoch
	MintCap     ledger.Amount // minted ever, at most

	// Fees, on top of that of every transaction.
	RegisterFee ledger.Amount // for a registration, whose proof costs every node 2 ms
	StakeFee    ledger.Amount // for every other staking transaction, and each validator after the first of a claim

	// Slashes, in basis points of what was staked.
	DuplicateVoteBps uint32
	LightAttackBps   uint32
	DowntimeBps      uint32

	// Downtime: jailed after missing more than MaxMissed of the last Window
	// counted blocks, for JailEpochs; see Context.Count. MaxMissed is at least a
	// third of Window, so that no third of the power can jail anybody, and Window is
	// at least Seats: in a smaller one the members' shares of the window would be
	// less than a block, and nobody be jailed for downtime.
	Window     uint32
	MaxMissed  uint32
	JailEpochs uint32
	// MeterBps is how much power may have been jailed for downtime within
	// MeterEpochs, in basis points of the committee's, before no more is. The last
	// member that is jailed may exceed it, whatever its power, or one that is large
	// could stay away for ever. So one jailing passes in any MeterEpochs, also if
	// MeterBps is 0, and less than MeterBps and one member's power is jailed in all.
	// Whoever is spared is judged anew in the next block that counts. The epochs
	// count from the first jailing. Equivocation is not metered.
	MeterBps    uint32
	MeterEpochs uint32
}

// DefaultParams are the parameters to start with, at blocks of three seconds:
// epochs of an hour, 21 days of unbonding, 20 days of evidence.
func DefaultParams() Params {
	return Params{
		EpochBlocks: 1_200,
		Seats:       100, PowerCapBps: 1_000,
		MinStake: 10_000 * ledger.DropsPerCoin, MinSelfStake: 1_000 * ledger.DropsPerCoin, MinDelegation: ledger.DropsPerCoin,
		UnbondingEpochs: 504, EvidenceEpochs: 480, MaxEntries: 7,
		EpochReward: 100 * ledger.DropsPerCoin, MintCap: 100_000_000 * ledger.DropsPerCoin,
		RegisterFee: ledger.DropsPerCoin, StakeFee: 100,
		DuplicateVoteBps: 500, LightAttackBps: 500, DowntimeBps: 10,
		Window: 100, MaxMissed: 50, JailEpochs: 2,
		MeterBps: 500, MeterEpochs: 1,
	}
}

// LocalParams are DefaultParams for networks on one machine, at five blocks a
// second: epochs of four seconds, two minutes of unbonding.
func LocalParams() Params {
	p := DefaultParams()
	p.EpochBlocks = 20
	p.PowerCapBps = 4_000
	p.MinStake, p.MinSelfStake = 100*ledger.DropsPerCoin, 10*ledger.DropsPerCoin
	p.UnbondingEpochs, p.EvidenceEpochs = 30, 25
	p.EpochReward = ledger.DropsPerCoin
	return p
}

// Epoch returns the epoch of the block at height, which must not be 0.
func (p *Params) Epoch(height uint64) uint64 { return (height - 1) / p.EpochBlocks }

// FirstBlock returns the height of the first block of an epoch.
func (p *Params) FirstBlock(epoch uint64) uint64 { return epoch*p.EpochBlocks + 1 }

// LastBlock returns the height of the last block of an epoch.
func (p *Params) LastBlock(epoch uint64) uint64 { return (epoch + 1) * p.EpochBlocks }

// electionBlock returns the height of the block that elects the committee of
// the epoch after epoch.
func (p *Params) electionBlock(epoch uint64) uint64 { return p.LastBlock(epoch) - 1 }

// EpochBlock reports whether the block at height elects or ends an epoch, and so
// changes the state even if it has no records.
func (p *Params) EpochBlock(height uint64) bool {
	e := p.Epoch(height)
	return height == p.LastBlock(e) || height == p.electionBlock(e)
}

// Kept is for how many epochs after its own an epoch's committee is remembered.
func (p *Params) Kept() uint64 { return uint64(p.UnbondingEpochs) + uint64(p.EvidenceEpochs) + 2 }

// FirstCommittee returns the first epoch whose committee the state after the block at
// height remembers.
func (p *Params) FirstCommittee(height uint64) uint64 {
	last := p.Epoch(height + 2) // of the committee that is elected last
	return last - min(last, p.Kept())
}

// Bounds of parameters.
const (
	minEpochBlocks = 10
	maxEpochBlocks = 1 << 20
	// MaxSeats bounds the committee: every member's signature travels with every
	// block.
	MaxSeats = 1_000
	// MaxEntries bounds the unbondings of one delegation that are under way.
	MaxEntries = 16
	// MaxWindow bounds Params.Window.
	MaxWindow         = 10_000
	maxEpochs         = 10_000
	maxDowntimeBps    = 1_000
	maxAmountOfParams = ledger.Amount(1) << 60
	maxFee            = ledger.Amount(1_000_000_000_000)
)

// Validate returns an error that names the first parameter out of its range.
func (p *Params) Validate() error {
	for _, r := range []struct {
		name             string
		value, low, high uint64
	}{
		{"epoch_blocks", p.EpochBlocks, minEpochBlocks, maxEpochBlocks},
		{"seats", uint64(p.Seats), 1, MaxSeats},
		{"power_cap_bps", uint64(p.PowerCapBps), 1, ledger.BasisPoints},
		{"min_stake", uint64(p.MinStake), 1, uint64(maxAmountOfParams)},
		{"min_self_stake", uint64(p.MinSelfStake), 1, uint64(maxAmountOfParams)},
		{"min_delegation", uint64(p.MinDelegation), 1, uint64(maxAmountOfParams)},
		{"unbonding_epochs", uint64(p.UnbondingEpochs), 2, maxEpochs},
		{"evidence_epochs", uint64(p.EvidenceEpochs), 1, maxEpochs},
		{"max_entries", uint64(p.MaxEntries), 1, MaxEntries},
		{"epoch_reward", uint64(p.EpochReward), 0, uint64(maxAmountOfParams)},
		{"mint_cap", uint64(p.MintCap), 0, uint64(ledger.MaxAmount)},
		{"register_fee", uint64(p.RegisterFee), 0, uint64(maxFee)},
		{"stake_fee", uint64(p.StakeFee), 0, uint64(maxFee)},
		{"duplicate_vote_bps", uint64(p.DuplicateVoteBps), 0, ledger.BasisPoints},
		{"light_attack_bps", uint64(p.LightAttackBps), 0, ledger.BasisPoints},
		{"downtime_bps", uint64(p.DowntimeBps), 0, maxDowntimeBps},
		{"window", uint64(p.Window), 10, MaxWindow},
		{"max_missed", uint64(p.MaxMissed), 1, MaxWindow},
		{"jail_epochs", uint64(p.JailEpochs), 1, maxEpochs},
		{"meter_bps", uint64(p.MeterBps), 0, ledger.BasisPoints},
		{"meter_epochs", uint64(p.MeterEpochs), 1, maxEpochs},
	} {
		if r.value < r.low || r.value > r.high {
			return fmt.Errorf("%s is %d, want %d to %d", r.name, r.value, r.low, r.high)
		}
	}
	switch {
	case p.UnbondingEpochs <= p.EvidenceEpochs:
		return fmt.Errorf("unbonding_epochs is %d, more than evidence_epochs %d, or stake could leave before its fault is known", p.UnbondingEpochs, p.EvidenceEpochs)
	case p.MaxMissed >= p.Window:
		return fmt.Errorf("max_missed is %d, less than window %d", p.MaxMissed, p.Window)
	case p.Window < p.Seats:
		return fmt.Errorf("window is %d, at least seats %d, or members would have less than a block of it and nobody be jailed for downtime", p.Window, p.Seats)
	case 3*p.MaxMissed < p.Window:
		return fmt.Errorf("max_missed is %d, at least a third of window %d, or a third of the power could jail anybody", p.MaxMissed, p.Window)
	case p.MinSelfStake > p.MinStake:
		return errors.New("min_self_stake is above min_stake")
	}
	return nil
}

func (p *Params) fields() (longs []*uint64, amounts []*ledger.Amount, ints []*uint32) {
	return []*uint64{&p.EpochBlocks},
		[]*ledger.Amount{
			&p.MinStake, &p.MinSelfStake, &p.MinDelegation, &p.EpochReward, &p.MintCap, &p.RegisterFee, &p.StakeFee,
		},
		[]*uint32{
			&p.Seats, &p.PowerCapBps, &p.UnbondingEpochs, &p.EvidenceEpochs, &p.MaxEntries,
			&p.DuplicateVoteBps, &p.LightAttackBps, &p.DowntimeBps,
			&p.Window, &p.MaxMissed, &p.JailEpochs, &p.MeterBps, &p.MeterEpochs,
		}
}

// Append writes the parameters: epoch_blocks u64, then the amounts as u64, then
// the others as u32.
func (p *Params) Append(w *codec.Writer) {
	longs, amounts, ints := p.fields()
	for _, v := range longs {
		w.Uint64(*v)
	}
	for _, v := range amounts {
		w.Uint64(uint64(*v))
	}
	for _, v := range ints {
		w.Uint32(*v)
	}
}

// Read reads what Append wrote.
func (p *Params) Read(r *codec.Reader) {
	longs, amounts, ints := p.fields()
	for _, v := range longs {
		*v = r.Uint64()
	}
	for _, v := range amounts {
		*v = ledger.Amount(r.Uint64())
	}
	for _, v := range ints {
		*v = r.Uint32()
	}
}
