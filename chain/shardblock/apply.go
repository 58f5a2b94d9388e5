package shardblock

import (
	"errors"
	"fmt"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/shard/link"
	"github.com/tributary-network/tributary/shard/route"
)

// Apply applies a block to the state in v and returns the changes and what the block did.
// The error is ErrInvalid, with the rule that is broken if there is one, for a block that
// no honest member votes for; anything else, such as service.ErrNotConserved, means that
// the chain must halt.
func Apply(v chain.View, b Block, verify Verifiers) (chain.Changes, Result, error) {
	if b.Resume == nil {
		return apply(v, nil, &b, verify)
	}
	if b.Height != b.Resume.Height+1 {
		return nil, Result{}, fmt.Errorf("%w %d: generation %d goes on from height %d", ErrInvalid, b.Height, b.Resume.Generation, b.Resume.Height)
	}
	o, err := b.Resume.over(v)
	if err != nil {
		return nil, Result{}, fmt.Errorf("%w %d: %w", ErrInvalid, b.Height, err)
	}
	var began *registry.EpochRecord
	if b.Resume.Record.Epoch > ReadStatus(v).Epoch {
		began = &b.Resume.Record
	}
	changes, res, err := apply(o, began, &b, verify)
	if err != nil {
		return nil, res, err
	}
	merge(o, changes)
	return o.Changes(), res, nil
}

// apply is Apply to the state that the block begins from. began is the record of the epoch
// that begins with the block, before its relays.
func apply(v chain.View, began *registry.EpochRecord, b *Block, verify Verifiers) (chain.Changes, Result, error) {
	before := ReadStatus(v)
	res := Result{Level: Level(v), Generation: before.Generation}
	if err := admissible(v, b, &before, res.Level); err != nil {
		return nil, res, fmt.Errorf("%w %d: %w", ErrInvalid, b.Height, err)
	}
	w := begin(v, b.Height, verify.Certificate)
	if began != nil {
		w.startEpoch(began)
	}
	if before.Ended != 0 && b.Height > before.Ended { // an empty block, which does nothing
		res.Epoch = before.Epoch
		box, err := link.NewOutbox(nil)
		res.Outbox = box
		return chain.Changes{}, res, err
	}
	for i, r := range b.Relays {
		if err := w.relay(r); err != nil {
			return nil, res, fmt.Errorf("%w %d: relay %d (%s): %w", ErrInvalid, b.Height, i, r.Kind, err)
		}
	}
	if c, ok := Committee(v, b.Height); ok {
		res.Epoch = c.Epoch
	}
	changes, err := w.end(b, &res, verify.Claims)
	if err != nil {
		return nil, res, err
	}
	after := ReadStatus(w.state)
	if after.Since != before.Since {
		old, next := newest(v), newest(w.state)
		res.Updates = updates(&old, &next)
	}
	res.Ended = after.Ended == b.Height
	return changes, res, nil
}

// end applies records, and sends what the block added.
func (w *work) end(b *Block, res *Result, verify service.Verifier) (chain.Changes, error) {
	served, result, err := w.run.End(b.Txs, w.send, verify)
	if err != nil {
		return nil, err
	}
	res.Service, res.Imports = result, w.imports
	s := ReadStatus(w.state)
	w.load(&s, b, result.Receipts)
	if err := s.count(w.view, w.state.Changes()); err != nil {
		return nil, fmt.Errorf("block %d: %w", w.height, err)
	}
	if s != ReadStatus(w.state) {
		w.state.Set(StatusKey(), s.Encode())
	}
	merge(w.state, served)
	changes := w.state.Changes()
	if res.Outbox, err = link.NewOutbox(changes); err != nil {
		return nil, fmt.Errorf("block %d: %w", w.height, err)
	}
	return changes, nil
}

// admissible checks what needs nothing to be applied: that the shard goes on, the order of
// relays, and that a congested shard has no users.
func admissible(v chain.View, b *Block, s *Status, level route.Level) error {
	if s.Ended != 0 && b.Height > s.Ended && len(b.Relays)+len(b.Txs) > 0 {
		return ended(s)
	}
	for i := 1; i < len(b.Relays); i++ {
		if b.Relays[i].rank() < b.Relays[i-1].rank() {
			return chain.Refuse(chain.CodeBadOrder, "relay %d (%s) comes after one of kind %s", i, b.Relays[i].Kind, b.Relays[i-1].Kind)
		}
	}
	if len(b.Txs) == 0 {
		return nil
	}
	return admitUsers(v, level)
}

