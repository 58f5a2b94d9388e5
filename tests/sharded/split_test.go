package sharded_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/statetree"
	"github.com/tributary-network/tributary/node/carry"
	"github.com/tributary-network/tributary/shard"
)

// reshard asks main for a split or a merge until it is announced.
func (w *world) reshard(owner *user, kind shard.Kind, ids ...shard.ID) {
	w.tb.Helper()
	h, _ := w.mains[0].Head()
	asked := uint64(0) // the epoch after the last one in which it was asked for
	w.until("the change is announced", func() (announced bool) {
		w.readMain(func(v view) {
			m, _ := registry.ReadMap(v)
			for _, c := range m.Announced() {
				announced = announced || c.Kind == kind && slices.Equal(c.Shards, ids)
			}
			for _, id := range ids { // or it holds already
				row, ok := anchor.Read(v, id)
				announced = announced || ok && row.Until != 0
			}
			h, _ = w.mains[0].Head()
		})
		p := &w.gen.Params.Staking
		if epoch := p.Epoch(h + 1); !announced && epoch >= asked && h+1 < p.LastBlock(epoch) {
			asked = epoch + 1
			for _, id := range ids {
				m := registry.Reshard{Request: shard.Request{Kind: kind, Shard: id}}
				w.askMain(owner, chain.KindReshard, m.Encode())
			}
		}
		return announced
	})
}

// askMain sends a transaction that main may refuse: a shard is too new, for one.
func (w *world) askMain(u *user, kind chain.Kind, payload []byte) {
	w.tb.Helper()
	d := chain.Domain{Network: w.network(), Chain: ledger.MainChain}
	raw := chain.SignTx(d, u.key, chain.TxFields{Kind: kind, Zone: home, Nonce: u.nonce, MaxFee: ledger.DropsPerCoin, Payload: payload})
	_, err := w.mains[0].Submit(w.ctx, raw)
	switch _, rule := chain.CodeOf(err); {
	case err == nil:
		u.nonce++
	case !rule:
		w.tb.Fatalf("ask main: %v", err)
	}
}

// heirsOf returns the shards that main's map has and this world does not run, once the
// last heights of those that they take over from are anchored.
func (w *world) heirsOf(parents ...shard.ID) (ids []shard.ID) {
	w.tb.Helper()
	w.until("the parents are anchored to their end", func() (ended bool) {
		w.readMain(func(v view) {
			ended = true
			for _, id := range parents {
				row, ok := anchor.Read(v, id)
				ended = ended && ok && row.Finished()
			}
			m, _ := registry.ReadMap(v)
			ids = ids[:0]
			for s := range m.All() {
				if w.shards[s.ID] == nil {
					ids = append(ids, s.ID)
				}
			}
		})
		return ended && len(ids) > 0
	})
	return ids
}

// inherit starts the heirs of shards that have ended, and has nobody carry any more what
// these left.
func (w *world) inherit(parents ...shard.ID) (heirs []shard.ID) {
	w.tb.Helper()
	heirs = w.heirsOf(parents...)
	for _, id := range heirs {
		w.foundFrom(id)
		for i, r := range w.relays {
			if s := w.hosted[i][id]; s != nil {
				r.Host(id, carry.Shard{Shard: s})
				w.group.Go(func() {
					if err := carry.Watch(w.ctx, s.Executor, r.Wake); err != nil {
						w.tb.Errorf("watch: %v", err)
					}
				})
			}
		}
	}
	for _, id := range parents {
		delete(w.shards, id)
		for _, r := range w.relays {
			r.Drop(id)
		}
	}
	return heirs
}

// foundFrom starts a shard with the states of its parents.
func (w *world) foundFrom(id shard.ID) {
	w.tb.Helper()
	n := &chainNet{id: id, time: w.gen.Time, work: make(chan struct{}, 1)}
	for i := range w.mains {
		var g shardblock.Genesis
		w.until("main founds the shard", func() bool {
			err := w.mains[i].Read(func(v view, _ uint64) (err error) {
				p, err := settlement.ReadParams(v)
				if err != nil {
					return err
				}
				g, err = shardblock.FromMain(v, w.network(), &p.Staking, &p.Anchors, id)
				return err
			})
			if err != nil && !errors.Is(err, shardblock.ErrNotFounded) {
				w.tb.Fatal(err)
			}
			return err == nil
		})
		if _, serves := g.Committee.FindAddress(consensusOf(i)); !serves {
			continue
		}
		var parents []chain.View
		for _, p := range g.Service.Parents {
			var s *statetree.Snapshot
			var err error
			for _, r := range w.shards[p.Shard.Chain].replicas {
				if r.at == i || s == nil {
					if s != nil {
						_ = s.Close()
					}
					if s, err = r.layer.OpenSnapshot(); err != nil {
						w.tb.Fatal(err)
					}
				}
			}
			if s.Height() < p.Height || s.AppHash() != p.StateRoot { // an empty block may follow the last one
				w.tb.Fatalf("shard %d ends at %d with %s, and is at %d with %s", p.Shard.Chain, p.Height, p.StateRoot, s.Height(), s.AppHash())
			}
			defer func() { _ = s.Close() }()
			parents = append(parents, s)
		}
		r, cfg := w.replica(i)
		s, err := exec.OpenShard(cfg, r.layer, g, w.log, parents...)
		if err != nil {
			w.tb.Fatal(err)
		}
		if _, err := s.InitChain(g.Encode()); err != nil {
			w.tb.Fatal(err)
		}
		w.host(n, r, i, s, g)
	}
	w.shards[id] = n
	w.start(n)
}

