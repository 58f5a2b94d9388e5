package anchor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math/bits"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/ledger/merkle"
	"github.com/tributary-network/tributary/shard"
)

// The state of anchors:
//
//	'K' | shard u32    a State, for ever
//	'0' | shard u32    1: the shard is founded and not anchored to its end
//
// What each block and each epoch look through is the second, which has no more rows than
// there are shards, however many there ever were.
const (
	prefix     = 'K'
	prefixOpen = '0'
)

const (
	// Window is the number of heights of a shard whose outbox roots the state has.
	Window = 64
	// MaxStateSize is the length of the longest encoded State in bytes.
	MaxStateSize = stateFixed + 8 + merkle.MaxPath*ledger.HashSize + cert.CheckpointSize + 8 + Window*ledger.HashSize + 1 + MaxEnds*endSize
	// MaxEnds is of how many earlier generations the state has where they ended.
	MaxEnds = 16

	stateFixed = 4 + 3 + 9*8 + 3*4 + ledger.HashSize
	endSize    = 4 + 8
)

// ErrBadState means bytes that are no State.
var ErrBadState = errors.New("not the state of a shard's anchors")

// Key returns the state key of a shard.
func Key(id shard.ID) []byte { return binary.BigEndian.AppendUint32([]byte{prefix}, uint32(id)) }

func openKey(id shard.ID) []byte {
	return binary.BigEndian.AppendUint32([]byte{prefixOpen}, uint32(id))
}

// State is what the main chain knows of a shard.
type State struct {
	// Service, Zone and Buckets are the accounts whose home the shard is. They never
	// change.
	Service uint32
	Zone    byte
	Buckets shard.Range
	// Since is the first epoch in which the shard serves, Until that in which it is
	// replaced, 0 while that is not known.
	Since, Until uint64
	// End is the last height, once it is anchored, and 0 before: the first one of epoch
	// Until or later.
	End uint64
	// Base is the anchor clock before the first height; see link.Message.Expiry.
	Base uint64
	// From is the height of main from which on an anchor is waited for: that of the
	// last anchor, of the founding, or of the draw of another committee.
	From uint64
	// Asked is the height of main at which another committee was looked for last and
	// there was none, 0 if never.
	Asked uint64
	// RedrawEpoch is the epoch in which the present generation began, 0 for the first one,
	// and Redraws the round of the last draw of others in it, 0 if there was none. Heights
	// of earlier epochs are not anchored any more.
	RedrawEpoch uint64
	Redraws     uint32
	// Begins is the first epoch that a height can be of: Since, or the one in which the
	// shard was founded, if its parents ended later, or which was the first that somebody
	// served, or in which the generation began that made height 1. Origin is that
	// generation.
	Begins uint64
	Origin uint32
	// Generation counts how often the shard went on from what was anchored: what a
	// generation before certified beyond is not anchored any more. Resumed is the height
	// after which the present one goes on, and ResumedRoot the state root there, 0 and
	// zero if nothing was anchored then.
	Generation  uint32
	Resumed     uint64
	ResumedRoot ledger.Hash
	// Ends are where the earlier generations ended of which anything is anchored, the last
	// MaxEnds of them, ascending. The last one's height is Resumed, and the first one's
	// generation Origin, unless there were more.
	Ends []End
	// Tree has the checkpoints of all heights from 1 on, encoded, as its leaves: that
	// of height h is leaf h-1.
	Tree merkle.Frontier
	// Last is the checkpoint of the last height, the zero value before the first.
	Last cert.Checkpoint
	// Outboxes are the outbox roots of the last heights, Window of them or all,
	// ascending by height.
	Outboxes []ledger.Hash
}

// End is the last height of a generation that is anchored, and after which another one went
// on.
type End struct {
	Generation uint32
	Height     uint64
}

// Height returns the last height that is anchored, 0 if none is.
func (s *State) Height() uint64 { return s.Tree.Size }

// Clock returns the anchor clock of the last height.
func (s *State) Clock() uint64 { return s.Base + s.Tree.Size }

// Root returns the root of the tree of all checkpoints.
func (s *State) Root() ledger.Hash { return s.Tree.Root() }

// Finished reports whether the shard is anchored to its end.
func (s *State) Finished() bool { return s.End > 0 }

// Outbox returns the outbox root of a height, and ok=false if it is not one of the
// last Window that are anchored.
func (s *State) Outbox(height uint64) (root ledger.Hash, ok bool) {
	first := s.Tree.Size - uint64(len(s.Outboxes)) + 1
	if height < first || height > s.Tree.Size {
		return ledger.Hash{}, false
	}
	return s.Outboxes[height-first], true
}

