package comet_test

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tributary-network/tributary/consensus/comet"
)

// shard makes another chain of the same nodes: their keys, with sign states of the
// chain, and everything else new. Those of voters are its first validators.
func (n *network) shard(t *testing.T, id uint32, voters ...int) *network {
	t.Helper()
	s := &network{
		genesis: comet.Genesis{
			ChainID: comet.ShardChainID(n.genesis.ChainID, id), Time: n.genesis.Time, AppState: []byte("shard"),
		},
		config: n.config, registry: n.registry,
	}
	for i, addr := range freeAddrs(t, len(n.members)) {
		m := n.members[i]
		s.members = append(s.members, &member{
			dir: filepath.Join(m.dir, s.genesis.ChainID), signer: forChain(t, m.signer, s.genesis.ChainID),
			nodeKey: m.nodeKey, store: newStore(t), app: newMemApp(), addr: addr,
		})
	}
	for _, i := range voters {
		s.genesis.Validators = append(s.genesis.Validators, comet.GenesisValidator{
			PubKey: n.members[i].signer.PubKey(), Power: 10, Name: fmt.Sprint("v", i),
		})
	}
	return s
}

// advance lets member i send the n-th transaction, and waits for it there.
func (n *network) advance(t *testing.T, i int, number *int) {
	t.Helper()
	*number++
	n.broadcast(t, i, tx(*number))
	want := *number
	n.members[i].app.waitFor(t, 20*time.Second, func(txs int, _ uint64) bool { return txs >= want })
}

// Two chains of the same nodes in one process stop and start without each other, under
// one registry; one key signs on both; and what was lost of one is missed there only.
func TestChainsOfOneProcess(t *testing.T) {
	t.Parallel()
	main := newNetwork(t, "chains", 4)
	main.registry = prometheus.NewRegistry()
	shard := main.shard(t, 2, 0, 1, 2, 3)
	main.startAll(t)
	shard.startAll(t)
	var onMain, onShard int
	for range 3 {
		main.advance(t, 0, &onMain)
		shard.advance(t, 1, &onShard)
	}
	key := main.members[0].signer
	eventually(t, hangs, "the key votes on both chains", func() bool {
		main.advance(t, 0, &onMain)
		shard.advance(t, 1, &onShard)
		return main.votedAt(t, 1, key.Address()) > 0 && shard.votedAt(t, 1, key.Address()) > 0
	})
	if n := chainSeries(t, main.registry, shard.genesis.ChainID); n == 0 {
		t.Error("no metrics of the shard")
	}

	// A chain that was stopped comes back under its id, in the same process.
	for range 2 {
		shard.stop(t, 0)
		main.advance(t, 0, &onMain)
		shard.advance(t, 1, &onShard)
		shard.start(t, 0)
		shard.waitReady(t, 0)
		last := shard.members[1].chain.LatestHeight()
		eventually(t, hangs, "the key votes again", func() bool {
			shard.advance(t, 1, &onShard)
			return shard.votedAt(t, 1, key.Address()) > last
		})
	}
	for i := range shard.members {
		shard.stop(t, i)
	}
	if n := chainSeries(t, main.registry, shard.genesis.ChainID); n != 0 {
		t.Errorf("%d metrics of a chain that nobody runs", n)
	}
	main.advance(t, 2, &onMain)
	if n := chainSeries(t, main.registry, main.genesis.ChainID); n == 0 {
		t.Error("the main chain's metrics are gone, too")
	}

	// The sign state of the shard goes back to the beginning, and the main chain's not.
	dir := filepath.Join(main.members[0].dir, "config")
	rewriteSignState(t, filepath.Join(dir, "chains", shard.genesis.ChainID))
	behind := forChain(t, load(t, dir), shard.genesis.ChainID)
	shard.members[0].signer = behind
	if err := shard.tryStart(t, 0); !errors.Is(err, comet.ErrSignStateBehind) {
		t.Errorf("a start with a sign state that was lost = %v", err)
	}
	main.advance(t, 0, &onMain)
}

// chainSeries counts the measured values that carry a chain's id.
func chainSeries(t *testing.T, g prometheus.Gatherer, chainID string) (n int) {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "chain_id" && l.GetValue() == chainID {
					n++
				}
			}
		}
	}
	return n
}

