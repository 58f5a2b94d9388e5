package sharded_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/carry"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/relay"
)

type (
	view    = chain.View
	tableOf = chain.Table
)

// shardOf returns the shard that keeps an account.
func (w *world) shardOf(a ledger.Address) (id shard.ID) {
	w.tb.Helper()
	w.readMain(func(v view) {
		m, ok := registry.ReadMap(v)
		if !ok {
			w.tb.Fatal("main has no map of shards")
		}
		if id, ok = m.Home(serviceID, a); !ok {
			w.tb.Fatalf("no shard for %s", a)
		}
	})
	return id
}

// foundAll starts all shards that main has.
func (w *world) foundAll() (ids []shard.ID) {
	w.tb.Helper()
	w.readMain(func(v view) {
		m, ok := registry.ReadMap(v)
		if !ok {
			w.tb.Fatal("main has no map of shards")
		}
		for s := range m.All() {
			ids = append(ids, s.ID)
		}
	})
	for _, id := range ids {
		w.found(id)
	}
	return ids
}

// keeperOf returns the shard of this world that has an account: where main's map has it,
// but for the time in which the map is ahead of those who run the shards.
func (w *world) keeperOf(a ledger.Address) (id shard.ID) {
	w.tb.Helper()
	for one := range w.shards {
		w.readShard(one, func(v view) {
			if s := service.ReadShard(v); a.Bucket() >= s.First && a.Bucket() <= s.Last {
				id = one
			}
		})
	}
	if id == 0 {
		w.tb.Fatalf("nobody keeps %s", a)
	}
	return id
}

func (w *world) readMain(f func(v view)) { w.read(w.main.replicas[0].exec, f) }

func (w *world) readShard(id shard.ID, f func(v view)) { w.read(w.shards[id].replicas[0].exec, f) }

func (w *world) read(e *exec.Executor, f func(v view)) {
	w.tb.Helper()
	if err := e.Read(func(v view, _ uint64) error {
		f(v)
		return nil
	}); err != nil {
		w.tb.Fatal(err)
	}
}

// relayAt starts the relay of validator i and returns it with what ends it.
func (w *world) relayAt(i int) (*relay.Relay, context.CancelFunc) {
	w.tb.Helper()
	return w.relayOver(i, nil, func(id shard.ID) relay.Shard { return carry.Shard{Shard: w.hosted[i][id]} })
}

// watch wakes a relay by all chains of a validator.
func (w *world) watch(ctx context.Context, i int, wake func()) {
	all := []*exec.Executor{w.mains[i].Executor}
	for _, s := range w.hosted[i] {
		all = append(all, s.Executor)
	}
	for _, e := range all {
		w.group.Go(func() {
			if err := carry.Watch(ctx, e, wake); err != nil {
				w.tb.Errorf("watch: %v", err)
			}
		})
	}
}

// relayOver is relayAt with a configuration that change makes and shards as open says.
func (w *world) relayOver(i int, change func(*relay.Config), open func(shard.ID) relay.Shard) (*relay.Relay, context.CancelFunc) {
	w.tb.Helper()
	key := keyOf(relayers + i)
	cfg := relay.Config{
		Main: carry.Main{Main: w.mains[i], Bundles: w.main.replicas[i].votes.bundles}, Network: w.network(), Self: func() [committee.AddressSize]byte { return consensusOf(i) }, Key: &key, Zone: home,
		Block: 100 * time.Millisecond, Now: time.Now, Jitter: rand.Float64, Log: w.log, Eager: true,
	}
	if change != nil {
		change(&cfg)
	}
	r, err := relay.New(cfg)
	if err != nil {
		w.tb.Fatal(err)
	}
	for id := range w.hosted[i] {
		r.Host(id, open(id))
	}
	w.relays = append(w.relays, r)
	ctx, cancel := context.WithCancel(w.ctx)
	w.watch(ctx, i, r.Wake)
	ended := make(chan struct{})
	w.group.Go(func() {
		defer close(ended)
		if err := r.Run(ctx); err != nil {
			w.tb.Errorf("relay %d: %v", i, err)
		}
	})
	return r, func() {
		cancel()
		<-ended
	}
}

// user is an account with a next nonce.
type user struct {
	key   ledger.PrivateKey
	addr  ledger.Address
	nonce uint64
}

// userIn returns the n-th funded account whose home is one of ids.
func (w *world) userIn(id shard.ID, n int) *user {
	w.tb.Helper()
	for i := range w.gen.Accounts {
		k := keyOf(i)
		if a := k.Address(home); a == w.gen.Accounts[i].Address && w.shardOf(a) == id {
			if n--; n < 0 {
				return &user{key: k, addr: a}
			}
		}
	}
	w.tb.Fatalf("not so many accounts in shard %d", id)
	return nil
}

