package anchor

import (
	"errors"
	"fmt"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/merkle"
	"github.com/tributary-network/tributary/shard"
)

// Committees returns the committee of a generation of a shard in an epoch with its decoded
// keys (committee.Keys), or ok=false if none is known. It answers from the state of the
// main chain: the same on every node.
type Committees func(id shard.ID, epoch uint64, generation uint32) (com *committee.Committee, keys []*bls.Key, ok bool)

// Context is where and when things happen on the main chain.
type Context struct {
	State      *chain.Overlay
	Rules      *Params
	Network    ledger.NetworkID
	Height     uint64 // of the block
	Epoch      uint64 // of the block
	Committees Committees
	// MaxWeight is what Weight says of anchors at most, 0 for no bound.
	MaxWeight int64
	// Proved reports whether a run, by its Hash, has been verified before against
	// whatever committees. It saves the pairings and has no influence on the outcome:
	// the bytes of a run name its committees. Nil knows none.
	Proved func(run ledger.Hash) bool
}

// Result is what became of a run.
type Result struct {
	Shard shard.ID
	// First and Last are the heights that were taken, or those of the run if it was not.
	First, Last uint64
	// Code is CodeOK for a run that was taken. Of the others nothing was changed.
	Code   chain.Code
	Detail string // for people; never hashed
	// Due says that the run, if it was taken, came when it was due, so that who sent it
	// pays nothing for it; Finished that the shard is anchored to its end.
	Due, Finished bool
}

// Taken reports whether the run was taken.
func (r *Result) Taken() bool { return r.Code == chain.CodeOK }

// Heights returns the number of heights from First to Last.
func (r *Result) Heights() uint64 { return r.Last - r.First + 1 }

// Apply anchors what it can of a: each run is taken or refused for itself, so that who
// comes second with the heights of one shard does not lose those of another. If none is
// taken, Apply refuses as the first of them is, and changes nothing. The results are
// in the order of the runs, which are refused with
//
//	CodeWrongNetwork       of another network
//	CodeUnknownShard       never founded, or an heir of shards that are not finished
//	CodeAnchorGeneration   of a generation of the shard that ended, or has not begun
//	CodeAnchorStale        all of it is anchored, or it begins with a height that was
//	                       before the generation began
//	CodeAnchorConflict     it has another version of the last anchored height; Judge says
//	                       whether that is certified
//	CodeAnchorGap          it begins beyond the next height
//	CodeShardEnded         it goes beyond the last height of the shard, which is the first
//	                       one of the epoch in which the shard is replaced, or of a later
//	CodeAnchorEpoch        a height is of an earlier epoch than the one before it, than
//	                       that in which the shard or its generation began, or of one
//	                       that has not begun
//	CodeUnknownCommittee   of an epoch whose committee is not known or not answerable
//	                       any more, or by another committee than that of the epoch
//	CodeBadCertificate     members with too little power signed, or a signer is no
//	                       member, or the signature is not theirs
//	CodeMalformed          not in the canonical form
//
// All but the last look at CodeBadCertificate is done without a pairing. a itself is
// refused as a whole as DecodeAnchors does, and with CodeTooLarge if it weighs more than
// MaxWeight.
func (c *Context) Apply(a *Anchors) ([]Result, error) {
	return c.each(a, func(s *State, run *cert.Run) error {
		if err := c.verify(run); err != nil {
			return err
		}
		for i := s.known(run); i < len(run.Heads); i++ {
			p := run.Checkpoint(i)
			s.push(&p)
		}
		if s.Until > 0 && s.Last.Epoch >= s.Until {
			s.End = s.Height()
			c.State.Delete(openKey(run.Chain))
		}
		s.From = c.Height
		c.State.Set(Key(run.Chain), s.Encode())
		return nil
	})
}

