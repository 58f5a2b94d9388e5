package shardblock

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/shard"
)

// Resume is how a generation of a shard goes on from its last anchored height: main drew
// its committee at once, or the one before was of too long ago. The shard keeps its id,
// its heights and its state at Height. What the generation before made beyond was never
// final, and is worth nothing. Everybody who has the state of main makes the same: see
// ResumeFromMain. A generation before whose first height nothing was anchored has none;
// its Genesis says what it begins from.
type Resume struct {
	Generation uint32
	// Height is the last anchored height, at least 1, and StateRoot the state root there.
	// The generation's first block is the next one.
	Height    uint64
	StateRoot ledger.Hash
	// Record is that of the epoch in which the generation begins, and Assignment who
	// serves the shard in it. The first block is the last one too if it is Last.
	Record     registry.EpochRecord
	Assignment shard.Assignment
}

// ErrBadResume means a Resume that no state of main makes, or of another shard or state.
var ErrBadResume = errors.New("not how the shard goes on")

// maxAssignment is more than the longest encoded assignment in bytes.
const maxAssignment = 1 << 20

// ResumeFromMain returns how the present generation of a shard goes on, by a view of main:
// the same from the block in which the generation began until the next one does, or until
// main forgets who served in its epoch, so that a node keeps what it made. It is ok=false for
// a generation that begins by a Genesis. The error is ErrNotFounded, with what is missing.
func ResumeFromMain(v chain.View, id shard.ID) (r Resume, ok bool, err error) {
	row, founded := anchor.Read(v, id)
	if !founded {
		return Resume{}, false, fmt.Errorf("shard %d: %w: main waits for no anchors of it", id, ErrNotFounded)
	}
	if row.Resumed == 0 {
		return Resume{}, false, nil
	}
	r = Resume{Generation: row.Generation, Height: row.Resumed, StateRoot: row.ResumedRoot}
	epoch := row.RedrawEpoch
	if r.Record, ok = registry.ReadEpoch(v, epoch); !ok {
		return Resume{}, false, fmt.Errorf("shard %d: %w: no record of epoch %d, in which generation %d began", id, ErrNotFounded, epoch, row.Generation)
	}
	if r.Assignment, ok = registry.ReadAssignment(v, epoch, id); !ok {
		return Resume{}, false, fmt.Errorf("shard %d: %w: nobody is assigned to it in epoch %d, in which generation %d began", id, ErrNotFounded, epoch, row.Generation)
	}
	return r, true, r.Validate()
}

// Validate returns an error that wraps ErrBadResume if it is none by itself.
func (r *Resume) Validate() error {
	com := &r.Assignment.Committee
	switch {
	case r.Generation == 0, r.Height == 0, r.StateRoot.IsZero():
		return fmt.Errorf("generation %d from height %d with state root %s: %w", r.Generation, r.Height, r.StateRoot, ErrBadResume)
	case len(com.Members) == 0:
		return fmt.Errorf("generation %d without a committee: %w", r.Generation, ErrBadResume)
	case com.Epoch != r.Record.Epoch:
		return fmt.Errorf("record of epoch %d and committee of epoch %d: %w", r.Record.Epoch, com.Epoch, ErrBadResume)
	}
	return nil
}

// Over returns the state that the first block of the generation begins from: that at
// Height, of which v is the view, with the committee of the generation in place. It is what
// NewTrial, Check, Plan, AdmitUsers, Committee and NeedsTick want for that block; Apply
// takes v as it is and the Resume in the Block. The error wraps ErrBadResume; whether v has
// the state root is for the caller to know.
func (r *Resume) Over(v chain.View) (chain.View, error) { return r.over(v) }

func (r *Resume) over(v chain.View) (*chain.Overlay, error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	s, id, since := ReadStatus(v), service.ReadShard(v).Chain, r.Height+1
	switch {
	case id != r.Assignment.Shard:
		return nil, fmt.Errorf("shard %d, this is shard %d: %w", r.Assignment.Shard, id, ErrBadResume)
	case r.Generation <= s.Generation:
		return nil, fmt.Errorf("generation %d after generation %d: %w", r.Generation, s.Generation, ErrBadResume)
	case r.Record.Epoch < s.Epoch:
		return nil, fmt.Errorf("epoch %d after epoch %d: %w", r.Record.Epoch, s.Epoch, ErrBadResume)
	}
	o := chain.NewOverlay(v)
	var later [][]byte
	for key := range v.Range([]byte{prefixOwn}) {
		if bytes.Compare(key, CommitteeKey(since)) > 0 { // it was to vote, and never will
			later = append(later, key)
		}
	}
	for _, key := range later {
		o.Delete(key)
	}
	keep(o, prefixOwn, since, r.Assignment.Committee.Encode(), KeptOwn)
	s.Generation, s.Epoch, s.Since, s.Ended = r.Generation, r.Record.Epoch, since, 0
	s.Calls, s.Called = 0, 0
	if r.Assignment.Last {
		s.Ended = since
	}
	o.Set(StatusKey(), s.Encode())
	return o, nil
}

// Hash returns the hash of the encoding.
func (r *Resume) Hash() ledger.Hash { return ledger.HashOf("trib/shard-resume/1", r.Encode()) }

// Encode returns the canonical encoding: generation 4, height 8, state root 32, the record,
// and the assignment behind its length 4.
func (r *Resume) Encode() []byte {
	w := codec.NewWriter(1 << 10)
	w.Uint32(r.Generation)
	w.Uint64(r.Height)
	w.Fixed(r.StateRoot[:])
	w.Fixed(r.Record.Encode())
	w.Bytes32(r.Assignment.Encode())
	return w.Bytes()
}

// DecodeResume reads what Encode wrote and validates it.
func DecodeResume(b []byte) (Resume, error) {
	d := codec.NewReader(b)
	r := Resume{Generation: d.Uint32(), Height: d.Uint64()}
	d.Into(r.StateRoot[:])
	record, assignment := d.Fixed(registry.EpochRecordSize), d.Bytes32(maxAssignment)
	err := d.Done()
	if err == nil {
		r.Record, err = registry.DecodeEpochRecord(record)
	}
	if err == nil {
		r.Assignment, err = shard.DecodeAssignment(assignment)
	}
	if err == nil {
		err = r.Validate()
	}
	if err != nil {
		return Resume{}, fmt.Errorf("decode how a shard goes on: %w", err)
	}
	return r, nil
}
