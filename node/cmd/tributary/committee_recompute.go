package main

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/consensus/beacon"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
)

// Where the seed of a recomputation comes from.
const (
	seedOfSeals   = "seals"   // derived from the seals of the blocks of an epoch
	seedOfGenesis = "genesis" // the hash of the genesis at hand
	seedOfRecord  = "record"  // taken from the committee's record, not derived
)

// recomputation is what 'committee recompute' found.
type recomputation struct {
	Epoch      uint64      `json:"epoch"`
	Equal      bool        `json:"equal"`
	Difference string      `json:"difference,omitempty"`
	Committee  ledger.Hash `json:"committee"`
	Candidates int         `json:"candidates"`
	Members    int         `json:"members"`
	Seed       ledger.Hash `json:"seed"` // of the record
	SeedSource string      `json:"seed_source"`
	SeedReason string      `json:"seed_reason,omitempty"` // why it was not derived
	SeedEpoch  uint64      `json:"seed_epoch"`            // whose blocks' seals made it; 0 for epochs 0 and 1, too
	Blocks     int         `json:"blocks"`                // of that epoch
	Seals      int         `json:"seals"`                 // of those blocks, all verified
	Certified  uint64      `json:"record_certified_height,omitempty"`
}

func (c *cli) committeeRecomputeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "recompute [EPOCH|latest]",
		Short: "Derive the seed and elect the committee of an epoch anew, from public data, and compare",
		Long: `Derive the seed of an epoch's election from the seals of blocks, elect the committee
anew on this machine, and compare both with the record of the committee that votes.
Says that they are equal, or what differs, and then ends with 1.

The seed: epoch E uses the seed that epoch E-2 left. Every block of E-2 has a seal of
its proposer. Each is verified with the proposer's BLS key in the committee of E-2, all
are folded into the seed before, that of the record of E-1, and the result must be the
seed of the record. One seal that is wrong, missing or too many gives another seed.
Epochs 0 and 1 use the hash of the genesis; it is compared with the genesis at hand.

A node keeps the seals of about its last 100,000 blocks (pruning.keep_receipts, and an
epoch more), and none from before a snapshot it joined by. Where they are gone the
seed is not derived but taken from the record, and the output says so and why; ask a
node that keeps everything with --node.

The election: the candidates come from the node, and are those of the election if
their hash is the one in the record. The rules and the committee are the record's.

The record is proved to be in a state, the node's newest if that has not forgotten it. If the node has the hand-over,
it is also proved to be in a state that the committee before certified; whether that
committee is the chain's, 'query certificate --since' and 'verify certificate' tell.`,
		Args: cobra.MaximumNArgs(1),
		RunE: c.connected(func(run *run) error {
			epoch, err := run.epoch()
			if err != nil {
				return err
			}
			r, err := run.recompute(epoch)
			if err != nil {
				return err
			}
			if err := c.print(r, r.fields); err != nil || r.Equal {
				return err
			}
			return exitf(exitError, "the committee of epoch %d is not what public data make: %s", epoch, r.Difference)
		}),
	}
}

func (run *run) recompute(epoch uint64) (*recomputation, error) {
	info, err := run.committeeInfo(epoch)
	if err != nil {
		return nil, err
	}
	election, err := run.conn.Election(run.ctx, epoch)
	if err != nil {
		return nil, err
	}
	r, err := compareElection(epoch, &info, &election)
	if err != nil {
		return nil, err
	}
	if err := run.compareKept(r, &info.Record); err != nil {
		return nil, err
	}
	if r.Certified, err = run.certifiedAt(epoch, info.Record.Encode()); err != nil {
		return nil, err
	}
	if epoch < beacon.Lag {
		run.seedOfGenesis(r)
		return r, nil
	}
	return r, run.deriveSeed(r)
}

// compareElection elects anew and compares.
func compareElection(epoch uint64, info *client.CommitteeInfo, election *client.Election) (*recomputation, error) {
	record := &info.Record
	if err := info.Verify(epoch, info.Proof.Root); err != nil {
		return nil, fmt.Errorf("the node does not prove its committee: %w", err)
	}
	r := &recomputation{
		Epoch: epoch, Committee: record.Committee.Hash(), Candidates: len(election.Candidates),
		Members: len(record.Committee.Members), Seed: record.Seed, SeedSource: seedOfRecord,
	}
	switch err := record.Check(election.Candidates); {
	case err == nil:
		r.Equal = true
	case errors.Is(err, committee.ErrWrongElection), errors.Is(err, committee.ErrWrongCandidates):
		r.Difference = err.Error()
	default:
		return nil, err
	}
	return r, nil
}

// compareKept compares the members of a record in which nobody was elected with those
// of the epoch before, who stay.
func (run *run) compareKept(r *recomputation, record *committee.Record) error {
	if !record.Kept {
		return nil
	}
	before, err := run.record(r.Epoch - 1) // a committee that is kept is not the first
	if err != nil {
		return fmt.Errorf("nobody was elected, and the committee before, which stays, cannot be compared: %w", err)
	}
	r.compareMembers(record.Committee.Members, before.Committee.Members)
	return nil
}

func (r *recomputation) compareMembers(members, before []committee.Member) {
	if !slices.Equal(members, before) {
		r.differs("nobody was elected, and the %d members are not the %d of the epoch before", len(members), len(before))
	}
}

// differs notes a difference.
func (r *recomputation) differs(format string, args ...any) {
	if r.Difference != "" {
		r.Difference += "; "
	}
	r.Difference += fmt.Sprintf(format, args...)
	r.Equal = false
}

