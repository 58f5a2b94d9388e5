package telemetry

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/tributary-network/tributary/ledger"
)

const namespace = "tributary"

// Registry holds the metrics of one node. It is safe for concurrent use.
type Registry struct {
	*prometheus.Registry
}

// NewRegistry returns a registry with the metrics of the process and the Go
// runtime, and tributary_build_info with the labels of build.
func NewRegistry(build Build) (*Registry, error) {
	r := &Registry{prometheus.NewRegistry()}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info",
		Help: "Always 1; the labels say what the program was made from.",
		ConstLabels: prometheus.Labels{
			"version": build.Version, "commit": build.Commit, "go_version": build.Go, "comet_version": build.Comet,
		},
	})
	info.Set(1)
	if err := errors.Join(
		r.Register(info),
		r.Register(collectors.NewGoCollector()),
		r.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})),
	); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return r, nil
}

// Chain returns a registerer whose metrics carry the label chain_id.
func (r *Registry) Chain(id string) prometheus.Registerer {
	return prometheus.WrapRegistererWith(prometheus.Labels{"chain_id": id}, r.Registry)
}

// Build says what the program was made from, for tributary_build_info.
type Build struct {
	Version, Commit, Go, Comet string
}

// ChainSample is how a chain does at one moment.
type ChainSample struct {
	Height        uint64 // last durable block
	NetworkHeight uint64 // highest that this node or a peer has
	// HeightAge is how long ago the last block became durable; an idle chain
	// grows old in good health, see Ready.
	HeightAge  time.Duration
	Round      int32 // of the height being agreed on
	Ready      bool  // what /readyz says
	Halted     bool
	CatchingUp bool
	ClockSkew  time.Duration // the peers' clocks minus this one
	Peers      int
	// KeyMismatch says that this node's BLS key is not that of its validator.
	KeyMismatch bool
	// HeadersMissing is how many headers below its snapshot the node still has to fetch.
	HeadersMissing uint64

	RefusedVotes uint64 // for too long an extension, since the start

	MempoolTxs   int
	MempoolBytes int64
	PoolRecords  int // checked records waiting for a block

	OpenChannels uint64
	Books        Books
	Certificates Certificates
}

// Certificates is how the certificates of blocks come about on this node, since
// its start but for Height. Blocks are as final without them.
type Certificates struct {
	Height                             uint64 // of the newest; 0 if there is none
	Made, Missing                      uint64 // blocks
	ExtensionsMissing, ExtensionsWrong uint64 // votes
}

// Books is where the chain's money is. Its fields but Supply add up to Supply.
type Books struct {
	Accounts, Escrow, Rent, Burned, Fees ledger.Amount
	Staked, Rewards                      ledger.Amount // bonded or unbonding; not claimed yet
	Supply                               ledger.Amount // in the genesis and minted since
}

// Delta returns the sum of the parts minus Supply in drops: 0, or value was made
// or lost.
func (b Books) Delta() float64 {
	sum := b.Accounts + b.Escrow + b.Rent + b.Burned + b.Fees + b.Staked + b.Rewards
	return float64(int64(sum - b.Supply)) // wraps around and back
}

// ShardSample is how the chain of a shard does at one moment. What the main chain alone
// has is zero in ChainSample.
type ShardSample struct {
	ChainSample

	Serving    bool // this node's validator is in the committee of the epoch
	Members    int  // of that committee
	Anchored   uint64
	Congestion float64 // 0 to 1
	// Of settlements that the main chain has not paid for more than an epoch.
	OverdueLanes int
	Overdue      uint64 // drops
}

// ShardStates is how many shards of a node are in which state.
type ShardStates struct {
	Running, Halted, Waiting, Failed int
	// Left have no room on the node.
	Left int
}

