package relay_test

import (
	"context"
	"testing"

	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger/stateproof"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
	"github.com/tributary-network/tributary/shard/relay"
)

// passed is main that has a hand-over for each epoch, and a shard that takes all it is
// brought.
type passed struct {
	bare

	asked  int // for hand-overs
	relays int // that were sent
}

func (p *passed) Handover(epoch uint64) (c cert.Certificate, st *stateproof.Statement, err error) {
	p.asked++
	c.Checkpoint.Epoch = epoch - 1
	return c, &stateproof.Statement{Value: []byte{1}, Proof: &stateproof.Proof{}}, nil
}

func (p *passed) SubmitRelay(context.Context, []byte) error {
	p.relays++
	return nil
}

// elsewhere is a shard that other nodes run.
type elsewhere struct{ *passed }

func (elsewhere) Survey(context.Context, shard.ID, []link.Link) (relay.Survey, error) {
	return relay.Survey{}, errNothing
}

func (e elsewhere) SubmitRelay(_ context.Context, _ shard.ID, payload []byte) error {
	return e.passed.SubmitRelay(context.Background(), payload)
}

func (elsewhere) Outbox(context.Context, shard.ID, uint64, link.Place, link.Place) (*link.Outbox, error) {
	return nil, errNothing
}

// TestLead: whoever answers for a shard elsewhere that it is far behind costs a bounded number
// of hand-overs in a round, and one that is so far behind gets to the end in the rounds after.
func TestLead(t *testing.T) {
	t.Parallel()
	const epoch, most = 1_000, relay.MaxLeads * shardblock.MaxHandovers
	for name, row := range map[string]struct {
		local         bool
		last          uint64
		taken, relays int
		reached       uint64
	}{
		"a shard here, far behind":     {true, 0, 3, epoch/shardblock.MaxHandovers + 3, epoch},
		"one elsewhere, far behind":    {false, 0, 0, relay.MaxLeads, most},
		"as far as it is led at once":  {false, epoch - most, 3, relay.MaxLeads + 3, epoch},
		"one epoch further":            {false, epoch - most - 1, 0, relay.MaxLeads, epoch - 1},
		"one that knows all there are": {false, epoch, 3, 3, epoch},
	} {
		p := &passed{}
		cfg := configOf(p)
		cfg.Remote = elsewhere{p}
		var local relay.Shard
		if row.local {
			local = p
		}
		taken, left, err := relay.Follower(cfg, local, relay.Survey{First: row.last, Last: row.last}, epoch, 3)
		if err != nil {
			t.Fatal(err)
		}
		if taken != row.taken || p.relays != row.relays || left.Last != row.reached {
			t.Errorf("%s: %d relays taken and %d sent, the shard is led to epoch %d; want %d, %d and %d",
				name, taken, p.relays, left.Last, row.taken, row.relays, row.reached)
		}
		if p.asked > int(row.reached-row.last)+3 {
			t.Errorf("%s: %d hand-overs were made", name, p.asked)
		}
	}
	p := &passed{}
	cfg := configOf(p)
	cfg.Remote = elsewhere{p}
	s := relay.Survey{}
	for range epoch/most + 1 {
		_, left, err := relay.Follower(cfg, nil, s, epoch, 1)
		if err != nil {
			t.Fatal(err)
		}
		s.Last = left.Last
	}
	if s.Last != epoch {
		t.Errorf("after the rounds that it takes it is led to epoch %d, want %d", s.Last, epoch)
	}
}