// Check is Apply without the signatures and without a change: what it refuses Apply
// refuses now. It costs a fraction of a millisecond, and for a repeat two microseconds.
func (c *Context) Check(a *Anchors) ([]Result, error) {
	return c.each(a, func(*State, *cert.Run) error { return nil })
}

// Prepare is Check, and returns what verifies the signatures of the runs that pass it:
// a function that asks Committees again and the state nothing. It returns what Verify
// returns.
func (c *Context) Prepare(a *Anchors) (verify func() (proved []ledger.Hash, err error), err error) {
	var runs []*cert.Run
	_, err = c.each(a, func(_ *State, run *cert.Run) error {
		runs = append(runs, run)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return func() (proved []ledger.Hash, err error) {
		for _, run := range runs {
			if fault := c.verify(run); fault == nil {
				proved = append(proved, run.Hash())
			} else if err == nil {
				err = fault
			}
		}
		if len(proved) > 0 {
			return proved, nil
		}
		return nil, err
	}, nil
}

// Verify is Apply without a change, for who admits transactions: what it refuses Apply
// refuses now. proved are the hashes of the runs that hold, for Context.Proved; whether
// they are taken when the block comes is another matter. A run that is not signed is
// found here at the cost of one node, and in a block at that of all.
func (c *Context) Verify(a *Anchors) (proved []ledger.Hash, err error) {
	_, err = c.each(a, func(_ *State, run *cert.Run) error {
		err := c.verify(run)
		if err == nil {
			proved = append(proved, run.Hash())
		}
		return err
	})
	return proved, err
}

// each does something with each run that the state does not refuse.
func (c *Context) each(a *Anchors, do func(s *State, run *cert.Run) error) ([]Result, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	if weight := Weight(a); c.MaxWeight > 0 && weight > c.MaxWeight {
		return nil, chain.Refuse(chain.CodeTooLarge, "anchors of weight %d, at most %d: send fewer heights at once", weight, c.MaxWeight)
	}
	var first error
	taken := false
	results := make([]Result, len(a.Runs))
	for i := range a.Runs {
		run := &a.Runs[i]
		s, err := c.look(run)
		results[i] = Result{Shard: run.Chain, First: run.First, Last: run.Last()}
		known := uint64(0)
		if err == nil {
			known = uint64(s.known(run))
			results[i].Due = c.Rules.DueWith(c.Height, s.From, len(run.Heads) <= EagerHeights && sends(run.Heads[known:]))
			err = do(&s, run)
		}
		if err == nil {
			results[i].First += known
			taken = true
			results[i].Finished = s.Finished()
			continue
		}
		results[i].refuse(err)
		if first == nil {
			first = err
		}
	}
	if !taken {
		return nil, first
	}
	return results, nil
}

// known returns how many of the first heights of a run are anchored.
func (s *State) known(run *cert.Run) int {
	return int(min(s.Height()+1-min(run.First, s.Height()+1), uint64(len(run.Heads))))
}

// sends reports whether a height has messages for others.
func sends(heads []cert.Head) bool {
	return slices.ContainsFunc(heads, func(h cert.Head) bool { return !h.OutboxRoot.IsZero() })
}

func (r *Result) refuse(err error) {
	rule, ok := errors.AsType[*chain.RuleError](err)
	if !ok {
		panic(fmt.Errorf("a run is refused without a code: %w", err))
	}
	r.Code, r.Detail, r.Due = rule.Code, rule.Detail, false
}

// look checks everything of a run but its signature, what costs least first, and
// returns its shard.
func (c *Context) look(run *cert.Run) (State, error) {
	if run.Network != c.Network {
		return State{}, chain.Refuse(chain.CodeWrongNetwork, "run of network %s, want %s", run.Network, c.Network)
	}
	if len(run.Heads) == 0 {
		return State{}, chain.Refuse(chain.CodeMalformed, "run of shard %d without heights", run.Chain)
	}
	s, ok := Read(c.State, run.Chain)
	if !ok {
		return State{}, chain.Refuse(chain.CodeUnknownShard, "shard %d is not founded", run.Chain)
	}
	for i := range run.Heads {
		if int(run.Heads[i].Set) >= len(run.Sets) {
			return State{}, chain.Refuse(chain.CodeMalformed, "run of shard %d: signers %d of %d", run.Chain, run.Heads[i].Set, len(run.Sets))
		}
	}
	if run.Generation != s.Generation {
		return s, chain.Refuse(chain.CodeAnchorGeneration, "run of generation %d of shard %d, which is in generation %d since it went on from height %d",
			run.Generation, run.Chain, s.Generation, s.Resumed)
	}
	if err := s.place(run); err != nil {
		return s, err
	}
	if err := c.epochs(&s, run); err != nil {
		return s, err
	}
	return s, refusal(run.Check(c.Network, run.Chain, c.committees(run)))
}

// place checks that the run goes on where the shard's anchors end.
func (s *State) place(run *cert.Run) error {
	next, last := s.Height()+1, run.Last()
	if run.First < next && last >= s.Height() && run.First > s.Resumed {
		if p := run.Checkpoint(int(s.Height() - run.First)); !sameBlock(&p, &s.Last) {
			return chain.Refuse(chain.CodeAnchorConflict, "height %d of shard %d is anchored with block %s, the run has block %s: if both are certified, send them as a conflict",
				s.Height(), run.Chain, s.Last.BlockHash, p.BlockHash)
		}
	}
	switch {
	case last < next:
		return chain.Refuse(chain.CodeAnchorStale, "shard %d is anchored up to height %d, the run ends at %d", run.Chain, s.Height(), last)
	case run.First <= s.Resumed:
		return chain.Refuse(chain.CodeAnchorStale, "generation %d of shard %d goes on from height %d, the run begins at %d", s.Generation, run.Chain, s.Resumed, run.First)
	case run.First > next:
		return chain.Refuse(chain.CodeAnchorGap, "run of shard %d begins at height %d, want %d: send those before first", run.Chain, run.First, next)
	case s.End > 0 && last > s.End:
		return chain.Refuse(chain.CodeShardEnded, "run of shard %d ends at height %d, the shard at %d", run.Chain, last, s.End)
	case last > merkle.MaxSize:
		return chain.Refuse(chain.CodeTooLarge, "run of shard %d ends at height %d, at most %d", run.Chain, last, uint64(merkle.MaxSize))
	}
	return nil
}

// sameBlock reports whether two checkpoints are the same but for the round. More than
// two thirds may have precommitted one block in several rounds, and nobody is to
// blame for that.
func sameBlock(a, b *cert.Checkpoint) bool {
	x, y := *a, *b
	x.Round, y.Round = 0, 0
	return x == y
}

// epochs checks that the epochs of what is new in the run are those in which the shard
// serves and whose committees are answerable, and that they do not fall.
func (c *Context) epochs(s *State, run *cert.Run) error {
	before := s.Floor()
	for i := s.known(run); i < len(run.Heads); i++ {
		e := run.Sets[run.Heads[i].Set].Epoch
		height := run.First + uint64(i)
		switch {
		case e < before:
			return chain.Refuse(chain.CodeAnchorEpoch, "height %d of shard %d is of epoch %d, want %d or later", height, run.Chain, e, before)
		case e > c.Epoch:
			return chain.Refuse(chain.CodeAnchorEpoch, "height %d of shard %d is of epoch %d, this is epoch %d", height, run.Chain, e, c.Epoch)
		case s.Until > 0 && e >= s.Until && i+1 < len(run.Heads):
			return chain.Refuse(chain.CodeShardEnded, "height %d of shard %d is of epoch %d, in which it is replaced: it is the last one, the run goes on to %d", height, run.Chain, e, run.Last())
		case e+uint64(c.Rules.MaxLag) < c.Epoch:
			return chain.Refuse(chain.CodeUnknownCommittee, "height %d of shard %d is of epoch %d, at most %d epochs ago: its committee may have left", height, run.Chain, e, c.Rules.MaxLag)
		}
		before = e
	}
	return nil
}

func (c *Context) committees(run *cert.Run) cert.Committees {
	return func(epoch uint64) (*committee.Committee, []*bls.Key, bool) {
		return c.Committees(run.Chain, epoch, run.Generation)
	}
}

// verify verifies the signature of a run that passed look.
func (c *Context) verify(run *cert.Run) error {
	if c.Proved != nil && c.Proved(run.Hash()) {
		return nil
	}
	return refusal(run.Verify(c.Network, run.Chain, c.committees(run)))
}

// refusal gives an error of cert the code of the rule that it breaks.
func refusal(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, cert.ErrNotCanonical), errors.Is(err, cert.ErrBitmap):
		return chain.Refuse(chain.CodeMalformed, "%v", err)
	case errors.Is(err, cert.ErrWrongNetwork):
		return chain.Refuse(chain.CodeWrongNetwork, "%v", err)
	case errors.Is(err, cert.ErrWrongGeneration):
		return chain.Refuse(chain.CodeAnchorGeneration, "%v", err)
	case errors.Is(err, cert.ErrWrongEpoch), errors.Is(err, cert.ErrWrongCommittee):
		return chain.Refuse(chain.CodeUnknownCommittee, "%v", err)
	case errors.Is(err, cert.ErrStranger), errors.Is(err, cert.ErrTooLittlePower), errors.Is(err, cert.ErrBadSignature):
		return chain.Refuse(chain.CodeBadCertificate, "%v", err)
	default: // cert.ErrWrongKeys: Committees does not do what it promises
		panic(fmt.Errorf("verify a run: %w", err))
	}
}