// seedOfGenesis compares the seed with the hash of the genesis at hand.
func (run *run) seedOfGenesis(r *recomputation) {
	doc, err := run.conn.cli.genesisAtHand()
	if err != nil || doc.NetworkID() != run.conn.Domain().Network {
		r.SeedReason = "the seed of epochs 0 and 1 is the hash of the genesis, which is not at hand; name it with --home or --testnet"
		return
	}
	r.SeedSource = seedOfGenesis
	if hash := doc.Settlement().Hash(); hash != r.Seed {
		r.differs("the hash of the genesis is %s, the seed of the record %s", hash, r.Seed)
	}
}

// deriveSeed derives the seed from the seals of the epoch before the last, if the node
// has all that it takes, and compares it with the record's.
func (run *run) deriveSeed(r *recomputation) error {
	r.SeedEpoch = r.Epoch - beacon.Lag
	seals, err := run.conn.Seals(run.ctx, r.SeedEpoch)
	if pruned(err) {
		r.SeedReason = err.Error()
		return nil
	}
	if err != nil {
		return err
	}
	sealers, err := run.record(r.SeedEpoch)
	if err == nil {
		var before committee.Record
		if before, err = run.record(r.Epoch - 1); err == nil {
			return run.compareSeed(r, &seals, &sealers.Committee, before.Seed)
		}
	}
	if pruned(err) {
		r.SeedReason = err.Error()
		return nil
	}
	return err
}

// compareSeed derives the seed and compares it.
func (run *run) compareSeed(r *recomputation, seals *client.EpochSeals, sealers *committee.Committee, previous ledger.Hash) error {
	seed, sealed, err := seals.Seed(run.ctx, run.conn.Domain(), sealers, previous)
	r.Blocks, r.Seals = len(seals.Seals), sealed
	switch {
	case errors.Is(err, client.ErrWrongSeal), errors.Is(err, client.ErrEpochNotOver):
		r.differs("%v", err)
	case err != nil:
		return err
	case seed != r.Seed:
		r.SeedSource = seedOfSeals
		r.differs("the %d seals of epoch %d make the seed %s, the record has %s", sealed, r.SeedEpoch, seed, r.Seed)
	default:
		r.SeedSource = seedOfSeals
	}
	return nil
}

func pruned(err error) bool {
	e, ok := errors.AsType[*client.Error](err)
	return ok && e.Reason == "PRUNED"
}

// committeeInfo returns the committee of an epoch as the node proves it in its state, or
// by its hand-over if the state has forgotten it.
func (run *run) committeeInfo(epoch uint64) (client.CommitteeInfo, error) {
	info, err := run.conn.Committee(run.ctx, epoch)
	if err == nil || !pruned(err) || epoch == 0 {
		return info, err
	}
	h, again := run.conn.Handover(run.ctx, epoch)
	if again != nil {
		return info, err
	}
	record, err := committee.DecodeRecord(h.Record.Value)
	return client.CommitteeInfo{Record: record, Proof: h.Record}, err
}

// record returns the record of an epoch's committee, as committeeInfo proves it.
func (run *run) record(epoch uint64) (committee.Record, error) {
	info, err := run.committeeInfo(epoch)
	if err != nil {
		return committee.Record{}, err
	}
	return info.Record, info.Verify(epoch, info.Proof.Root)
}

// certifiedAt returns the height of a block after which the state had the record of an
// epoch's committee, as the committee before certified; 0 if the node cannot show that.
func (run *run) certifiedAt(epoch uint64, record []byte) (uint64, error) {
	if epoch == 0 {
		return 0, nil
	}
	h, err := run.conn.Handover(run.ctx, epoch)
	if e, ok := errors.AsType[*client.Error](err); ok && (e.Reason == "NO_HANDOVER" || e.Reason == "PRUNED") {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	before, err := run.record(epoch - 1)
	if pruned(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	trust, err := client.TrustCommittee(run.conn.Domain(), before.Committee)
	if err == nil {
		_, err = trust.WithEpochs(run.conn.Params().Staking.EpochBlocks).Next(&h)
	}
	if err == nil && !bytes.Equal(h.Record.Value, record) {
		err = errors.New("it is of another record than that in the node's state")
	}
	if err != nil {
		return 0, fmt.Errorf("the node's hand-over to epoch %d does not hold: %w", epoch, err)
	}
	return h.Certificate.Checkpoint.Height, nil
}

func (r *recomputation) fields(t *table) {
	t.field("epoch", r.Epoch)
	t.field("committee", r.Committee)
	t.field("candidates", r.Candidates)
	t.field("members", r.Members)
	t.field("seed", r.Seed)
	switch r.SeedSource {
	case seedOfSeals:
		t.field("seed from", fmt.Sprintf("%s of the %s of epoch %d, each verified", plural(r.Seals, "seal"), plural(r.Blocks, "block"), r.SeedEpoch))
	case seedOfGenesis:
		t.field("seed from", "the hash of the genesis")
	default:
		t.field("seed from", "the committee's record; it was NOT derived: "+r.SeedReason)
	}
	if r.Certified > 0 {
		t.field("record", fmt.Sprintf("certified by the committee of epoch %d in block %d", r.Epoch-1, r.Certified))
	} else {
		t.field("record", "in a state of the node's; it has no certificate of it by the committee before")
	}
	if r.Equal {
		t.field("recomputed", "equal")
	} else {
		t.field("recomputed", "different: "+r.Difference)
	}
}
