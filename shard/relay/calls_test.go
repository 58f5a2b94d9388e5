package relay_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
	"github.com/tributary-network/tributary/shard/relay"
)

// called is a shard that counts what it is asked for.
type called struct {
	standing

	answer  error
	calls   int
	outbox  int
	deepest uint64
}

func (c *called) SubmitRelay(context.Context, []byte) error {
	c.calls++
	return c.answer
}

func (c *called) Outbox(height uint64) (*link.Outbox, bool, error) {
	if c.outbox++; c.deepest == 0 || height < c.deepest {
		c.deepest = height
	}
	return nil, false, nil
}

// callable returns a shard in the state of a place.
func callable(t *testing.T, p *place, height uint64) *called {
	t.Helper()
	g := service.Genesis{Network: tillDomain.Network, Shard: service.Shard{Chain: p.id, Service: 1, First: p.first, Last: p.first + width - 1}, Params: service.DefaultParams()}
	changes, err := g.State()
	if err != nil {
		t.Fatal(err)
	}
	p.state.apply(changes)
	c := &called{standing: standing{bare: bare{state: p.state}, height: height}}
	c.had(0)
	return c
}

// had says how many calls the shard heard in its epoch.
func (c *called) had(calls uint64) {
	s := shardblock.Status{Epoch: 1, Calls: calls}
	c.state[string(shardblock.StatusKey())] = s.Encode()
}

// TestLookingBack: a relay that begins looks back no further than it may, and neither does
// one that runs when the committee of a shard was drawn anew.
func TestLookingBack(t *testing.T) {
	t.Parallel()
	const head = 10 * relay.MaxBack
	s := callable(t, newPlace(2, 0), head)
	drawn := anchor.State{Generation: 3, Resumed: 100}
	if err := relay.Surveys(configOf(bare{}), 2, s, drawn, drawn); err != nil {
		t.Fatal(err)
	}
	if s.outbox != relay.MaxBack || s.deepest != head-relay.MaxBack+1 {
		t.Errorf("after a start %d outboxes are read from %d on, want %d", s.outbox, s.deepest, relay.MaxBack)
	}
	again := anchor.State{Generation: 4, Resumed: 200}
	s.outbox = 0
	if err := relay.Surveys(configOf(bare{}), 2, s, drawn, again); err != nil {
		t.Fatal(err)
	}
	if s.outbox != 2*relay.MaxBack || s.deepest != head-relay.MaxBack+1 {
		t.Errorf("after another draw %d outboxes are read from %d on, want %d", s.outbox, s.deepest, 2*relay.MaxBack)
	}
}

// TestCalls: what a shard does not hear is asked for again, not in each round, and not as
// long as it hears nothing.
func TestCalls(t *testing.T) {
	t.Parallel()
	busy := errors.New("busy")
	for name, row := range map[string]struct {
		answer error
		had    uint64
		calls  int // while it does not hear
		after  int // once it does
	}{
		"heard":           {nil, 0, 1, 1},
		"refused":         {chain.CodeLinkRepeat.Err(), 0, 1, 1},
		"busy":            {busy, 0, 3, 4},
		"asked too often": {chain.CodeNotDue.Err(), 0, 3, 4},
		"hears nothing":   {chain.CodeNotDue.Err(), shardblock.MaxCalls, 0, 1},
	} {
		for _, main := range []bool{true, false} {
			a, b := newPlace(2, 0), newPlace(3, 100)
			l := link.Link{Src: a.at(0), Dst: b.at(0)}
			if main {
				l.Dst = link.Place{}
			}
			a.block(t, nil, known{b, 0}, func(c *link.Context) {
				if _, err := c.Send(link.Draft{Link: l}); err != nil {
					t.Fatal(err)
				}
			})
			const height = 2 * link.RelistBlocks
			src, dst := callable(t, a, height), callable(t, b, height)
			src.answer = row.answer
			src.had(row.had)
			now := time.Unix(1_700_000_000, 0)
			cfg := configOf(bare{})
			cfg.Now = func() time.Time { return now }
			to := anchor.State{Service: b.at(0).Service, Zone: b.at(0).Zone, Buckets: shard.Range{First: 100, Last: 103}}
			c, err := relay.NewCaller(cfg, 2, src, to, dst)
			if err != nil {
				t.Fatal(err)
			}
			round := func() time.Duration {
				if main {
					return c.Main(l)
				}
				return c.Shard(height)
			}
			for range 3 {
				var wait time.Duration
				for range 10 {
					wait = round()
				}
				if (wait > 0) != (row.calls != 1) {
					t.Errorf("%s, main %v: look again after %s", name, main, wait)
				}
				now = now.Add(10 * time.Second)
			}
			if src.calls != row.calls {
				t.Errorf("%s, main %v: asked %d times in three looks, want %d", name, main, src.calls, row.calls)
			}
			src.answer = nil
			src.had(0)
			now = now.Add(time.Minute)
			for range 10 {
				round()
			}
			if src.calls != row.after {
				t.Errorf("%s, main %v: asked %d times in the end, want %d", name, main, src.calls, row.after)
			}
		}
	}
}