// Stalled returns the shards that serve and get another committee, ascending by id.
func (c *Context) Stalled(epoch Epochs) []shard.ID {
	return StalledAt(c.State, c.Rules, c.Height, epoch)
}

// Redrawn notes that a founded shard gets another committee in this epoch and block, by
// shard.Redraw in the round that Round says. The new committee begins another
// generation, as Restarted says.
func (c *Context) Redrawn(id shard.ID, round uint32) {
	if s, ok := Read(c.State, id); ok {
		c.begin(&s)
		s.Redraws = round
		c.State.Set(Key(id), s.Encode())
	}
}

// Restarted notes that a founded shard goes on from its last anchored height with the
// committee of this epoch, whoever is in it: another generation. It has from now on as
// much time as the first one had. Nothing else that was certified before is anchored any
// more, or two would go on from one height.
func (c *Context) Restarted(id shard.ID) {
	if s, ok := Read(c.State, id); ok {
		c.begin(&s)
		c.State.Set(Key(id), s.Encode())
	}
}

// begin begins another generation of a shard.
func (c *Context) begin(s *State) {
	s.end()
	s.Generation++
	s.Resumed, s.ResumedRoot = s.Height(), s.Last.StateRoot
	if s.Resumed == 0 {
		s.Begins, s.Origin = c.Epoch, s.Generation
	}
	if s.RedrawEpoch != c.Epoch {
		s.RedrawEpoch, s.Redraws = c.Epoch, 0
	}
	s.From = c.Height
}

// Round returns the first round for shard.Redraw that was not made in this epoch,
// 1 if there was none, and 0 for a shard that is not founded.
func (c *Context) Round(id shard.ID) uint32 {
	switch s, ok := Read(c.State, id); {
	case !ok:
		return 0
	case s.RedrawEpoch != c.Epoch:
		return 1
	default:
		return s.Redraws + 1
	}
}

// Asked notes that another committee was looked for and there is none: those who serve
// are all who can. It is looked for again when as much time has passed once more.
func (c *Context) Asked(id shard.ID) {
	if s, ok := Read(c.State, id); ok {
		s.Asked = c.Height
		c.State.Set(Key(id), s.Encode())
	}
}
