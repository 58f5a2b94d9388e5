package relay_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/stateproof"
	"github.com/tributary-network/tributary/shard/link"
	"github.com/tributary-network/tributary/shard/relay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errNothing = errors.New("nothing here")

// bare is a chain with a state and nothing else.
type bare struct{ state rows }

func (b bare) Read(f func(chain.View, uint64) error) error {
	if b.state == nil {
		return errNothing
	}
	return f(b.state, 1)
}
func (bare) Certificate(uint64) (cert.Certificate, error) { return cert.Certificate{}, errNothing }
func (bare) Outbox(uint64) (*link.Outbox, bool, error)    { return nil, false, nil }
func (bare) SubmitRelay(context.Context, []byte) error    { return errNothing }
func (bare) Submit(context.Context, []byte) error         { return errNothing }
func (bare) Watch([]byte) error                           { return nil }
func (bare) Certified([]byte) (cert.Certificate, *stateproof.Statement, error) {
	return cert.Certificate{}, nil, errNothing
}

func (bare) Posts(uint64) (relay.Posts, bool, error) { return relay.Posts{}, false, nil }

func (bare) Handover(uint64) (cert.Certificate, *stateproof.Statement, error) {
	return cert.Certificate{}, nil, errNothing
}

func configOf(main relay.Main) relay.Config {
	key := ledger.NewPrivateKey([ledger.SeedSize]byte{1})
	return relay.Config{
		Main: main, Key: &key, Now: time.Now, Jitter: func() float64 { return 0.5 }, Log: slog.New(slog.DiscardHandler),
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for field, breaks := range map[string]func(*relay.Config){
		"Main":   func(c *relay.Config) { c.Main = nil },
		"Now":    func(c *relay.Config) { c.Now = nil },
		"Jitter": func(c *relay.Config) { c.Jitter = nil },
		"Log":    func(c *relay.Config) { c.Log = nil },
		"Block":  func(c *relay.Config) { c.Block = -1 },
	} {
		c := configOf(bare{})
		breaks(&c)
		if _, err := relay.New(c); err == nil || !strings.Contains(err.Error(), "Config."+field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// TestIdle: with nothing to do a relay looks once each time it is woken, and sleeps.
func TestIdle(t *testing.T) {
	t.Parallel()
	g := settlement.Genesis{Name: "test", Time: 1, Params: settlement.LocalParams(), Accounts: []settlement.GenesisAccount{{Address: ledger.Address{1}, Balance: 1}}}
	changes, err := g.State()
	if err != nil {
		t.Fatal(err)
	}
	state := rows{}
	state.apply(changes)
	for name, main := range map[string]bare{"no epochs": {state: state}, "not readable": {}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r, err := relay.New(configOf(main))
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- r.Run(ctx) }()
				for id := ledger.ChainID(2); id < 6; id++ {
					r.Host(id, bare{})
				}
				hour := func() {
					<-time.NewTimer(time.Hour).C
					synctest.Wait()
				}
				hour()
				before := r.Counters().Rounds
				hour()
				if after := r.Counters().Rounds; after != before || after == 0 {
					t.Errorf("%d rounds and then %d, with nothing to do", before, after)
				}
				for range 1_000 {
					r.Wake()
				}
				hour()
				const lanes = 5
				if after := r.Counters().Rounds; after < before+lanes || after > before+2*lanes {
					t.Errorf("%d rounds after a thousand calls, %d before", after, before)
				}
				for id := ledger.ChainID(2); id < 6; id++ {
					r.Drop(id)
				}
				hour()
				before = r.Counters().Rounds
				r.Wake()
				hour()
				if after := r.Counters().Rounds; after != before {
					t.Errorf("%d rounds for no shards", after-before)
				}
				cancel()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			})
		})
	}
}