// A node follows a chain before it votes there, votes as soon as it is elected, goes on
// following when it is not any more, stops without the others, and comes back after the
// chain went on for long: none of that looks like a lost sign state.
func TestChainIsJoinedAndLeft(t *testing.T) {
	t.Parallel()
	main := newNetwork(t, "joined", 5) // is not started: a key's first chain need not run
	shard := main.shard(t, 2, 0, 1, 2, 4)
	elect := make(map[uint64][]comet.ValidatorUpdate) // by the number of a transaction
	for _, m := range shard.members {
		m.app.update = func(b comet.Block) (updates []comet.ValidatorUpdate) {
			for _, sent := range b.Txs {
				updates = append(updates, elect[number(sent)]...)
			}
			return updates
		}
	}
	newcomer := shard.members[3]
	elect[5] = []comet.ValidatorUpdate{{PubKey: newcomer.signer.PubKey(), Power: 10}, {PubKey: shard.members[2].signer.PubKey(), Power: 0}}
	elect[20] = []comet.ValidatorUpdate{{PubKey: newcomer.signer.PubKey(), Power: 0}}
	elect[40] = []comet.ValidatorUpdate{{PubKey: newcomer.signer.PubKey(), Power: 10}}
	shard.startAll(t)
	sent := 0
	through := func(last int) {
		for sent < last {
			shard.advance(t, 0, &sent)
		}
	}
	through(4)
	if s := newcomer.chain.Status(); s.Validator || s.Signer != nil {
		t.Errorf("a follower's status: %+v", s)
	}
	if h := newcomer.signer.Height(); h != 0 {
		t.Errorf("a follower signed at height %d", h)
	}
	through(6)
	eventually(t, hangs, "the newcomer votes", func() bool {
		shard.advance(t, 0, &sent)
		return newcomer.chain.Status().Validator && shard.votedAt(t, 0, newcomer.signer.Address()) > 0
	})
	if sent >= 20 {
		t.Fatalf("it took %d blocks", sent)
	}
	through(20)
	eventually(t, hangs, "the newcomer is out", func() bool { shard.advance(t, 0, &sent); return !newcomer.chain.Status().Validator })
	if s := newcomer.chain.Status(); s.CatchingUp || s.Halt != nil {
		t.Errorf("status of a validator that was: %+v", s)
	}
	shard.stop(t, 3) // that is how it leaves
	through(39)      // and the others need it no more
	away := newcomer.signer.Height()

	// It comes back with what it had, first as a follower.
	shard.start(t, 3)
	shard.waitReady(t, 3)
	if err := newcomer.signer.Err(); err != nil {
		t.Errorf("after it was away: %v", err)
	}
	through(41)
	eventually(t, hangs, "the newcomer votes again", func() bool {
		shard.advance(t, 0, &sent)
		return newcomer.signer.Height() > away && shard.votedAt(t, 0, newcomer.signer.Address()) > away
	})
	shard.stop(t, 3)

	// And once more, on another disk, with the sign state only.
	newcomer.store, newcomer.app = newStore(t), newMemApp()
	newcomer.app.update = shard.members[0].app.update
	newcomer.dir = t.TempDir()
	for range 12 { // so that its last votes are not in the blocks it looks at
		shard.advance(t, 0, &sent)
	}
	shard.start(t, 3)
	shard.waitReady(t, 3)
	last := shard.members[0].chain.LatestHeight()
	eventually(t, hangs, "the newcomer votes with what it fetched", func() bool {
		shard.advance(t, 0, &sent)
		return shard.votedAt(t, 0, newcomer.signer.Address()) > last
	})
}

// number is what tx was made of.
func number(tx []byte) (n uint64) {
	for _, b := range tx[1:] {
		n = n<<8 | uint64(b)
	}
	return n
}