// ended says that the shard goes no further, as an error and as a rule.
func ended(s *Status) error {
	return fmt.Errorf("%w: %w", ErrEnded, chain.Refuse(chain.CodeShardEnded, "its last block is %d; its heirs serve from epoch %d on", s.Ended, s.Epoch))
}

func admitUsers(v chain.View, level route.Level) error {
	if err := route.Admit(route.User, service.ReadShard(v).Chain, level); err != nil {
		return fmt.Errorf("%w: %w", err, chain.CodeNotDue.Err())
	}
	return nil
}

// AdmitUsers returns nil if the block at height may have users' records: v is the state
// before it. The error is a *route.CongestedError and a chain.RuleError with CodeNotDue, or
// ErrEnded with CodeShardEnded.
func AdmitUsers(v chain.View, height uint64) error {
	if s := ReadStatus(v); s.Ended != 0 && height > s.Ended {
		return ended(&s)
	}
	return admitUsers(v, Level(v))
}

// Trial tries relays one after the other, as a block at a height would have them. It is
// owned by one goroutine.
type Trial struct {
	work   *work
	status Status // before the block
	whole  bool   // the weight of all relays together is that of a block
}

// NewTrial begins a trial over v, the state of the block before, which outlives it.
func NewTrial(v chain.View, height uint64, verify CertificateVerifier) *Trial {
	return &Trial{work: begin(v, height, verify), status: ReadStatus(v)}
}

// Try applies a relay after those that it applied before. The refusal is or wraps
// a *chain.RuleError, and then nothing has changed. Relays of any order may be
// tried; a block has them in that of Plan, which leaves out those whose messages are too
// heavy together.
func (t *Trial) Try(r *Relay) error {
	if s := &t.status; s.Ended != 0 && t.work.height > s.Ended {
		return ended(s)
	}
	if !t.whole {
		t.work.weight = 0
	}
	return t.work.relay(r)
}

// Check returns nil if a block at height with this relay alone would apply, and the
// refusal otherwise.
//
//	CodeMalformed          what it brings is not what it says
//	CodeWrongNetwork, CodeWrongChain
//	                       a certificate of another place
//	CodeUnknownCommittee   of an epoch of main whose committee is not known here, or by
//	                       another committee
//	CodeBadCertificate     members with too little power signed, or not what it says
//	CodeBadProof           a row is not in the state of main that it names
//	CodeNotAnchored        a block of main, or a height of the source, is not known here
//	CodeUnknownShard       the source is no shard
//	CodeAnchorEpoch        the epoch has not begun
//	CodeNothingNew         all of it is known
//	CodeTooLarge           more than a block may have
//	CodeNotDue             a link was listed too lately, or links too often in this epoch
//
// and those of link.Context.Check, Relist and Reack.
func Check(v chain.View, height uint64, r *Relay, verify CertificateVerifier) error {
	return NewTrial(v, height, verify).Try(r)
}

// userPart is in what parts users' records are planned, in bytes.
const userPart = 16 << 10

// Plan chooses which of relays, in the order in which they came, go into the block at
// height with room for so many bytes, if users' records want so many of them. sizes are
// the bytes that each relay takes. It returns their indices in the order of the block: all
// of them apply in this order. Those that do not apply take no room, and users get what
// link.Plan leaves them.
func Plan(v chain.View, height uint64, relays []*Relay, sizes []int, users, room int, verify CertificateVerifier) []int {
	order := make([]int, len(relays))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return relays[a].rank() - relays[b].rank() })
	order, wanted := applying(v, height, relays, order, verify), users
	for _, i := range order {
		wanted += sizes[i]
	}
	if wanted <= room {
		return order
	}
	candidates := make([]link.Candidate, 0, len(order)+1)
	for _, i := range order {
		candidates = append(candidates, link.Candidate{Class: relays[i].class(), Size: sizes[i]})
	}
	for left := min(users, room); left > 0; left -= userPart {
		candidates = append(candidates, link.Candidate{Class: link.ClassUser, Size: min(left, userPart)})
	}
	var picked []int
	for _, at := range link.Plan(candidates, room) {
		if at < len(order) { // and else it is of the users
			picked = append(picked, order[at])
		}
	}
	return applying(v, height, relays, picked, verify)
}

// applying returns those of relays, by their indices in order, that apply after each other.
func applying(v chain.View, height uint64, relays []*Relay, order []int, verify CertificateVerifier) []int {
	t := NewTrial(v, height, verify)
	t.whole = true
	var list []int
	for _, i := range order {
		if t.Try(relays[i]) == nil {
			list = append(list, i)
		}
	}
	return list
}

// IsInvalid reports whether an error of Apply means an invalid block, not one that must
// halt the chain.
func IsInvalid(err error) bool { return errors.Is(err, ErrInvalid) }