// push takes the checkpoint of the next height.
func (s *State) push(c *cert.Checkpoint) {
	s.Tree.Push(c.Encode())
	s.Last = *c
	keep := s.Outboxes[max(0, len(s.Outboxes)+1-Window):]
	s.Outboxes = append(append(make([]ledger.Hash, 0, len(keep)+1), keep...), c.OutboxRoot)
}

// Encode returns the canonical encoding: service 4, zone 1, first and last bucket 1
// each, since, until, end, base, from, asked, epoch of the redraws, begin and height of
// the generation 8 each, redraws, origin and generation 4 each, root of the generation 32,
// the tree, and if it is not empty the last checkpoint and the outbox roots: 8 bytes with
// a bit for each, the newest in the lowest, that is set unless the root is zero, and
// those that are not zero, 32 each, and the number 1 of the ends, 4 and 8 each.
func (s *State) Encode() []byte {
	w := codec.NewWriter(stateFixed + 8 + len(s.Tree.Roots)*ledger.HashSize + cert.CheckpointSize + 8 + len(s.Outboxes)*ledger.HashSize + 1 + len(s.Ends)*endSize)
	w.Uint32(s.Service)
	w.Uint8(s.Zone)
	w.Uint8(uint8(s.Buckets.First))
	w.Uint8(uint8(s.Buckets.Last))
	for _, v := range s.numbers() {
		w.Uint64(*v)
	}
	for _, v := range s.counts() {
		w.Uint32(*v)
	}
	w.Fixed(s.ResumedRoot[:])
	s.Tree.Append(w)
	if s.Tree.Size == 0 {
		return w.Bytes()
	}
	w.Fixed(s.Last.Encode())
	var mask uint64
	for i := range s.Outboxes {
		mask <<= 1
		if !s.Outboxes[i].IsZero() {
			mask |= 1
		}
	}
	w.Uint64(mask)
	for i := range s.Outboxes {
		if !s.Outboxes[i].IsZero() {
			w.Fixed(s.Outboxes[i][:])
		}
	}
	w.Uint8(uint8(len(s.Ends))) //nolint:gosec // at most MaxEnds
	for _, e := range s.Ends {
		w.Uint32(e.Generation)
		w.Uint64(e.Height)
	}
	return w.Bytes()
}

func (s *State) numbers() [9]*uint64 {
	return [9]*uint64{&s.Since, &s.Until, &s.End, &s.Base, &s.From, &s.Asked, &s.RedrawEpoch, &s.Begins, &s.Resumed}
}

func (s *State) counts() [3]*uint32 { return [3]*uint32{&s.Redraws, &s.Origin, &s.Generation} }

// DecodeState reads what Encode wrote. It returns ErrBadState for a state that no
// shard can have.
func DecodeState(b []byte) (State, error) {
	r := codec.NewReader(b)
	s := State{Service: r.Uint32(), Zone: r.Uint8(), Buckets: shard.Range{First: shard.Bucket(r.Uint8()), Last: shard.Bucket(r.Uint8())}}
	for _, v := range s.numbers() {
		*v = r.Uint64()
	}
	for _, v := range s.counts() {
		*v = r.Uint32()
	}
	r.Into(s.ResumedRoot[:])
	var err error
	if s.Tree, err = merkle.ReadFrontier(r); err != nil {
		return State{}, fmt.Errorf("decode anchors: %w", err)
	}
	if s.Tree.Size > 0 {
		if err := s.readLast(r); err != nil {
			return State{}, err
		}
	}
	if err := r.Done(); err != nil {
		return State{}, fmt.Errorf("decode anchors: %w", err)
	}
	switch {
	case !s.Buckets.Valid():
		return State{}, fmt.Errorf("decode anchors: buckets %s: %w", s.Buckets, ErrBadState)
	case s.Last.Height != s.Tree.Size, s.End > 0 && s.Tree.Size != s.End:
		return State{}, fmt.Errorf("decode anchors: height %d of %d, %d in the tree: %w", s.Last.Height, s.End, s.Tree.Size, ErrBadState)
	case s.Until > 0 && s.Until <= s.Since:
		return State{}, fmt.Errorf("decode anchors: serves from epoch %d until %d: %w", s.Since, s.Until, ErrBadState)
	case s.Resumed > s.Tree.Size, s.Origin > s.Generation, s.Last.Generation > s.Generation, s.Generation == 0 && s.Resumed > 0, s.Begins < s.Since:
		return State{}, fmt.Errorf("decode anchors: generation %d goes on from height %d of %d: %w", s.Generation, s.Resumed, s.Tree.Size, ErrBadState)
	case !s.rightEnds():
		return State{}, fmt.Errorf("decode anchors: generations from %d on that ended at %v, before generation %d from height %d: %w", s.Origin, s.Ends, s.Generation, s.Resumed, ErrBadState)
	}
	return s, nil
}

