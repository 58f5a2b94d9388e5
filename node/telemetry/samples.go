package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"
)

// sampled is a metric that is read from a sample.
type sampled[S any] struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	label string
	value func(S) float64
}

// sampler is a prometheus.Collector that takes one sample per scrape.
type sampler[S any] struct {
	sample  func() S
	metrics []sampled[S]
}

// Describe implements prometheus.Collector.
func (s *sampler[S]) Describe(out chan<- *prometheus.Desc) {
	for _, m := range s.metrics {
		out <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (s *sampler[S]) Collect(out chan<- prometheus.Metric) {
	sample := s.sample()
	for _, m := range s.metrics {
		var labels []string
		if m.label != "" {
			labels = []string{m.label}
		}
		out <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(sample), labels...)
	}
}

// add adds a gauge without labels.
func (s *sampler[S]) add(name, help string, value func(S) float64) {
	s.append(name, help, prometheus.GaugeValue, value)
}

// count adds a counter without labels.
func (s *sampler[S]) count(name, help string, value func(S) float64) {
	s.append(name, help, prometheus.CounterValue, value)
}

func (s *sampler[S]) append(name, help string, kind prometheus.ValueType, value func(S) float64) {
	desc := prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, nil, nil)
	s.metrics = append(s.metrics, sampled[S]{desc: desc, kind: kind, value: value})
}

// chainMetrics adds what every chain has; part returns it of a sample.
func chainMetrics[S any](s *sampler[S], part func(S) ChainSample) {
	of := func(value func(ChainSample) float64) func(S) float64 {
		return func(sample S) float64 { return value(part(sample)) }
	}
	s.add("chain_height", "Height of the last durable block.", of(func(c ChainSample) float64 { return float64(c.Height) }))
	s.add("chain_sync_target_height", "Highest height that this node or a peer has.", of(func(c ChainSample) float64 { return float64(c.NetworkHeight) }))
	s.add("chain_height_age_seconds", "Time since the last durable block.", of(func(c ChainSample) float64 { return c.HeightAge.Seconds() }))
	s.add("chain_round", "Consensus round of the height being agreed on; above 0 something is slow.", of(func(c ChainSample) float64 { return float64(c.Round) }))
	s.add("chain_ready", "1 if the chain can be relied on, as /readyz says.", of(func(c ChainSample) float64 { return truth(c.Ready) }))
	s.add("chain_halted", "1 if the chain halted on this node.", of(func(c ChainSample) float64 { return truth(c.Halted) }))
	s.add("chain_catching_up", "1 while the chain fetches blocks and does not vote.", of(func(c ChainSample) float64 { return truth(c.CatchingUp) }))
	s.add("chain_peers", "Peers connected.", of(func(c ChainSample) float64 { return float64(c.Peers) }))
	s.add("chain_evidence_headers_missing", "Headers below the node's snapshot that it still lacks; a block with evidence about one of them would halt it.", of(func(c ChainSample) float64 { return float64(c.HeadersMissing) }))
	s.add("clock_skew_seconds", "Clocks of the peers minus this one.", of(func(c ChainSample) float64 { return c.ClockSkew.Seconds() }))
	s.add("mempool_txs", "Transactions waiting for a block.", of(func(c ChainSample) float64 { return float64(c.MempoolTxs) }))
	s.add("mempool_bytes", "Bytes of transactions waiting for a block.", of(func(c ChainSample) float64 { return float64(c.MempoolBytes) }))
	s.add("mempool_records", "Checked records waiting for a block.", of(func(c ChainSample) float64 { return float64(c.PoolRecords) }))
	s.add("certificate_height", "Height of the newest certificate here.", of(func(c ChainSample) float64 { return float64(c.Certificates.Height) }))
	s.add("certificate_lag_blocks", "Blocks above the newest certificate here.", of(func(c ChainSample) float64 { return float64(c.Height - min(c.Height, c.Certificates.Height)) }))
	s.count("certificate_made_total", "Certificates of blocks made here.", of(func(c ChainSample) float64 { return float64(c.Certificates.Made) }))
	s.count("certificate_missing_total", "Blocks of which no certificate was made here.", of(func(c ChainSample) float64 { return float64(c.Certificates.Missing) }))
	s.count("vote_extensions_missing_total", "Votes seen here that carried no signature of their block's state.", of(func(c ChainSample) float64 { return float64(c.Certificates.ExtensionsMissing) }))
	s.count("vote_extensions_refused_total", "Votes refused here since their extension was too long; the log tells under whose names.", of(func(c ChainSample) float64 { return float64(c.RefusedVotes) }))
	s.count("vote_extensions_wrong_total", "Votes seen here that carried a wrong signature: their validator's state or key differs.", of(func(c ChainSample) float64 { return float64(c.Certificates.ExtensionsWrong) }))
}

