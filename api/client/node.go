package client

import (
	"context"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	chainv1 "github.com/tributary-network/tributary/proto/tributary/chain/v1"
	nodev1 "github.com/tributary-network/tributary/proto/tributary/node/v1"
	settlementv1 "github.com/tributary-network/tributary/proto/tributary/settlement/v1"
)

// NodeStatus is how a node is.
type NodeStatus struct {
	Version string
	Moniker string
	ID      string // on the peer-to-peer network, in hex
	Started time.Time
	Chains  []ChainStatus // the main chain, then shards by number
	// ShardsLeft is how many shards the node should run and has no room for.
	ShardsLeft int
}

// ChainStatus is how one chain runs on a node.
type ChainStatus struct {
	Name         string // "main", or "s" and the number of a shard
	Chain        ledger.ChainID
	Height       uint64
	BlockTime    time.Time
	Clock        uint64 // settlement clock
	AppHash      ledger.Hash
	CatchingUp   bool
	Halted       bool
	HaltReason   string
	Ready        bool
	NotReady     string // why not
	Validator    bool
	Peers        uint32
	PendingTxs   uint64
	PendingBytes uint64
	Channels     uint64 // ever opened
	Totals       settlement.Totals
	Sync         *SyncProgress // nil if the node has caught up
	Shard        *HostedShard  // nil of the main chain
}

// HostedShard is a shard that a node runs, or is to run.
type HostedShard struct {
	State       string // waiting, starting, running or failed
	Service     uint32
	Zone        byte
	First, Last byte   // buckets
	From        uint64 // epoch of the main chain from which on the node serves it
	Members     uint32 // of the committee, 0 of a shard that ends
	// Small says that so few members are easily all bad: only what is anchored holds.
	Small    bool
	Anchored uint64 // last height that is anchored on the main chain
	LevelBps uint32 // how full it is; above 2,500 it takes no records of users
	Address  string // host:port for peers, while it runs
	Data     uint64 // about how many bytes of the node's disk it takes
	// Leaving says that the main chain has others serve it, to whom the shard has not gone
	// over: the node votes on until it has. From is the last epoch that it served.
	Leaving bool
}

func hostedOf(m *nodev1.HostedShard) *HostedShard {
	if m == nil {
		return nil
	}
	return &HostedShard{
		State:   strings.ToLower(strings.TrimPrefix(m.GetState().String(), "HOSTED_SHARD_STATE_")),
		Service: m.GetService(), Zone: byte(m.GetZone()), First: byte(m.GetFirstBucket()), Last: byte(m.GetLastBucket()),
		From: m.GetFromEpoch(), Members: m.GetCommitteeSize(), Small: m.GetCommitteeSmall(),
		Anchored: m.GetAnchoredHeight(), LevelBps: m.GetLevelBps(), Address: m.GetP2PAddress(), Data: m.GetDataBytes(),
		Leaving: m.GetLeaving(),
	}
}

// SyncProgress is how far a node that catches up is, as of up to a second ago.
type SyncProgress struct {
	Snapshot            bool   // it restores a snapshot, or looks for one; otherwise it fetches blocks
	Height              uint64 // of the last block executed, or of the snapshot
	Target              uint64 // the highest that a peer has; 0 if that is not known
	Chunks, TotalChunks uint32 // of the snapshot that were taken, and all; 0 before there is one
	BlocksPerSecond     float64
	TimeLeft            time.Duration // 0 if it cannot be told
	Idle                time.Duration // since a block or a chunk was taken
	Stalled             bool          // idle for too long to go on by itself, in all likelihood
	Note                string        // what there is to say besides, as that no snapshot was found; usually empty
}