// submit sends a record to main at validator 0, as soon as that runs.
func (w *world) submit(raw []byte) {
	w.tb.Helper()
	w.until("main takes records", func() bool {
		_, err := w.mains[0].Submit(w.ctx, raw)
		if err != nil && !errors.Is(err, exec.ErrNotRunning) {
			w.tb.Fatalf("submit: %v", err)
		}
		return err == nil
	})
}

// onMain sends a transaction of u to main.
func (w *world) onMain(u *user, kind chain.Kind, payload []byte) {
	w.tb.Helper()
	d := chain.Domain{Network: w.network(), Chain: ledger.MainChain}
	raw := chain.SignTx(d, u.key, chain.TxFields{Kind: kind, Zone: home, Nonce: u.nonce, MaxFee: ledger.DropsPerCoin, Payload: payload})
	u.nonce++
	w.submit(raw)
}

// pipe is a channel as its payer has it.
type pipe struct {
	payer, payee *user
	index        uint64
	id           ledger.Hash
	deposit      ledger.Amount
	cumulative   ledger.Amount
	units        uint64
}

// open opens a channel and waits until main has it.
func (w *world) open(payer, payee *user, deposit ledger.Amount) *pipe {
	w.tb.Helper()
	var next, sigma uint64
	w.readMain(func(v view) {
		next = settlement.ChannelCount(v)
		h, _ := w.mains[0].Head()
		sigma = settlement.Clock(v, h)
	})
	o := channel.Open{Channels: []channel.OpenParams{{
		Payee: payee.addr, VoucherKey: payer.key.Public(), Service: serviceID, Deposit: deposit,
		ExpiresAt: sigma + 50_000, Challenge: w.gen.Params.DefaultChallenge,
	}}}
	w.onMain(payer, chain.KindOpenChannels, o.Encode())
	p := &pipe{payer: payer, payee: payee, deposit: deposit}
	w.until("a channel is opened", func() (ok bool) {
		w.readMain(func(v view) {
			for i := next; i < settlement.ChannelCount(v); i++ {
				if c, found := settlement.ChannelAt(v, i); found && c.Payer == payer.addr && c.Payee == payee.addr {
					p.index, p.id, ok = i, c.ID, true
				}
			}
		})
		return ok
	})
	return p
}

// pay signs that so much more is owed, and returns the voucher.
func (w *world) pay(p *pipe, more ledger.Amount, units uint64) channel.Entry {
	p.cumulative += more
	p.units += units
	e := channel.Entry{Index: p.index, Claim: channel.ClaimVoucher, Cumulative: p.cumulative, Units: p.units}
	e.Signature = p.payer.key.Sign(e.Signed(chain.Domain{Network: w.network(), Chain: ledger.MainChain}, p.id))
	return e
}

// book books vouchers of one payer at its home.
func (w *world) book(p *pipe, entries ...channel.Entry) {
	w.tb.Helper()
	u := service.Usage{Service: serviceID, Zone: home, Batch: channel.Batch{Payee: p.payee.addr, Entries: entries}}
	for range entries {
		u.Buckets = append(u.Buckets, p.payer.addr.Bucket())
	}
	raw := chain.SignTx(service.Domain(w.network(), serviceID), p.payee.key, chain.TxFields{
		Kind: chain.KindBookUsage, Zone: home, Nonce: p.payee.nonce, Payload: u.Encode(),
	})
	p.payee.nonce++
	if _, err := w.anyOf(w.shardOf(p.payer.addr)).Submit(w.ctx, raw); err != nil {
		w.tb.Fatalf("book: %v", err)
	}
}

// anyOf returns a shard at some validator.
func (w *world) anyOf(id shard.ID) *exec.Shard {
	for i := range w.hosted {
		if s := w.hosted[i][id]; s != nil {
			return s
		}
	}
	w.tb.Fatalf("nobody runs shard %d", id)
	return nil
}

// known returns what the home of a channel knows of it.
func (w *world) known(p *pipe) (c service.Channel, ok bool) {
	w.readShard(w.keeperOf(p.payer.addr), func(v view) { c, ok = service.ChannelAt(v, p.payer.addr.Bucket(), p.index) })
	return c, ok
}

// earned returns what the payee's home says it has earned.
func (w *world) earned(u *user) (e service.Earnings) {
	w.readShard(w.keeperOf(u.addr), func(v view) { e = service.EarningsOf(v, u.addr) })
	return e
}

// redeemed returns what main has paid on a channel.
func (w *world) redeemed(p *pipe) (a ledger.Amount) {
	w.readMain(func(v view) {
		if c, ok := settlement.ChannelAt(v, p.index); ok {
			a = c.Redeemed
		}
	})
	return a
}