func shardCollector(sample func() ShardSample) prometheus.Collector {
	s := &sampler[ShardSample]{sample: sample}
	chainMetrics(s, func(c ShardSample) ChainSample { return c.ChainSample })
	s.add("shard_serving", "1 if this node's validator is in the committee of the epoch.", func(c ShardSample) float64 { return truth(c.Serving) })
	s.add("shard_committee_members", "Members of the committee of the epoch; below 32 it is easily bad.", func(c ShardSample) float64 { return float64(c.Members) })
	s.add("shard_anchored_height", "Last height of the shard that is anchored on the main chain.", func(c ShardSample) float64 { return float64(c.Anchored) })
	s.add("shard_anchor_lag_blocks", "Blocks above the last anchored one.", func(c ShardSample) float64 { return float64(c.Height - min(c.Height, c.Anchored)) })
	s.add("shard_congestion", "How full the shard is, from 0 to 1; above a quarter it takes no records of users.", func(c ShardSample) float64 { return c.Congestion })
	s.add("shard_overdue_lanes", "Lanes with a settlement that the main chain has not paid for more than an epoch: no relayer has coins for it, or it is worth less than its fee.", func(c ShardSample) float64 { return float64(c.OverdueLanes) })
	s.add("shard_overdue_drops", "What is settled and not paid on them.", func(c ShardSample) float64 { return float64(c.Overdue) })
	return s
}

func mainCollector(sample func() ChainSample) prometheus.Collector {
	s := &sampler[ChainSample]{sample: sample}
	chainMetrics(s, func(c ChainSample) ChainSample { return c })
	s.add("validator_key_mismatch", "1 if this node's BLS key is not the one its validator is registered with.", func(c ChainSample) float64 { return truth(c.KeyMismatch) })
	s.add("channel_open", "Open channels.", func(c ChainSample) float64 { return float64(c.OpenChannels) })
	s.add("channel_locked_value", "Drops held in channels.", func(c ChainSample) float64 { return float64(c.Books.Escrow) })
	s.add("ledger_conservation_delta", "Drops there are minus drops there should be: 0, or value was made or lost.", func(c ChainSample) float64 { return c.Books.Delta() })

	supply := prometheus.NewDesc(namespace+"_ledger_supply_drops", "Drops by where they are.", []string{"location"}, nil)
	for _, l := range []struct {
		name  string
		value func(ChainSample) float64
	}{
		{"accounts", func(c ChainSample) float64 { return float64(c.Books.Accounts) }},
		{"channels", func(c ChainSample) float64 { return float64(c.Books.Escrow) }},
		{"rent", func(c ChainSample) float64 { return float64(c.Books.Rent) }},
		{"burned", func(c ChainSample) float64 { return float64(c.Books.Burned) }},
		{"fees", func(c ChainSample) float64 { return float64(c.Books.Fees) }},
		{"staked", func(c ChainSample) float64 { return float64(c.Books.Staked) }},
		{"rewards", func(c ChainSample) float64 { return float64(c.Books.Rewards) }},
	} {
		s.metrics = append(s.metrics, sampled[ChainSample]{supply, prometheus.GaugeValue, l.name, l.value})
	}
	return s
}

func nodeCollector(sample func() NodeSample) prometheus.Collector {
	s := &sampler[NodeSample]{sample: sample}
	s.add("disk_free_bytes", "Free space where the data directory lies.", func(n NodeSample) float64 { return float64(n.DiskFree) })
	s.add("disk_reserve_bytes", "The node stops when less space than this is free.", func(n NodeSample) float64 { return float64(n.DiskReserve) })
	s.add("store_size_bytes", "Size of the store on disk: tables, value log and the logs of what is in memory.", func(n NodeSample) float64 { return float64(n.StoreSize) })
	s.add("store_lsm_bytes", "Size of the store's tables.", func(n NodeSample) float64 { return float64(n.StoreLSM) })
	s.add("store_vlog_bytes", "Size of the store's value log.", func(n NodeSample) float64 { return float64(n.StoreVlog) })
	s.add("block_files_bytes", "Size of the files with blocks, which lie beside the store.", func(n NodeSample) float64 { return float64(n.Blocks) })
	s.add("shards_store_size_bytes", "Size of the store that shards share.", func(n NodeSample) float64 { return float64(n.ShardsStore) })
	states := prometheus.NewDesc(namespace+"_shards", "Shards that this node is to run, by how they are.", []string{"state"}, nil)
	for _, l := range []struct {
		name  string
		value func(ShardStates) int
	}{
		{"running", func(c ShardStates) int { return c.Running }},
		{"halted", func(c ShardStates) int { return c.Halted }},
		{"waiting", func(c ShardStates) int { return c.Waiting }},
		{"failed", func(c ShardStates) int { return c.Failed }},
		{"left", func(c ShardStates) int { return c.Left }},
	} {
		s.metrics = append(s.metrics, sampled[NodeSample]{states, prometheus.GaugeValue, l.name, func(n NodeSample) float64 { return float64(l.value(n.Shards)) }})
	}
	return s
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