// NodeSample is how a node's disk does at one moment. Sizes are in bytes.
type NodeSample struct {
	DiskFree    uint64 // to this user, where the data directory lies
	DiskReserve uint64 // below it the node stops
	StoreSize   uint64 // of all files of the store
	StoreLSM    uint64 // of its tables
	StoreVlog   uint64 // of its value log
	Blocks      uint64 // of the files with blocks, those of shards included
	ShardsStore uint64 // of all files of the store that shards share
	Shards      ShardStates
}

// Chain counts what happens on a chain. Its methods are safe for concurrent use.
type Chain struct {
	interval prometheus.Histogram
	commit   prometheus.Histogram
	entries  *prometheus.CounterVec
	checks   *prometheus.CounterVec
	hashes   prometheus.Counter

	registerer prometheus.Registerer
	collectors []prometheus.Collector
}

// NewChain registers the metrics of the chain named id. sample is called once
// per scrape, from any goroutine; it must not block on consensus or disk.
func (r *Registry) NewChain(id string, sample func() ChainSample) (*Chain, error) {
	return r.newChain(id, mainCollector(sample))
}

// NewShard registers the metrics of the chain of a shard, as NewChain does. A shard
// that has stopped gives them back with Close.
func (r *Registry) NewShard(id string, sample func() ShardSample) (*Chain, error) {
	return r.newChain(id, shardCollector(sample))
}

func (r *Registry) newChain(id string, samples prometheus.Collector) (*Chain, error) {
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets})
	}
	counters := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, []string{label})
	}
	c := &Chain{
		interval: histogram("chain_block_interval_seconds", "Time between a block and the one before it.", []float64{0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30}),
		commit:   histogram("store_commit_seconds", "Time to make a block durable.", prometheus.ExponentialBuckets(0.001, 2, 12)),
		entries:  counters("channel_entries_total", "Settlement entries executed, by code.", "code"),
		checks:   counters("ledger_invariant_checks_total", "Checks that value was conserved, by result.", "result"),
		hashes: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: namespace, Name: "chain_app_hash_mismatch_total", Help: "Blocks whose state root this node does not get.",
		}),
	}
	for _, result := range []string{"ok", "violated"} {
		c.checks.WithLabelValues(result) // so that there is a zero to compare with
	}
	c.registerer = r.Chain(id)
	for _, m := range []prometheus.Collector{c.interval, c.commit, c.entries, c.checks, c.hashes, samples} {
		if err := c.registerer.Register(m); err != nil {
			c.Close()
			return nil, fmt.Errorf("register metrics of chain %s: %w", id, err)
		}
		c.collectors = append(c.collectors, m)
	}
	return c, nil
}

// Close takes the metrics of the chain away. What is counted afterwards is lost.
func (c *Chain) Close() {
	for _, m := range c.collectors {
		c.registerer.Unregister(m)
	}
	c.collectors = nil
}

// Committed counts a block that became durable: the time since the one before it
// (0 = unknown) and how long the commit took.
func (c *Chain) Committed(interval, commit time.Duration) {
	if interval > 0 {
		c.interval.Observe(interval.Seconds())
	}
	c.commit.Observe(commit.Seconds())
}

// Entries counts executed settlement entries. code is one of the codes of the
// channel protocol, by name.
func (c *Chain) Entries(code string, n int) { c.entries.WithLabelValues(code).Add(float64(n)) }

// Checked counts a check that value was conserved.
func (c *Chain) Checked(conserved bool) {
	result := "ok"
	if !conserved {
		result = "violated"
	}
	c.checks.WithLabelValues(result).Inc()
}

// HashMismatch counts a block whose state root this node does not get.
func (c *Chain) HashMismatch() { c.hashes.Inc() }

// NewNode registers the metrics of the node's disk. sample is called once per
// scrape.
func (r *Registry) NewNode(sample func() NodeSample) error {
	if err := r.Register(nodeCollector(sample)); err != nil {
		return fmt.Errorf("register metrics of the node: %w", err)
	}
	return nil
}
