package node

import (
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger/kv/badgerkv"
	"github.com/tributary-network/tributary/node/telemetry"
)

// registerMetrics registers what the node samples of itself.
func (n *Node) registerMetrics() error {
	var err error
	if n.main.counts, err = n.metrics.NewChain(n.main.chain.ID(), n.mainSample); err != nil {
		return err
	}
	return n.metrics.NewNode(n.nodeSample)
}

// chainSample is what every chain's metrics show.
func (h *hosted) chainSample() telemetry.ChainSample {
	s, stats := h.sample.Load(), h.exec.Stats()
	out := telemetry.ChainSample{
		Height: s.chain.Height, NetworkHeight: s.chain.NetworkHeight, Round: s.chain.Round,
		Ready: s.ready, Halted: s.chain.Halt != nil, CatchingUp: s.chain.CatchingUp,
		ClockSkew: s.chain.ClockSkew, Peers: s.chain.Peers, RefusedVotes: s.chain.RefusedVotes,
		MempoolTxs: s.chain.MempoolTxs, MempoolBytes: s.chain.MempoolBytes, PoolRecords: stats.PoolRecords,
	}
	out.HeadersMissing = s.chain.Headers.Missing()
	out.Certificates = telemetry.Certificates{
		Height: stats.CertificateHeight, Made: stats.Certificates, Missing: stats.Uncertified,
		ExtensionsMissing: stats.ExtensionsEmpty, ExtensionsWrong: stats.ExtensionsWrong,
	}
	if !s.chain.LastBlockTime.IsZero() {
		out.HeightAge = time.Since(s.chain.LastBlockTime)
	}
	return out
}

// mainSample is what the main chain's metrics show.
func (n *Node) mainSample() telemetry.ChainSample {
	out := n.main.chainSample()
	out.KeyMismatch = n.mismatch.Load() != nil
	// A store that was closed meanwhile leaves the books at zero.
	_ = n.main.exec.Read(func(v chain.View, height uint64) error {
		if v.Get(settlement.TotalsKey()) == nil {
			return nil // before the first block
		}
		t := settlement.ReadTotals(v)
		out.OpenChannels = settlement.OpenChannels(v)
		out.Books = telemetry.Books{
			Accounts: t.Accounts, Escrow: t.Escrow, Rent: t.Rent, Burned: t.Burned, Fees: t.Fees,
			Staked: t.Staked, Rewards: t.Rewards, Supply: settlement.Supply(v),
		}
		return nil
	})
	return out
}

func (n *Node) nodeSample() telemetry.NodeSample {
	out := telemetry.NodeSample{DiskReserve: uint64(n.cfg.Store.DiskReserve)}
	if free, err := badgerkv.FreeBytes(n.home.Data()); err == nil {
		out.DiskFree = free
	}
	// What cannot be measured stays 0; the node does not depend on it.
	if size, err := n.store.Size(); err == nil {
		out.StoreSize, out.StoreLSM, out.StoreVlog = size.Total, size.Tables, size.ValueLog
	}
	out.Blocks = n.main.chain.BlockBytes()
	out.Shards = n.shards.states()
	n.shards.measure(&out)
	return out
}