func syncOf(m *nodev1.SyncProgress) *SyncProgress {
	if m == nil {
		return nil
	}
	return &SyncProgress{
		Snapshot: m.GetPhase() == nodev1.SyncPhase_SYNC_PHASE_SNAPSHOT, Height: m.GetHeight(), Target: m.GetTarget(),
		Chunks: m.GetChunks(), TotalChunks: m.GetTotalChunks(), BlocksPerSecond: m.GetBlocksPerSecond(),
		TimeLeft: m.GetTimeLeft().AsDuration(), Idle: m.GetIdle().AsDuration(), Stalled: m.GetStalled(), Note: m.GetNote(),
	}
}

// Status asks the node in use how it is.
func (c *Client) Status(ctx context.Context) (NodeStatus, error) {
	resp, err := invoke(ctx, c, func(ctx context.Context, e *endpoint) (*nodev1.GetStatusResponse, error) {
		return e.node.GetStatus(ctx, &nodev1.GetStatusRequest{})
	})
	if err != nil {
		return NodeStatus{}, fmt.Errorf("read the node's status: %w", err)
	}
	var r reader
	s := NodeStatus{
		Version: resp.GetVersion(), Moniker: resp.GetMoniker(), ID: resp.GetNodeId(), Started: resp.GetStartTime().AsTime(),
		ShardsLeft: int(resp.GetShardsLeft()),
	}
	for _, m := range resp.GetChains() {
		if m.GetShard() == nil {
			c.saw(m.GetHeight())
		}
		s.Chains = append(s.Chains, ChainStatus{
			Name: m.GetName(), Chain: ledger.ChainID(m.GetChainId()), Height: m.GetHeight(), BlockTime: m.GetBlockTime().AsTime(),
			Clock: m.GetSettlementClock(), AppHash: r.hash("app_hash", m.GetAppHash()), CatchingUp: m.GetCatchingUp(),
			Halted: m.GetHalted(), HaltReason: m.GetHaltReason(), Ready: m.GetReady(), NotReady: m.GetNotReadyReason(),
			Validator: m.GetValidator(), Peers: m.GetPeers(), PendingTxs: m.GetPendingTxs(), PendingBytes: m.GetPendingBytes(),
			Channels: m.GetChannelsEver(), Totals: totalsOf(m.GetTotals()), Sync: syncOf(m.GetSync()),
			Shard: hostedOf(m.GetShard()),
		})
	}
	return s, r.err
}

func totalsOf(t *chainv1.Totals) settlement.Totals {
	return settlement.Totals{
		Accounts: ledger.Amount(t.GetAccounts()), Escrow: ledger.Amount(t.GetEscrow()), Rent: ledger.Amount(t.GetRent()),
		Burned: ledger.Amount(t.GetBurned()), Fees: ledger.Amount(t.GetFees()),
		Staked: ledger.Amount(t.GetStaked()), Rewards: ledger.Amount(t.GetRewards()), Minted: ledger.Amount(t.GetMinted()),
	}
}

// Header is what the validators signed, as far as clients need it.
type Header struct {
	Height   uint64
	Time     time.Time
	Hash     ledger.Hash
	AppHash  ledger.Hash // root of the state after block Height-1
	Proposer []byte      // consensus address, 20 bytes
	// Signed and Commit are the header and the commit that signs it in CometBFT's
	// protobuf encoding, for those who check the validators' signatures; nil if
	// the node does not hand them out.
	Signed []byte
	Commit []byte
}

func headerOf(r *reader, m *chainv1.Header) Header {
	return Header{
		Height: m.GetHeight(), Time: m.GetTime().AsTime(), Hash: r.hash("header.hash", m.GetHash()),
		AppHash: r.hash("header.app_hash", m.GetAppHash()), Proposer: m.GetProposer(),
		Signed: m.GetSignedHeader(), Commit: m.GetCommit(),
	}
}

// Block is a block and what it did.
type Block struct {
	Header       Header
	Clock        uint64 // settlement clock
	Transactions uint32
	Size         uint64 // bytes of all bundles
	Finalised    uint32 // channels that the chain closed at their deadline
	Totals       settlement.Totals
	ResultsRoot  ledger.Hash   // zero for a block without results
	TxHashes     []ledger.Hash // in order; nil in lists
}

