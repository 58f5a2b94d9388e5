package comet_test

import (
	"bytes"
	"testing"

	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	"github.com/cometbft/cometbft/types"

	"github.com/tributary-network/tributary/consensus/comet"
)

// An extension goes with no vote of another height or round than it was made for.
func TestVoteRounds(t *testing.T) {
	t.Parallel()
	prevote := func(height int64, round int32) *cmtproto.Vote {
		return &cmtproto.Vote{Type: cmtproto.PrevoteType, Height: height, Round: round}
	}
	precommit := func(height int64, round int32, extension ...byte) *cmtproto.Vote {
		return &cmtproto.Vote{Type: cmtproto.PrecommitType, Height: height, Round: round, Extension: extension}
	}
	for name, row := range map[string]struct {
		extend  int64 // height of the vote that is extended; 0: none is
		vote    *cmtproto.Vote
		refused bool
	}{
		"of the round":                 {7, precommit(7, 2, 1), false},
		"of the next round":            {7, precommit(7, 3, 1), true},
		"of the round before":          {7, precommit(7, 1, 1), true},
		"of the next height":           {7, precommit(8, 2, 1), true},
		"of another round, without":    {7, precommit(7, 3), false},
		"of another round, not made":   {0, precommit(7, 3, 1), false},
		"of another height, not known": {8, precommit(8, 3, 1), false},
		"a prevote of the next round":  {7, prevote(7, 3), false},
	} {
		v := comet.NewVoteRounds()
		if _, known := v.Extend(7); known {
			t.Errorf("%s: a round is known before the first vote", name)
		}
		if v.Vote(prevote(7, 2)) {
			t.Errorf("%s: the prevote is refused", name)
		}
		if row.extend != 0 {
			if round, known := v.Extend(row.extend); known != (row.extend == 7) || known && round != 2 {
				t.Errorf("%s: round %d, known %t", name, round, known)
			}
		}
		if refused := v.Vote(row.vote); refused != row.refused {
			t.Errorf("%s: refused %t", name, refused)
		}
	}
	// A prevote of the next round begins anew.
	v := comet.NewVoteRounds()
	v.Vote(prevote(7, 2))
	v.Extend(7)
	v.Vote(prevote(7, 3))
	if v.Vote(precommit(7, 3, 1)) {
		t.Error("what was extended in an earlier round still counts")
	}
	if round, known := v.Extend(7); !known || round != 3 {
		t.Errorf("round %d, known %t after the next prevote", round, known)
	}
}

// Votes that came late are handed out for the block and the round that they are of.
func TestLateVotesKnowTheirRound(t *testing.T) {
	t.Parallel()
	l := comet.NewLateVotes()
	hash, other := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	add := func(validator byte, height int64, round int32, hash []byte) {
		l.Add(&types.Vote{
			Type: cmtproto.PrecommitType, Height: height, Round: round, BlockID: types.BlockID{Hash: hash},
			ValidatorAddress: bytes.Repeat([]byte{validator}, 20), Extension: []byte{validator, byte(round)},
		})
	}
	add(3, 5, 1, hash)
	add(1, 5, 0, hash)
	add(2, 5, 1, hash)
	add(4, 5, 1, other)
	add(5, 6, 1, hash)
	add(6, 5, 0, hash)
	add(6, 5, 1, hash)                                                                  // the last one of a validator counts
	for _, size := range []int{0, comet.MaxExtension + 1, comet.MaxPeerExtension + 1} { // none, or no honest one
		l.Add(&types.Vote{
			Type: cmtproto.PrecommitType, Height: 5, Round: 1, BlockID: types.BlockID{Hash: hash},
			ValidatorAddress: bytes.Repeat([]byte{9}, 20), Extension: make([]byte, size),
		})
	}
	for _, row := range []struct {
		height int64
		round  uint32
		hash   []byte
		want   []byte // validators
	}{
		{5, 0, hash, []byte{1}},
		{5, 1, hash, []byte{2, 3, 6}},
		{5, 2, hash, nil},
		{5, 1, other, []byte{4}},
		{5, 0, other, nil},
		{6, 1, hash, []byte{5}},
		{7, 1, hash, nil},
	} {
		var have []byte
		for _, e := range l.Of(row.height, row.round, row.hash) {
			have = append(have, e.Validator[0])
			if e.Round != row.round || !bytes.Equal(e.Data, []byte{e.Validator[0], byte(row.round)}) {
				t.Errorf("height %d, round %d: %+v", row.height, row.round, e)
			}
		}
		if !bytes.Equal(have, row.want) {
			t.Errorf("height %d, round %d, block %x: validators %v, want %v", row.height, row.round, row.hash[:1], have, row.want)
		}
	}
}
