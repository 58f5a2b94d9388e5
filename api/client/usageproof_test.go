package client_test

import (
	"errors"
	"testing"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/shardblock/shardtest"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/merkle"
	"github.com/tributary-network/tributary/ledger/stateproof"
	"github.com/tributary-network/tributary/shard"
)

const provedShard shard.ID = 5

// provedUsage is a proof of two bookings of a shard, and who is trusted.
func provedUsage(t *testing.T, anchored bool) (*client.UsageProof, *client.Trust) {
	t.Helper()
	m := shardtest.NewMain(t)
	com := shardtest.CommitteeOf(t, 0, 100, 101, 102, 103)
	m.Assign(0, provedShard, 100, 101, 102, 103)
	bookings := []service.Booking{{ChannelID: ledger.Hash{1}, Lane: 2, Seq: 3, Units: 4, Cumulative: 5}, {ChannelID: ledger.Hash{2}, Seq: 1}}
	certificate := shardtest.Certify(t, &com, cert.Checkpoint{
		Network: shardtest.Network(), Chain: provedShard, Height: 4, UsageRoot: service.UsageRoot(bookings), CommitteeHash: com.Hash(),
	})
	row := anchor.State{Service: 7, Buckets: shard.Whole()}
	if anchored {
		for h := uint64(1); h < 4; h++ {
			p := cert.Checkpoint{Network: shardtest.Network(), Chain: provedShard, Height: h}
			row.Tree.Push(p.Encode())
			row.Outboxes = append(row.Outboxes, ledger.Hash{})
		}
		other := certificate.Checkpoint
		other.Round += 2 // the same block, which was certified in another round, too
		row.Tree.Push(other.Encode())
		row.Last = other
		row.Outboxes = append(row.Outboxes, ledger.Hash{})
	}
	m.Set(anchor.Key(provedShard), row.Encode())
	head := m.Block()
	state := func(key []byte) *client.CertifiedState {
		r := m.Row(key)
		proof, err := stateproof.Decode(r.Proof)
		if err != nil {
			t.Fatal(err)
		}
		return &client.CertifiedState{Certificate: head, State: client.StateProof{Statement: stateproof.Statement{
			Height: r.Height, Root: head.Checkpoint.StateRoot, Key: key, Value: r.Value, Proof: proof,
		}}}
	}
	p := &client.UsageProof{
		Booking: client.Booking{Shard: provedShard, Height: 4}, Certificate: certificate, Committee: com,
		Assignment: state(registry.AssignmentKey(0, provedShard)), Anchor: state(anchor.Key(provedShard)),
	}
	for i := range bookings {
		proof, err := service.ProveBooking(bookings, i)
		if err != nil {
			t.Fatal(err)
		}
		p.Entries = append(p.Entries, client.ProvedEntry{Position: i, Proof: proof})
		p.Booking.Results = append(p.Booking.Results, client.BookingResult{Position: i, Lane: bookings[i].Lane, Seq: bookings[i].Seq, Code: chain.CodeOK})
	}
	trust, err := client.TrustCommittee(chain.Domain{Network: shardtest.Network(), Chain: ledger.MainChain}, m.Committees[0])
	if err != nil {
		t.Fatal(err)
	}
	return p, trust
}

// TestUsageProof: from the committee of the main chain to a voucher that a shard booked,
// and each link of it.
func TestUsageProof(t *testing.T) {
	t.Parallel()
	for _, anchored := range []bool{false, true} {
		p, trust := provedUsage(t, anchored)
		if got, err := p.Verify(trust); err != nil || got != anchored {
			t.Errorf("anchored %v: %v, %v", anchored, got, err)
		}
	}
	for name, row := range map[string]struct {
		want  error
		spoil func(p *client.UsageProof)
	}{
		"who serves is not told":    {client.ErrProof, func(p *client.UsageProof) { p.Assignment = nil }},
		"another row":               {client.ErrProof, func(p *client.UsageProof) { p.Assignment = p.Anchor }},
		"another shard":             {client.ErrProof, func(p *client.UsageProof) { p.Booking.Shard++ }},
		"another state":             {client.ErrProof, func(p *client.UsageProof) { p.Assignment.State.Root[0] ^= 1 }},
		"another value":             {client.ErrProof, func(p *client.UsageProof) { p.Assignment.State.Value[5] ^= 1 }},
		"others than those drawn":   {client.ErrProof, func(p *client.UsageProof) { p.Committee = shardtest.CommitteeOf(t, 0, 1, 2, 3, 4) }},
		"an epoch nobody trusts":    {client.ErrNoTrust, func(p *client.UsageProof) { p.Assignment.Certificate.Checkpoint.Epoch = 1 }},
		"forged by main":            {cert.ErrBadSignature, func(p *client.UsageProof) { p.Assignment.Certificate.Checkpoint.Round++ }},
		"forged by the shard":       {cert.ErrBadSignature, func(p *client.UsageProof) { p.Certificate.Checkpoint.UsageRoot[0] ^= 1 }},
		"too few of the shard":      {cert.ErrTooLittlePower, func(p *client.UsageProof) { p.Certificate.Bitmap = []byte{3} }},
		"another voucher":           {merkle.ErrProof, func(p *client.UsageProof) { p.Entries[1].Proof.Booking.Cumulative++ }},
		"another row of anchors":    {client.ErrProof, func(p *client.UsageProof) { p.Anchor = p.Assignment }},
		"another anchored version":  {client.ErrProof, func(p *client.UsageProof) { p.Anchor.State.Value[len(p.Anchor.State.Value)-40] ^= 1 }},
		"another block":             {client.ErrProof, func(p *client.UsageProof) { p.Booking.Height-- }},
		"nothing proved":            {client.ErrProof, func(p *client.UsageProof) { p.Entries = nil }},
		"of another entry":          {client.ErrProof, func(p *client.UsageProof) { p.Entries[1].Position = 0 }},
		"of another lane":           {client.ErrProof, func(p *client.UsageProof) { p.Booking.Results[0].Lane++ }},
		"of another booking of it":  {client.ErrProof, func(p *client.UsageProof) { p.Booking.Results[0].Seq++ }},
		"of an entry not booked":    {client.ErrProof, func(p *client.UsageProof) { p.Booking.Results[1].Code = chain.CodeStale }},
		"of an entry not told of":   {client.ErrProof, func(p *client.UsageProof) { p.Booking.Results = p.Booking.Results[:1] }},
		"the main chain as a shard": {cert.ErrWrongChain, func(p *client.UsageProof) { p.Certificate = p.Assignment.Certificate }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, trust := provedUsage(t, true)
			row.spoil(p)
			if _, err := p.Verify(trust); !errors.Is(err, row.want) {
				t.Errorf("%v, want %v", err, row.want)
			}
		})
	}
	p, _ := provedUsage(t, true)
	if _, err := p.Verify(); !errors.Is(err, client.ErrProof) {
		t.Errorf("without trust: %v", err)
	}
}
