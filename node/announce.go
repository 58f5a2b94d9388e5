package node

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/consensus/comet"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/directory"
	"github.com/tributary-network/tributary/shard"
)

const (
	// announceTick is how often it is looked whether what was announced is still so.
	announceTick = 500 * time.Millisecond
	// announceRest is the least time between two announcements, as nodes pass on few of
	// each other.
	announceRest = 2 * time.Second
	// announceFirst is how long the first one waits for shards that are starting.
	announceFirst = 5 * time.Second
)

// openDirectory makes what remembers which nodes host which chains.
func (n *Node) openDirectory() (err error) {
	n.directory, err = directory.New(directory.Config{
		Network: n.genesis.NetworkID(), Now: time.Now,
		Attested: func(consensusKey, msg, proof []byte) (known, ok bool) {
			return n.main.ledger.Attested(consensusKey, msg, proof)
		},
		Members: n.membersOf, Own: directory.Key(n.nodeKey.PubKey()),
	})
	return err
}

// membersOf returns who serves a shard in the present epoch, as far as the main chain
// here has come; nobody if that cannot be read.
func (n *Node) membersOf(id ledger.ChainID) (keys []ledger.PublicKey) {
	_ = n.main.exec.Read(func(v chain.View, height uint64) error {
		a, _ := registry.ReadAssignment(v, n.genesis.Params.Staking.Epoch(height+1), id)
		for i := range a.Committee.Members {
			keys = append(keys, a.Committee.Members[i].ConsensusKey)
		}
		return nil
	})
	return keys
}

// announcements lets the nodes of the main chain tell each other what they host.
func (n *Node) announcements() *comet.Announcements {
	return &comet.Announcements{
		Judge: func(record []byte, now time.Time) (comet.Announcement, error) {
			j, err := n.directory.Judge(record, now)
			return comet.Announcement{Origin: j.Node, Sequence: j.Sequence, Expires: j.Expires, Owner: [32]byte(j.Validator)}, err
		},
		Kept: n.directory.Keep,
	}
}

// announceChains tells other nodes what this one hosts, and where, whenever that changes
// and often enough for it to be believed, until ctx ends.
func (n *Node) announceChains(ctx context.Context) error {
	tick := time.NewTicker(announceTick)
	defer tick.Stop()
	var told directory.Record
	var last time.Time
	begun := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := time.Now()
		if now.Sub(last) < announceRest || !n.main.sample.Load().chain.Running {
			continue
		}
		if last.IsZero() && now.Sub(begun) < announceFirst && !n.shards.settled() {
			continue
		}
		r := n.record(now)
		if sameHosting(&r, &told) && now.Sub(last) < directory.Renewal {
			continue
		}
		last = now
		if err := n.tell(&r); err != nil {
			n.log.LogAttrs(ctx, slog.LevelWarn, "tell other nodes what this one hosts", slog.Any("err", err))
			continue
		}
		told = r
	}
}

// tell announces a record of this node, which it proves to be its validator's and signs.
func (n *Node) tell(r *directory.Record) error {
	if r.Validator != (ledger.PublicKey{}) {
		r.Proof = n.main.exec.Attest(directory.ProofMessage(n.genesis.NetworkID(), r.Node))
	}
	if err := r.Sign(n.genesis.NetworkID(), n.nodeKey.Sign); err != nil {
		return err
	}
	return n.main.chain.Announce(r.Encode())
}

// sameHosting reports whether two records say the same.
func sameHosting(a, b *directory.Record) bool {
	return a.GRPC == b.GRPC && a.Host == b.Host && a.TLS == b.TLS && a.Validator == b.Validator && slices.Equal(a.Chains, b.Chains)
}

// record is what this node hosts at now, without proof and signature.
func (n *Node) record(now time.Time) directory.Record {
	r := directory.Record{
		Sequence: uint64(now.UnixMilli()), //nolint:gosec // not negative
		Lifetime: directory.Lifetime, Host: n.cfg.ShardsHost(),
	}
	copy(r.Node[:], n.nodeKey.PubKey())
	if key := n.signer.PubKey(); len(key) == ledger.PublicKeySize {
		r.Validator = ledger.PublicKey(key)
	}
	if n.grpc != nil {
		r.GRPC, r.TLS = endpoint(n.grpc.Addr().String(), r.Host), n.secure != nil
	}
	for _, run := range n.shards.sorted() {
		h := run.describe()
		if len(r.Chains) == directory.MaxChains || h.State != api.HostedRunning {
			continue
		}
		c := directory.Hosting{Chain: h.ID, Serving: !h.Chain.CatchingUp && !h.Chain.Halted}
		if _, port, err := net.SplitHostPort(h.Address); err == nil && r.Host != "" {
			if p, err := strconv.ParseUint(port, 10, 16); err == nil {
				c.Port = uint16(p)
			}
		}
		r.Chains = append(r.Chains, c)
	}
	return r
}

// endpoint returns where others reach an address that this node listens on, if host is
// where they reach the node, or "" if they do not.
func endpoint(address, host string) string {
	own, port, err := net.SplitHostPort(address)
	if err != nil || host == "" {
		return ""
	}
	switch ip := net.ParseIP(own); {
	case ip == nil || ip.IsUnspecified():
		return net.JoinHostPort(host, port)
	case ip.IsLoopback() && !api.Loopback(net.JoinHostPort(host, port)):
		return ""
	}
	return address
}

// shardPeers returns the peers of a shard's chain as other nodes tell of them.
func (n *Node) shardPeers(id shard.ID) (peers []string) {
	own := n.nodeKey.ID()
	for _, e := range n.directory.Hosts(id) {
		if e.NodeID != own && e.P2P != "" {
			peers = append(peers, e.P2P)
		}
	}
	if len(peers) > maxShardPeers { // those of validators come first
		peers = peers[:maxShardPeers]
	}
	slices.Sort(peers)
	return peers
}

// maxShardPeers bounds the nodes that a shard's chain dials.
const maxShardPeers = 64

// mainEpoch returns the epoch of the main chain's next block.
func (n *Node) mainEpoch() uint64 {
	height, _ := n.main.exec.Head()
	return n.genesis.Params.Staking.Epoch(height + 1)
}