// TestSplit: a shard splits under traffic, and nobody carries any more what it left when
// its heirs begin: they list it again, nothing is lost and nothing is counted twice.
func TestSplit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, genesisOf(t, 4, 40, 2, 10))
	ids := w.foundAll()
	for i := range w.mains {
		w.relayAt(i)
	}
	w.traffic(25 * time.Millisecond)
	owner := &user{key: keyOf(0), addr: keyOf(0).Address(home)}
	payers := []*user{w.userIn(ids[0], 1), w.userIn(ids[0], 2), w.userIn(ids[1], 1), w.userIn(ids[1], 2)}
	payees := []*user{w.userIn(ids[1], 3), w.userIn(ids[0], 3), w.userIn(ids[0], 4), w.userIn(ids[1], 4)}
	var pipes []*pipe
	for i := range payers {
		pipes = append(pipes, w.open(payers[i], payees[i], 100_000_000))
	}
	w.until("the homes know the channels", func() bool {
		return !slices.ContainsFunc(pipes, func(p *pipe) bool { _, ok := w.known(p); return !ok })
	})
	traffic := func() { // some bookings on all channels
		for _, p := range pipes {
			w.bookAgain(p, 1_000)
		}
	}
	traffic()
	w.reshard(owner, shard.Split, ids[0])
	w.untilEnded(traffic, ids[0])
	heirs := w.inherit(ids[0])
	if len(heirs) != 2 {
		t.Fatalf("heirs of shard %d are %v, want two", ids[0], heirs)
	}
	for range 3 {
		traffic()
	}
	w.allPaid(pipes)
	w.tells(ids[0], heirs)
}

// untilEnded lets traffic go on until shards have made their last block.
func (w *world) untilEnded(traffic func(), ids ...shard.ID) {
	w.tb.Helper()
	w.until("the shards have ended", func() bool {
		ended := true
		for _, id := range ids {
			ended = ended && w.over(id)
		}
		if !ended {
			traffic()
		}
		return ended
	})
}

// bookAgain signs that more is owed and books it. If the shard of the payer makes its
// last block before it has it, the booking is left for the next time.
func (w *world) bookAgain(p *pipe, amount ledger.Amount) {
	w.tb.Helper()
	e := w.pay(p, amount, 1)
	u := service.Usage{Service: serviceID, Zone: home, Buckets: []uint8{p.payer.addr.Bucket()}, Batch: channel.Batch{Payee: p.payee.addr, Entries: []channel.Entry{e}}}
	raw := chain.SignTx(service.Domain(w.network(), serviceID), p.payee.key, chain.TxFields{
		Kind: chain.KindBookUsage, Zone: home, Nonce: p.payee.nonce, Payload: u.Encode(),
	})
	p.payee.nonce++
	id := w.keeperOf(p.payer.addr)
	s := w.anyOf(id)
	var err error
	w.until("the booking is taken or refused", func() bool {
		_, err = s.Submit(w.ctx, raw)
		_, rule := chain.CodeOf(err)
		return err == nil || rule // or the chain is just about to start
	})
	if code, _ := chain.CodeOf(err); code == chain.CodeShardEnded {
		return
	}
	if err != nil {
		w.tb.Fatalf("book at shard %d: %v", id, err)
	}
	w.until("a block has the booking, or the shard has ended", func() bool {
		c, _ := w.known(p)
		return c.Booked.Amount == uint64(p.cumulative) || w.over(id)
	})
}

// over reports whether a shard has made its last block.
func (w *world) over(id shard.ID) (ended bool) {
	w.readShard(id, func(v view) {
		s := shardblock.ReadStatus(v)
		h, _ := w.shards[id].replicas[0].exec.Head()
		ended = s.Ended != 0 && h >= s.Ended
	})
	return ended
}

// allPaid waits until all that was booked is earned and everything has arrived.
func (w *world) allPaid(pipes []*pipe) {
	w.tb.Helper()
	owed := map[ledger.Address]uint64{}
	for _, p := range pipes {
		owed[p.payee.addr] += uint64(p.cumulative)
	}
	for _, p := range pipes {
		w.until("the payee's home knows what was earned", func() bool { return w.earned(p.payee).Total.Amount == owed[p.payee.addr] })
		w.until("main has paid", func() bool { return w.redeemed(p) == p.cumulative })
	}
	w.until("everything is acknowledged", w.quiet)
	w.conserved()
}