func blockOf(m *nodev1.Block) (Block, error) {
	var r reader
	b := Block{
		Header: headerOf(&r, m.GetHeader()), Clock: m.GetSettlementClock(), Transactions: m.GetTransactions(), Size: m.GetSize(),
		Finalised: m.GetFinalised(), Totals: totalsOf(m.GetTotals()), ResultsRoot: r.hash("results_root", m.GetResultsRoot()),
	}
	return b, r.err
}

// Block reads the block at height, 0 for the newest.
func (c *Client) Block(ctx context.Context, height uint64) (Block, error) {
	name := "blocks/latest"
	if height != 0 {
		name = "blocks/" + strconv.FormatUint(height, 10)
	}
	resp, err := invoke(ctx, c, func(ctx context.Context, e *endpoint) (*nodev1.GetBlockResponse, error) {
		return e.node.GetBlock(ctx, &nodev1.GetBlockRequest{Name: name})
	})
	if err != nil {
		return Block{}, fmt.Errorf("read %s: %w", name, err)
	}
	b, err := blockOf(resp.GetBlock())
	if err != nil {
		return b, err
	}
	var r reader
	for _, h := range resp.GetTxHashes() {
		b.TxHashes = append(b.TxHashes, r.hash("tx_hashes", h))
	}
	c.saw(b.Header.Height)
	return b, r.err
}

// Blocks yields blocks without their transactions, newest first.
func (c *Client) Blocks(ctx context.Context) iter.Seq2[Block, error] {
	const blocksPage = 100
	return pages(func(token string) ([]Block, string, error) {
		resp, err := invoke(ctx, c, func(ctx context.Context, e *endpoint) (*nodev1.ListBlocksResponse, error) {
			return e.node.ListBlocks(ctx, &nodev1.ListBlocksRequest{PageSize: blocksPage, PageToken: token})
		})
		if err != nil {
			return nil, "", fmt.Errorf("list blocks: %w", err)
		}
		page, err := each(resp.GetBlocks(), blockOf)
		return page, resp.GetNextPageToken(), err
	})
}

// Transactions yields the transactions an account signed, newest first.
func (c *Client) Transactions(ctx context.Context, signer ledger.Address) iter.Seq2[Status, error] {
	return pages(func(token string) ([]Status, string, error) {
		resp, err := invoke(ctx, c, func(ctx context.Context, e *endpoint) (*nodev1.ListTransactionsResponse, error) {
			return e.node.ListTransactions(ctx, &nodev1.ListTransactionsRequest{Signer: signer.String(), PageSize: pageSize, PageToken: token})
		})
		if err != nil {
			return nil, "", fmt.Errorf("list transactions: %w", err)
		}
		page, err := each(resp.GetTransactions(), statusOf)
		return page, resp.GetNextPageToken(), err
	})
}

// Settlements yields the settlements that paid a payee, newest first, without
// the results of their entries.
func (c *Client) Settlements(ctx context.Context, payee ledger.Address) iter.Seq2[Status, error] {
	return pages(func(token string) ([]Status, string, error) {
		resp, err := invoke(ctx, c, func(ctx context.Context, e *endpoint) (*settlementv1.ListSettlementsResponse, error) {
			return e.settlements.ListSettlements(ctx, &settlementv1.ListSettlementsRequest{Payee: payee.String(), PageSize: pageSize, PageToken: token})
		})
		if err != nil {
			return nil, "", fmt.Errorf("list settlements: %w", err)
		}
		page, err := each(resp.GetSettlements(), settlementOf)
		return page, resp.GetNextPageToken(), err
	})
}

// each converts a page.
func each[From, To any](page []From, convert func(From) (To, error)) ([]To, error) {
	out := make([]To, len(page))
	for i := range page {
		var err error
		if out[i], err = convert(page[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}