// rightEnds reports whether a shard can have such ends.
func (s *State) rightEnds() bool {
	last := End{Generation: s.Origin}
	for i, e := range s.Ends {
		first := i == 0 && (e.Generation == s.Origin || len(s.Ends) == MaxEnds)
		if e.Height <= last.Height || e.Generation <= last.Generation && !first || i == 0 && !first || e.Generation >= s.Generation {
			return false
		}
		last = e
	}
	return last.Height == s.Resumed && len(s.Ends) <= MaxEnds
}

// readLast reads the last checkpoint and the outbox roots.
func (s *State) readLast(r *codec.Reader) error {
	raw := r.Fixed(cert.CheckpointSize)
	mask := r.Uint64()
	if err := r.Err(); err != nil {
		return fmt.Errorf("decode anchors: %w", err)
	}
	var err error
	if s.Last, err = cert.DecodeCheckpoint(raw); err != nil {
		return fmt.Errorf("decode anchors: %w", err)
	}
	n := int(min(Window, s.Tree.Size))
	if bits.Len64(mask) > n {
		return fmt.Errorf("decode anchors: outbox roots %016x of %d heights: %w", mask, n, ErrBadState)
	}
	s.Outboxes = make([]ledger.Hash, n)
	for i := range s.Outboxes {
		if mask>>(n-1-i)&1 == 0 {
			continue
		}
		if r.Into(s.Outboxes[i][:]); r.Err() == nil && s.Outboxes[i].IsZero() {
			return fmt.Errorf("decode anchors: an outbox root is zero and written all the same: %w", ErrBadState)
		}
	}
	if root := s.Outboxes[n-1]; r.Err() == nil && root != s.Last.OutboxRoot {
		return fmt.Errorf("decode anchors: last outbox root %s, in the checkpoint %s: %w", root, s.Last.OutboxRoot, ErrBadState)
	}
	count := int(r.Uint8())
	if count > MaxEnds {
		return fmt.Errorf("decode anchors: %d generations that ended, at most %d: %w", count, MaxEnds, ErrBadState)
	}
	for range count {
		s.Ends = append(s.Ends, End{Generation: r.Uint32(), Height: r.Uint64()})
	}
	return nil
}

// Read returns what is known of a shard, and ok=false if it was never founded. It
// panics if the state cannot be decoded: a replica that cannot read its own state
// must stop.
func Read(v chain.View, id shard.ID) (s State, ok bool) {
	b := v.Get(Key(id))
	if b == nil {
		return State{}, false
	}
	return mustRead(b), true
}

// All yields all shards that ever were founded, ascending by id, which gets dearer with each
// that ends. It panics as Read does.
func All(v chain.View) iter.Seq2[shard.ID, State] {
	return func(yield func(shard.ID, State) bool) {
		for k, b := range v.Range([]byte{prefix}) {
			if !yield(shard.ID(binary.BigEndian.Uint32(k[1:])), mustRead(b)) {
				return
			}
		}
	}
}

// Unfinished yields the shards that are founded and not anchored to their end, ascending
// by id, at a cost that does not depend on how many ever ended. It panics as Read does.
func Unfinished(v chain.View) iter.Seq2[shard.ID, State] {
	return func(yield func(shard.ID, State) bool) {
		for id, b := range unfinished(v) {
			if !yield(id, mustRead(b)) {
				return
			}
		}
	}
}

// unfinished yields the rows of Unfinished.
func unfinished(v chain.View) iter.Seq2[shard.ID, []byte] {
	return func(yield func(shard.ID, []byte) bool) {
		for k := range v.Range([]byte{prefixOpen}) {
			id := shard.ID(binary.BigEndian.Uint32(k[1:]))
			if !yield(id, v.Get(Key(id))) {
				return
			}
		}
	}
}

func mustRead(b []byte) State {
	s, err := DecodeState(b)
	if err != nil {
		panic(err)
	}
	return s
}

// StalledAt returns the shards that are not finished and are Stalled at a height of main,
// ascending by id, but for those for which another committee was looked for in vain as
// recently and was not Lost then if they are by now. epoch says of which epoch a height is.
func StalledAt(v chain.View, p *Params, height uint64, epoch Epochs) (ids []shard.ID) {
	for id, t := range times(v) {
		if p.Status(height, t.from) != Stalled {
			continue
		}
		if p.Status(height, t.asked) == Stalled || p.fresh(v, id, &t, height, epoch) {
			ids = append(ids, id)
		}
	}
	return ids
}