// SetPeers changes whom a running chain keeps connected: whom it keeps is not
// disturbed, and it may come while the chain stops.
func TestSetPeersWhileRunning(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, "peers", 4)
	n.config = func(c *comet.Config) { c.Peers = nil }
	for i := range n.members {
		n.start(t, i)
	}
	addr := func(i int) string { return n.members[i].nodeKey.ID() + "@" + n.members[i].addr }
	set := func(i int, peers ...int) {
		t.Helper()
		var list []string
		for _, p := range peers {
			list = append(list, addr(p))
		}
		if err := n.members[i].chain.SetPeers(list); err != nil {
			t.Fatal(err)
		}
	}
	since := func(i, peer int) (at time.Time) {
		for _, p := range n.members[i].chain.Peers() {
			if p.ID == n.members[peer].nodeKey.ID() {
				at = p.Since
			}
		}
		return at
	}
	set(0, 1, 2)
	eventually(t, hangs, "the peers are connected", func() bool { return !since(0, 1).IsZero() && !since(0, 2).IsZero() })
	kept := since(0, 1)
	set(0, 1, 3, 0) // its own address is no peer
	set(1, 2, 3)
	set(2, 3)
	eventually(t, hangs, "the new peer is connected", func() bool { return !since(0, 3).IsZero() })
	for i := range n.members {
		n.waitReady(t, i)
	}
	if at := since(0, 1); !at.Equal(kept) {
		t.Errorf("a peer that stayed was connected anew: %v, before %v", at, kept)
	}
	if s := n.members[0].chain.Status(); s.WantedPeers != 3 {
		t.Errorf("%d peers are wanted", s.WantedPeers)
	}
	if err := n.members[0].chain.SetPeers([]string{"host:1"}); err == nil || !strings.Contains(err.Error(), "nodeid@host:port") {
		t.Errorf("SetPeers = %v", err)
	}
	chain, stopped := n.members[0].chain, make(chan struct{})
	go func() {
		defer close(stopped)
		for range 100 {
			_ = chain.SetPeers([]string{addr(1 + len(stopped))})
			_ = chain.SetPeers(nil)
		}
	}()
	n.stop(t, 0)
	<-stopped
	if err := chain.SetPeers(nil); !errors.Is(err, comet.ErrNotRunning) {
		t.Errorf("SetPeers of a chain that was stopped = %v", err)
	}
}

// A remote signer holds one key for all chains of a network, over one connection, and
// none for others.
func TestRemoteSignerOfManyChains(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"unix", "tcp"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			main := newNetwork(t, "many", 4)
			m := main.members[0]
			dir, signer, key := signerKeys(t)
			main.genesis.Validators[0].PubKey = signer.PubKey()
			at := signerAddrs(t, m.nodeKey, key.ID())[kind]
			kill := signerProcess(t, dir, main.genesis.ChainID, at.node)
			mirror := filepath.Join(m.dir, "mirror")
			var err error
			m.signer, err = comet.ListenSigner(t.Context(), comet.RemoteSignerConfig{
				Dir: mirror, Listen: at.listen, Allow: at.allow, ChainID: main.genesis.ChainID,
			}, m.nodeKey, testLogger("node"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { // after the chains stop
				if err := m.signer.Close(); err != nil {
					t.Error(err)
				}
			})
			if err := m.signer.Await(t.Context()); err != nil {
				t.Fatal(err)
			}
			shards := []*network{main.shard(t, 2, 0, 1, 2, 3), main.shard(t, 3, 0, 1, 2, 3)}
			chains := append([]*network{main}, shards...)
			for _, n := range chains {
				n.startAll(t)
			}
			sent := make([]int, len(chains))
			votes := func(what string) {
				t.Helper()
				for i, n := range chains {
					last := n.members[1].chain.LatestHeight()
					eventually(t, hangs, what+" on "+n.genesis.ChainID, func() bool {
						n.advance(t, 1, &sent[i])
						return n.votedAt(t, 1, signer.Address()) > last
					})
				}
			}
			votes("the remote key votes")
			kill()
			for _, n := range chains {
				eventually(t, hangs, "the node says that its signer is away", func() bool {
					return errors.Is(n.members[0].chain.Status().Signer, comet.ErrSignerAway)
				})
			}
			kill = signerProcess(t, dir, main.genesis.ChainID, at.node)
			votes("the remote key votes again")

			// A chain that stops leaves the connection to the others.
			shards[0].stop(t, 0)
			if err := shards[0].members[0].signer.Close(); err != nil {
				t.Error(err)
			}
			chains = []*network{main, shards[1]}
			sent = []int{sent[0], sent[2]}
			votes("the remote key goes on")
			for _, n := range chains {
				n.stop(t, 0)
			}
			kill()

			there := load(t, dir)
			for _, n := range shards {
				id := n.genesis.ChainID
				theirs, ours := forChain(t, there, id).Height(), n.members[0].signer.Height()
				if ours == 0 || ours > theirs {
					t.Errorf("sign state of the node on %s is at height %d, of the signer at %d", id, ours, theirs)
				}
			}
		})
	}
}

