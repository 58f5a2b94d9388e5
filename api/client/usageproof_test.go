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
	return provedBlock(t, anchored, 0, nil)
}

// provedBlock is provedUsage for block 4 of a generation, and changes what the main chain has
// of the shard after that.
func provedBlock(t *testing.T, anchored bool, generation uint32, then func(row *anchor.State)) (*client.UsageProof, *client.Trust) {
	t.Helper()
	m := shardtest.NewMain(t)
	com := shardtest.CommitteeOf(t, 0, 100, 101, 102, 103)
	m.Assign(0, provedShard, 100, 101, 102, 103)
	bookings := []service.Booking{{ChannelID: ledger.Hash{1}, Lane: 2, Seq: 3, Units: 4, Cumulative: 5}, {ChannelID: ledger.Hash{2}, Seq: 1}}
	certificate := shardtest.Certify(t, &com, cert.Checkpoint{
		Network: shardtest.Network(), Chain: provedShard, Height: 4, Generation: generation, UsageRoot: service.UsageRoot(bookings), CommitteeHash: com.Hash(),
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
	if then != nil {
		then(&row)
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

// TestUsageProofOfGenerations: a block that is taken back is not anchored, however far the
// generation after it is, and what the main chain does not show is not claimed.
func TestUsageProofOfGenerations(t *testing.T) {
	t.Parallel()
	push := func(row *anchor.State, generation uint32, heights int) {
		for range heights {
			p := cert.Checkpoint{Network: shardtest.Network(), Chain: provedShard, Height: row.Height() + 1, Generation: generation}
			row.Tree.Push(p.Encode())
			row.Last, row.Outboxes = p, append(row.Outboxes, ledger.Hash{})
		}
	}
	resume := func(row *anchor.State, generation uint32) {
		if row.Height() > row.Resumed {
			row.Ends = append(row.Ends, anchor.End{Generation: row.Generation, Height: row.Height()})
		}
		row.Generation, row.Resumed, row.ResumedRoot = generation, row.Height(), ledger.Hash{9}
	}
	for name, r := range map[string]struct {
		generation uint32 // of the block that is proved, the fourth
		first      bool   // it is anchored before the rest happens
		then       func(row *anchor.State)
		anchored   bool
		err        error
	}{
		"taken back, the next ones are not anchored": {0, false, func(row *anchor.State) { push(row, 0, 3); resume(row, 1) }, false, client.ErrProof},
		"taken back, another is anchored":            {0, false, func(row *anchor.State) { push(row, 0, 3); resume(row, 1); push(row, 1, 1) }, false, client.ErrProof},
		"taken back, others are anchored beyond":     {0, false, func(row *anchor.State) { push(row, 0, 3); resume(row, 1); push(row, 1, 2) }, false, client.ErrProof},
		"kept by the next one":                       {0, true, func(row *anchor.State) { push(row, 0, 2); resume(row, 1); push(row, 1, 2) }, true, nil},
		"the last one, and kept by the next ones":    {0, true, func(row *anchor.State) { resume(row, 3) }, true, nil},
		"of the generation in force":                 {1, false, func(row *anchor.State) { push(row, 0, 3); resume(row, 1); push(row, 1, 2) }, true, nil},
		"of it, below where that goes on":            {1, false, func(row *anchor.State) { push(row, 0, 5); resume(row, 1) }, false, client.ErrProof},
		"of a generation that main does not know":    {1, false, func(row *anchor.State) { push(row, 0, 3) }, false, nil},
		"of one, beyond where it can have begun":     {1, false, func(row *anchor.State) { push(row, 0, 5) }, false, client.ErrProof},
		"several followed, taken back by the first":  {0, false, func(row *anchor.State) { push(row, 0, 3); resume(row, 1); push(row, 1, 3); resume(row, 2) }, false, client.ErrProof},
		"several followed, kept by the first": {0, true, func(row *anchor.State) {
			resume(row, 1)
			push(row, 1, 3)
			resume(row, 2)
			push(row, 2, 1)
		}, true, nil},
		"several followed, kept by the second": {1, false, func(row *anchor.State) {
			push(row, 0, 3)
			resume(row, 1)
			push(row, 1, 3)
			resume(row, 2)
			push(row, 2, 1)
			resume(row, 3)
		}, true, nil},
		"of an earlier one, below where that went on": {1, false, func(row *anchor.State) {
			push(row, 0, 4)
			resume(row, 1)
			push(row, 1, 1)
			resume(row, 2)
		}, false, client.ErrProof},
		"more followed than main knows of": {0, true, func(row *anchor.State) {
			for g := range uint32(anchor.MaxEnds + 1) {
				resume(row, g+1)
				push(row, g+1, 1)
			}
			row.Ends = row.Ends[1:]
		}, false, nil},
		"several followed, the first from nothing": {0, false, func(row *anchor.State) {
			resume(row, 1)
			row.ResumedRoot, row.Origin = ledger.Hash{}, 1
			push(row, 1, 5)
			resume(row, 2)
		}, false, client.ErrProof},
		"several followed, without anchors": {0, true, func(row *anchor.State) { push(row, 0, 1); resume(row, 2) }, true, nil},
	} {
		p, trust := provedBlock(t, r.first, r.generation, r.then)
		if got, err := p.Verify(trust); got != r.anchored || !errors.Is(err, r.err) {
			t.Errorf("%s: anchored %v, %v", name, got, err)
		}
	}
}
