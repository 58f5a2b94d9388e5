package client_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/beacon"
	consensusv1 "github.com/tributary-network/tributary/proto/tributary/consensus/v1"
)

// TestSeedsAreDerived makes the seed of an epoch from the seals that a node shows, and
// lets it show others.
func TestSeedsAreDerived(t *testing.T) {
	t.Parallel()
	s := newStakeNetwork(t, 3)
	s.reach(t, 4*epochBlocks+3)
	c := s.client(t)
	d := s.exec.Domain()
	info := func(epoch uint64) client.CommitteeInfo {
		got, err := c.Committee(within(t), epoch)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	for epoch := uint64(beacon.Lag); epoch <= 4; epoch++ {
		sealers, before, want := info(epoch-beacon.Lag), info(epoch-1), info(epoch)
		seals, err := c.Seals(within(t), epoch-beacon.Lag)
		if err != nil || len(seals.Seals) != epochBlocks || seals.First != (epoch-2)*epochBlocks+1 || seals.Last != (epoch-1)*epochBlocks {
			t.Fatalf("seals: %+v, %v", seals, err)
		}
		seed, sealed, err := seals.Seed(within(t), d, &sealers.Record.Committee, before.Record.Seed)
		if err != nil || seed != want.Record.Seed || sealed < epochBlocks-1 { // the first block of all is nobody's
			t.Errorf("epoch %d: %d seals make the seed %s, want %s: %v", epoch, sealed, seed, want.Record.Seed, err)
		}
	}
	now, err := c.Seals(within(t), 4)
	if err != nil || len(now.Seals) != 3 {
		t.Errorf("the running epoch: %+v, %v", now, err)
	}
	running := info(4).Record
	if _, _, err := now.Seed(within(t), d, &running.Committee, running.Seed); !errors.Is(err, client.ErrEpochNotOver) {
		t.Errorf("the seed of the running epoch: %v", err)
	}
	seals, err := c.Seals(within(t), 1)
	if err != nil {
		t.Fatal(err)
	}
	others := info(0).Record.Committee
	sealers, previous, want := info(1).Record.Committee, info(2).Record.Seed, info(3).Record.Seed
	if _, _, err := seals.Seed(within(t), d, &others, previous); err == nil {
		t.Error("by another epoch's committee")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := seals.Seed(ended, d, &sealers, previous); !errors.Is(err, context.Canceled) {
		t.Errorf("after its end: %v", err)
	}
	for _, row := range []struct {
		name   string
		change func(*client.EpochSeals)
		want   error // nil: another seed
	}{
		{"a seal left out", func(e *client.EpochSeals) { e.Seals[4].Signature = nil }, nil},
		{"a block left out", func(e *client.EpochSeals) { e.Seals = slices.Delete(e.Seals, 4, 5) }, client.ErrEpochNotOver},
		{"a block left out of a shorter epoch", func(e *client.EpochSeals) { e.Seals, e.Last = e.Seals[:epochBlocks-1], e.Last-1 }, nil},
		{"a flipped bit", func(e *client.EpochSeals) { e.Seals[4].Signature[20] ^= 1 }, client.ErrWrongSeal},
		{"a seal of another block", func(e *client.EpochSeals) { e.Seals[4].Signature = e.Seals[5].Signature }, client.ErrWrongSeal},
		{"another member", func(e *client.EpochSeals) { e.Seals[4].Member++ }, client.ErrWrongSeal},
		{"a stranger", func(e *client.EpochSeals) { e.Seals[4].Member = 99 }, client.ErrWrongSeal},
		{"nobody", func(e *client.EpochSeals) { e.Seals[4].Member = -1 }, client.ErrWrongSeal},
		{"another key", func(e *client.EpochSeals) {
			seal := blsOf(77).Sign(staking.SealMessage(d, &s.gen.Params.Staking, e.Seals[4].Height))
			e.Seals[4].Signature = seal[:]
		}, client.ErrWrongSeal},
		{"other heights", func(e *client.EpochSeals) { e.First++; e.Last++ }, client.ErrWrongSeal},
	} {
		e := seals
		e.Seals = slices.Clone(seals.Seals)
		for i := range e.Seals {
			e.Seals[i].Signature = slices.Clone(e.Seals[i].Signature)
		}
		row.change(&e)
		seed, _, err := e.Seed(within(t), d, &sealers, previous)
		if !errors.Is(err, row.want) || row.want == nil && (err != nil || seed == want) {
			t.Errorf("%s: %s, %v, want %v", row.name, seed, err, row.want)
		}
	}
}

// TestSealsOfHostileNodes: lists that cannot be are errors.
func TestSealsOfHostileNodes(t *testing.T) {
	t.Parallel()
	s := newStakeNetwork(t, 1)
	s.reach(t, epochBlocks+1)
	for name, change := range map[string]func(*consensusv1.ListSealsResponse){
		"as it is":         nil,
		"a gap":            func(m *consensusv1.ListSealsResponse) { m.Seals = slices.Delete(m.GetSeals(), 3, 4) },
		"a repetition":     func(m *consensusv1.ListSealsResponse) { m.Seals[3] = m.GetSeals()[2] },
		"beyond the epoch": func(m *consensusv1.ListSealsResponse) { m.LastHeight = 5 },
		"before it":        func(m *consensusv1.ListSealsResponse) { m.FirstHeight = 2 },
		"a short seal":     func(m *consensusv1.ListSealsResponse) { m.Seals[3].Signature = m.GetSeals()[3].GetSignature()[1:] },
	} {
		h := &hostile{seals: change}
		got, err := h.among(t, s).Seals(within(t), 0)
		if (err == nil) != (change == nil) {
			t.Errorf("%s: %v", name, err)
		}
		if honest, fault := s.client(t).Seals(within(t), 0); change == nil && (fault != nil || !cmp.Equal(honest, got)) {
			t.Errorf("%s: %+v, %v", name, honest, fault)
		}
	}
}
