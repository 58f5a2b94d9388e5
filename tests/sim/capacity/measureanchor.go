package main

import (
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
)

const (
	members = 32 // of a committee
	heights = 16 // of the longer of two measured runs
)

// bench is a committee whose secrets are known.
type bench struct {
	committee committee.Committee
	secrets   []*bls.SecretKey
	keys      []*bls.Key
}

func newBench() (*bench, error) {
	b := &bench{}
	for i := range members {
		seed := ledger.HashOf("capacity/bls", fmt.Append(nil, i))
		k, err := bls.NewSecretKey(seed[:])
		if err != nil {
			return nil, err
		}
		b.secrets = append(b.secrets, k)
		b.committee.Members = append(b.committee.Members, committee.Member{Validator: uint64(i), ConsensusKey: seed, BLSKey: k.Public(), Power: 1})
	}
	var err error
	b.keys, err = b.committee.Keys()
	return b, err
}

// votes returns the votes of all members for a height of a shard.
func (b *bench) votes(id shard.ID, height uint64) (cert.Checkpoint, []cert.Vote) {
	c := cert.Checkpoint{
		Network: networkID(), Chain: id, Height: height, CommitteeHash: b.committee.Hash(),
		StateRoot: ledger.HashOf("capacity/state", fmt.Append(nil, height)), OutboxRoot: ledger.Hash{1},
	}
	message := c.Message()
	votes := make([]cert.Vote, members)
	for i := range votes {
		votes[i] = cert.Vote{Member: i, Signature: b.secrets[i].Sign(message)}
	}
	return c, votes
}

// anchors measures votes, certificates, and anchoring of short and long runs on main.
func (m meter) anchors(c *Costs) error {
	b, err := newBench()
	if err != nil {
		return err
	}
	places, err := shard.New(0, shard.FirstID+1, []shard.Shard{{ID: shard.FirstID, Service: serviceID, Buckets: shard.Whole()}}, nil)
	if err != nil {
		return err
	}
	var list []cert.Certificate
	for h := uint64(1); h <= heights; h++ {
		checkpoint, votes := b.votes(shard.FirstID, h)
		made, _, err := cert.Assemble(checkpoint, &b.committee, b.keys, votes)
		if err != nil {
			return err
		}
		list = append(list, made)
	}
	checkpoint, votes := b.votes(shard.FirstID, 1)
	message := checkpoint.Message()
	if c.Vote, err = m.each(1, nil, func() error { b.secrets[0].Sign(message); return nil }); err != nil {
		return err
	}
	if c.Assemble, err = m.each(1, nil, func() error {
		_, _, err := cert.Assemble(checkpoint, &b.committee, b.keys, votes)
		return err
	}); err != nil {
		return err
	}
	if c.CertVerify, err = m.each(1, nil, func() error {
		return list[0].Verify(networkID(), shard.FirstID, &b.committee, b.keys)
	}); err != nil {
		return err
	}
	one, short, err := m.anchored(b, places, list[:1])
	if err != nil {
		return err
	}
	many, long, err := m.anchored(b, places, list)
	if err != nil {
		return err
	}
	c.AnchorHeight = max(0, (many-one)/(heights-1))
	c.Anchor = max(0, one-c.AnchorHeight)
	size := func(a *anchor.Anchors) float64 { return float64(chain.TxOverhead + len(a.Encode())) }
	c.AnchorHeightBytes = (size(long) - size(short)) / (heights - 1)
	c.AnchorBytes = size(short) - c.AnchorHeightBytes
	c.AnchorHeightWeight = float64(anchor.Weight(long)-anchor.Weight(short)) / (heights - 1)
	c.AnchorWeight = float64(anchor.Weight(short)) - c.AnchorHeightWeight
	return nil
}

// anchored measures anchoring the run of certificates.
func (m meter) anchored(b *bench, places *shard.Map, list []cert.Certificate) (micros float64, a *anchor.Anchors, err error) {
	run, err := cert.Join(list)
	if err != nil {
		return 0, nil, err
	}
	a = &anchor.Anchors{Runs: []cert.Run{run}}
	raw := a.Encode()
	rules := anchor.DefaultParams()
	micros, err = m.each(1, nil, func() error {
		o := chain.NewOverlay(unordered{table{}})
		anchor.Sync(o, places, 1)
		ctx := &anchor.Context{State: o, Rules: &rules, Network: networkID(), Height: 2, Committees: func(shard.ID, uint64, uint32) (*committee.Committee, []*bls.Key, bool) {
			return &b.committee, b.keys, true
		}}
		in, err := anchor.DecodeAnchors(raw)
		if err != nil {
			return err
		}
		_, err = ctx.Apply(&in)
		return err
	})
	return micros, a, err
}