// Epochs says of which epoch a height of main is.
type Epochs func(height uint64) uint64

// fresh reports whether a shard is lost, and was not when another committee was looked for.
func (p *Params) fresh(v chain.View, id shard.ID, t *timing, height uint64, epoch Epochs) bool {
	s, _ := Read(v, id)
	return p.Lost(&s, epoch(height)) && (t.asked == 0 || !p.Lost(&s, epoch(t.asked)))
}

// Lost reports whether the committee that has to go on is of an epoch so long ago that
// nothing it certifies is anchored any more: the shard goes on as another generation,
// although the same members may serve it, or never.
func (p *Params) Lost(s *State, epoch uint64) bool { return s.Floor()+uint64(p.MaxLag) < epoch }

// Floor is the earliest epoch of which the next height may be: no committee of an earlier
// one is waited for any more.
func (s *State) Floor() uint64 { return max(s.Begins, s.Last.Epoch, s.RedrawEpoch) }

// NeedsTick reports whether the chain must go on to the block at height although nobody
// sends transactions: until the next anchor of each shard is due, so that there may be
// one for nothing in a chain that is idle; and while a shard that was anchored before is
// late, until its committee is drawn anew, or was to be and is all that there is, and
// again once that is Lost.
func NeedsTick(v chain.View, p *Params, height uint64, epoch Epochs) bool {
	for id, t := range times(v) {
		if !t.anchored {
			continue
		}
		if !p.Due(height, t.from) || p.Status(height, max(t.from, t.asked)) != Live ||
			p.Status(height, t.from) == Stalled && p.fresh(v, id, &t, height, epoch) {
			return true
		}
	}
	return false
}

// timing is what a row says of its times.
type timing struct {
	from, asked uint64
	anchored    bool
}

// times yields those of the shards that are not finished, ascending by id, without decoding
// their rows.
func times(v chain.View) iter.Seq2[shard.ID, timing] {
	const numbers = 4 + 3 // where they begin
	return func(yield func(shard.ID, timing) bool) {
		for id, b := range unfinished(v) {
			if len(b) < stateFixed+8 {
				panic(fmt.Errorf("anchors of shard %d in %d bytes: %w", id, len(b), ErrBadState))
			}
			number := func(i int) uint64 { return binary.BigEndian.Uint64(b[numbers+8*i:]) }
			t := timing{from: number(4), asked: number(5), anchored: binary.BigEndian.Uint64(b[stateFixed:]) > 0}
			if !yield(id, t) {
				return
			}
		}
	}
}

// Sync makes the rows fit a map: shards that are not in it any more serve until its
// epoch; those that are new are founded, waited for from height of main on, unless a
// parent is not anchored to its end. It is called for every new map, and once more
// when a shard is finished; a second call with the same map changes nothing.
func Sync(o *chain.Overlay, m *shard.Map, height uint64) {
	var replaced []shard.ID
	for id, s := range Unfinished(o) {
		if _, serves := m.Find(id); !serves && s.Until == 0 {
			replaced = append(replaced, id)
		}
	}
	for _, id := range replaced {
		s, _ := Read(o, id)
		s.Until = m.Epoch()
		o.Set(Key(id), s.Encode())
	}
	for s := range m.All() {
		if o.Get(Key(s.ID)) == nil {
			found(o, &s, m.Epoch(), height)
		}
	}
}

// Serve notes that a shard which nobody served gets its first committee for an epoch: it
// begins with that one, and is waited for from height of main on. A shard that has anchors
// or another generation was served before.
func Serve(o *chain.Overlay, id shard.ID, epoch, height uint64) {
	if s, ok := Read(o, id); ok && s.Height() == 0 && s.Generation == 0 {
		s.Begins, s.From = max(s.Begins, epoch), height
		o.Set(Key(id), s.Encode())
	}
}

// found writes the row of a new shard. Its clock goes on from the latest of its
// parents'. One whose parents ended late begins with the committee of the epoch of the
// map: that of its first one may be forgotten.
func found(o *chain.Overlay, s *shard.Shard, epoch, height uint64) {
	row := State{Service: s.Service, Zone: s.Zone, Buckets: s.Buckets, Since: s.Since, Begins: max(s.Since, epoch), From: height}
	for _, id := range s.Parents {
		p, ok := Read(o, id)
		if !ok || !p.Finished() {
			return
		}
		row.Base = max(row.Base, p.Clock())
	}
	o.Set(Key(s.ID), row.Encode())
	o.Set(openKey(s.ID), []byte{1})
}