// A signer answers for the chains of its network only, and for each with what it
// signed there.
func TestRemoteSignerRefusesOtherNetworks(t *testing.T) {
	t.Parallel()
	dir, signer, _ := signerKeys(t)
	mirror := filepath.Join(t.TempDir(), "mirror")
	client, disconnect := connect(t, mirror, signer)
	if client.ChainID() != "c" {
		t.Errorf("it is of chain %q", client.ChainID())
	}
	if err := forChain(t, client, "d-s2").Await(t.Context()); err == nil || !strings.Contains(err.Error(), "no key for chain d-s2") {
		t.Errorf("a chain of another network: %v", err)
	}
	shard := forChain(t, client, "c-s2")
	if shard.PubKey() != nil {
		t.Error("a key that nobody told")
	}
	if err := shard.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(shard.PubKey(), signer.PubKey()) {
		t.Errorf("key %x, want %x", shard.PubKey(), signer.PubKey())
	}
	for _, s := range []*comet.Signer{client, shard} {
		if err := comet.PrivValidator(s).SignVote(s.ChainID(), vote(5, 'a')); err != nil {
			t.Fatal(err)
		}
	}
	if err := comet.PrivValidator(shard).SignVote("c-s2", vote(5, 'b')); err == nil {
		t.Error("two votes of one step are signed")
	}
	disconnect()

	// The signer lost what it signed for the shard: it says so, and signs elsewhere.
	again := load(t, dir)
	if got := forChain(t, again, "c-s2").Height(); got != 5 {
		t.Fatalf("the signer's state of the shard is at height %d", got)
	}
	removeChain(t, dir, "c-s2")
	client, disconnect = connect(t, mirror, load(t, dir))
	defer disconnect()
	if err := forChain(t, client, "c-s2").Await(t.Context()); err == nil || !strings.Contains(err.Error(), "no key for chain c-s2") {
		t.Errorf("a signer that lost the chain's state: %v", err)
	}
	if err := comet.PrivValidator(client).SignVote("c", vote(6, 'a')); err != nil {
		t.Error(err)
	}
}

// The defaults of a shard go where nothing was set, and hold as a configuration.
func TestConfigForShard(t *testing.T) {
	t.Parallel()
	c := comet.Config{Dir: "d", ListenAddr: "h:1", MempoolTxs: 7}.ForShard()
	if c.GossipSleep != comet.DefaultShardGossipSleep || c.MempoolTxs != 7 || c.MempoolCache != comet.DefaultShardMempoolCache {
		t.Errorf("%+v", c)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	if err := (comet.Config{Dir: "d", ListenAddr: "h:1"}).ForShard().Validate(); err != nil {
		t.Error(err)
	}
}

// A whole committee gives its chain to another one, whose nodes followed it: the chain
// goes on at the same pace, the old ones stop, and what one of them missed since it
// fetches as a follower.
func TestCommitteeIsReplaced(t *testing.T) {
	t.Parallel()
	main := newNetwork(t, "replaced", 8)
	shard := main.shard(t, 2, 0, 1, 2, 3)
	const last = 4 // transaction of the old committee
	for _, m := range shard.members {
		m.app.update = func(b comet.Block) (updates []comet.ValidatorUpdate) {
			for _, sent := range b.Txs {
				if number(sent) != last {
					continue
				}
				for i, m := range shard.members {
					updates = append(updates, comet.ValidatorUpdate{PubKey: m.signer.PubKey(), Power: int64(i / 4 * 10)})
				}
			}
			return updates
		}
	}
	shard.startAll(t)
	sent := 0
	for sent < last {
		shard.advance(t, 0, &sent)
	}
	old := func() (n int) {
		for i := range 4 {
			if shard.members[i].chain.Status().Validator {
				n++
			}
		}
		return n
	}
	eventually(t, hangs, "the old committee is out", func() bool { shard.advance(t, 5, &sent); return old() == 0 })
	for i := range 4 {
		shard.stop(t, i)
	}
	signed := shard.members[0].signer.Height()
	for range 5 {
		shard.advance(t, 5, &sent)
	}
	for i := 4; i < 8; i++ {
		if s := shard.members[i].chain.Status(); !s.Validator || s.TotalPower != 40 {
			t.Errorf("member %d: %+v", i, s)
		}
	}
	if at := shard.votedAt(t, 5, shard.members[0].signer.Address()); at != 0 {
		t.Errorf("who is out voted at height %d", at)
	}
	shard.start(t, 0)
	shard.waitReady(t, 0)
	shard.advance(t, 0, &sent)
	if m := shard.members[0]; m.signer.Height() != signed || m.chain.Status().Validator {
		t.Errorf("a follower signed up to height %d, before %d", m.signer.Height(), signed)
	}
}
