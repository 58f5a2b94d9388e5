package anchor

import (
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
)

// Verdict is what a Conflict shows.
type Verdict struct {
	// Signed are the rows of the validators that signed both versions, ascending. If
	// both are of one epoch they have more than a third of the power.
	Signed []uint64
	// Guilty says that no honest member signs both: they are of one round, or of one
	// block with different outcomes. Otherwise two blocks were certified in different
	// rounds; then more than a third of the power broke the rules by which members
	// lock on a block, but two signatures of one member may be without fault.
	Guilty bool
	// Epoch is the later of the two epochs.
	Epoch uint64
	// Generation is that of both.
	Generation uint32
}

// Judge looks at two certified versions of one height of a shard. It changes nothing
// and refuses with
//
//	CodeNoConflict         the runs are not of one generation of one shard or do not have
//	                       the height, both have the same version of it, or nobody signed
//	                       both
//	CodeUnknownCommittee   of an epoch whose committee is not known any more, or by
//	                       another committee than that of the epoch and generation
//	CodeTooLarge           a run weighs more than MaxWeight
//	CodeWrongNetwork, CodeUnknownShard, CodeBadCertificate, CodeMalformed   as Apply
//
// Who lost the seat by a redraw is judged by the generation of what it signed.
func (c *Context) Judge(in *Conflict) (Verdict, error) {
	v, err := c.compare(in)
	if err != nil {
		return Verdict{}, err
	}
	for _, run := range []*cert.Run{&in.A, &in.B} {
		if err := c.verify(run); err != nil {
			return Verdict{}, err
		}
	}
	return v, nil
}

// PrepareConflict is Judge without the signatures, and returns what verifies them, as
// Prepare does.
func (c *Context) PrepareConflict(in *Conflict) (verify func() (proved []ledger.Hash, err error), err error) {
	if _, err := c.compare(in); err != nil {
		return nil, err
	}
	return func() (proved []ledger.Hash, err error) {
		for _, run := range []*cert.Run{&in.A, &in.B} {
			if err := c.verify(run); err != nil {
				return nil, err
			}
			proved = append(proved, run.Hash())
		}
		return proved, nil
	}, nil
}

// compare is Judge without the signatures.
func (c *Context) compare(in *Conflict) (Verdict, error) {
	if in.A.Chain != in.B.Chain {
		return Verdict{}, chain.Refuse(chain.CodeNoConflict, "runs of shards %d and %d", in.A.Chain, in.B.Chain)
	}
	if in.A.Generation != in.B.Generation {
		return Verdict{}, chain.Refuse(chain.CodeNoConflict, "runs of generations %d and %d of shard %d, each of which makes the heights after its first anew", in.A.Generation, in.B.Generation, in.Shard())
	}
	if _, ok := Read(c.State, in.Shard()); !ok {
		return Verdict{}, chain.Refuse(chain.CodeUnknownShard, "shard %d is not founded", in.Shard())
	}
	for _, run := range []*cert.Run{&in.A, &in.B} {
		if weight := Weight(&Anchors{Runs: []cert.Run{*run}}); c.MaxWeight > 0 && weight > c.MaxWeight {
			return Verdict{}, chain.Refuse(chain.CodeTooLarge, "a run of weight %d, at most %d: no such run is anchored", weight, c.MaxWeight)
		}
		if err := refusal(run.Check(c.Network, run.Chain, c.committees(run))); err != nil {
			return Verdict{}, err
		}
		if in.Height < run.First || in.Height > run.Last() {
			return Verdict{}, chain.Refuse(chain.CodeNoConflict, "a run has heights %d to %d, not %d", run.First, run.Last(), in.Height)
		}
	}
	a, b := in.A.Checkpoint(int(in.Height-in.A.First)), in.B.Checkpoint(int(in.Height-in.B.First))
	if sameBlock(&a, &b) {
		return Verdict{}, chain.Refuse(chain.CodeNoConflict, "both runs have the same block and state at height %d", in.Height)
	}
	v := Verdict{Guilty: a.Round == b.Round || a.BlockHash == b.BlockHash, Epoch: max(a.Epoch, b.Epoch), Generation: a.Generation}
	first := c.rows(&in.A, in.Height)
	for _, row := range c.rows(&in.B, in.Height) {
		if slices.Contains(first, row) {
			v.Signed = append(v.Signed, row)
		}
	}
	if len(v.Signed) == 0 {
		return Verdict{}, chain.Refuse(chain.CodeNoConflict, "nobody signed both versions of height %d", in.Height)
	}
	slices.Sort(v.Signed)
	return v, nil
}

// rows returns the validators that signed a height of a run that passed cert.Run.Check.
func (c *Context) rows(run *cert.Run, height uint64) (rows []uint64) {
	at := int(height - run.First)
	p := run.Checkpoint(at)
	com, _, _ := c.Committees(run.Chain, p.Epoch, p.Generation)
	for _, i := range run.Signers(at) {
		rows = append(rows, com.Members[i].Validator)
	}
	return rows
}
