package api

import (
	"context"
	"errors"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	chainv1 "github.com/tributary-network/tributary/proto/tributary/chain/v1"
	nodev1 "github.com/tributary-network/tributary/proto/tributary/node/v1"
)

// mainChain is the name of the main chain.
const mainChain = "main"

// MaxBlockPage is the largest page of ListBlocks.
const MaxBlockPage = 100

// maxListedTokens ends a page of large blocks before it is full.
const maxListedTokens = maxListed / 16

// nodes implements NodeService.
type nodes struct {
	nodev1.UnimplementedNodeServiceServer
	*backend
}

// GetStatus implements NodeServiceServer.
func (n *nodes) GetStatus(context.Context, *nodev1.GetStatusRequest) (*nodev1.GetStatusResponse, error) {
	info, run := n.Node.Info(), n.Node.Chain()
	status := &nodev1.ChainStatus{
		Name: mainChain, ChainId: uint32(n.Network.Domain.Chain),
		CatchingUp: run.CatchingUp, Halted: run.Halted, HaltReason: run.HaltReason,
		Validator: run.Validator, Peers: uint32(run.Peers),
	}
	if run.Sync != nil {
		status.Sync = renderSync(run.Sync)
	}
	status.Ready, status.NotReadyReason = n.Node.Ready()
	stats := n.Pool.Stats()
	status.PendingTxs, status.PendingBytes = uint64(stats.PendingRecords), uint64(stats.PendingBytes)
	err := n.State.ReadHead(func(v chain.View, height uint64, appHash ledger.Hash) error {
		status.Height, status.AppHash = height, appHash[:]
		if height == 0 {
			return nil
		}
		totals := settlement.ReadTotals(v)
		status.SettlementClock = settlement.Clock(v, height)
		status.ChannelsEver, status.Totals = settlement.ChannelCount(v), renderTotals(&totals)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if h, ok := n.Node.Header(status.GetHeight()); ok {
		status.BlockTime = renderStamp(h.Time)
	}
	shards, left := n.hosted()
	return &nodev1.GetStatusResponse{
		Version: info.Version, Moniker: info.Moniker, NodeId: info.ID, StartTime: renderStamp(info.Started),
		Chains: append([]*nodev1.ChainStatus{status}, shards...), ShardsLeft: left,
	}, nil
}

func renderSync(s *SyncProgress) *nodev1.SyncProgress {
	out := &nodev1.SyncProgress{
		Phase: nodev1.SyncPhase_SYNC_PHASE_BLOCKS, Height: s.Height, Target: s.Target, Chunks: s.Chunks, TotalChunks: s.TotalChunks,
		BlocksPerSecond: s.BlocksPerSecond, Idle: durationpb.New(s.Idle), Stalled: s.Stalled, Note: s.Note,
	}
	if s.Snapshot {
		out.Phase = nodev1.SyncPhase_SYNC_PHASE_SNAPSHOT
	}
	if s.TimeLeft > 0 {
		out.TimeLeft = durationpb.New(s.TimeLeft)
	}
	return out
}

// GetNetwork implements NodeServiceServer.
func (n *nodes) GetNetwork(context.Context, *nodev1.GetNetworkRequest) (*nodev1.GetNetworkResponse, error) {
	net := &n.Network
	resp := &nodev1.GetNetworkResponse{
		NetworkId: net.Domain.Network[:], ChainId: uint32(net.Domain.Chain), Name: net.Name,
		GenesisTime: renderStamp(net.Genesis), Params: renderParams(&net.Params), Local: net.Local,
	}
	err := n.State.Read(func(v chain.View, height uint64) error {
		resp.Height, resp.SettlementClock = height, settlement.Clock(v, height)
		return nil
	})
	return resp, err
}

// GetBlock implements NodeServiceServer.
func (n *nodes) GetBlock(ctx context.Context, req *nodev1.GetBlockRequest) (*nodev1.GetBlockResponse, error) {
	head, _ := n.State.Head()
	height, err := parseBlockName("name", req.GetName(), head)
	if err != nil {
		return nil, err
	}
	if height == 0 { // the last one
		return nil, unavailable(ReasonNotSynced, retrySoon, "the chain has no block here yet; ask again in a moment")
	}
	if height > head {
		return nil, missing(ReasonBlockNotFound, req.GetName(), "there is no block %d yet; the last one is %d", height, head)
	}
	result, err := n.State.BlockResult(height)
	if err != nil {
		return nil, err
	}
	n.rates.charge(callerIP(ctx), blockTokens(result))
	resp := &nodev1.GetBlockResponse{Block: n.block(result)}
	for i := range result.Receipts {
		resp.TxHashes = append(resp.TxHashes, result.Receipts[i].Hash[:])
	}
	return resp, nil
}

func (n *nodes) block(r *exec.BlockResult) *nodev1.Block {
	out := &nodev1.Block{
		Name: BlockName(r.Height), SettlementClock: r.Clock,
		Header:       &chainv1.Header{Height: r.Height, Time: renderTime(r.Time)},
		Transactions: uint32(len(r.Receipts)), Size: uint64(r.Size), Totals: renderTotals(&r.Totals),
		ResultsRoot: optionalHash(r.ResultsRoot),
	}
	for i := range r.Events {
		if r.Events[i].Kind == settlement.EventFinalised {
			out.Finalised++
		}
	}
	if h, ok := n.Node.Header(r.Height); ok {
		out.Header = renderHeader(&h)
	}
	return out
}

// blockTokens is what it costs to read a block from the index.
func blockTokens(r *exec.BlockResult) int {
	return 1 + rowTokens(len(r.Receipts)+len(r.Events)+len(r.Staking))
}

// ListBlocks implements NodeServiceServer.
func (n *nodes) ListBlocks(ctx context.Context, req *nodev1.ListBlocksRequest) (*nodev1.ListBlocksResponse, error) {
	head, _ := n.State.Head()
	list := newFilter("ListBlocks")
	pg, err := n.pages.open(list, req.GetPageSize(), req.GetPageToken(), head)
	if err != nil {
		return nil, err
	}
	height := pg.height
	if pg.cursor != nil && (!readCursor(pg.cursor, &height) || height > pg.height) {
		return nil, badCursor()
	}
	resp := &nodev1.ListBlocksResponse{}
	for work := 0; len(resp.Blocks) < min(pg.size, MaxBlockPage) && work < maxListedTokens; {
		if height == 0 {
			return resp, nil
		}
		result, err := n.State.BlockResult(height)
		if errors.Is(err, exec.ErrPruned) {
			return resp, nil
		}
		if err != nil {
			return nil, err
		}
		n.rates.charge(callerIP(ctx), blockTokens(result))
		work += blockTokens(result)
		resp.Blocks = append(resp.Blocks, n.block(result))
		height--
	}
	if height > 0 {
		resp.NextPageToken = n.pages.token(list, pg.height, cursorU64(height))
	}
	return resp, nil
}

// GetTransaction implements NodeServiceServer.
func (n *nodes) GetTransaction(_ context.Context, req *nodev1.GetTransactionRequest) (*nodev1.GetTransactionResponse, error) {
	hash, err := parseHashName("name", collectionTransactions, req.GetName())
	if err != nil {
		return nil, err
	}
	status, err := n.look(hash, req.GetName())
	if err != nil {
		return nil, err
	}
	return &nodev1.GetTransactionResponse{Transaction: n.transaction(&status, nil)}, nil
}

// ListTransactions implements NodeServiceServer.
func (n *nodes) ListTransactions(ctx context.Context, req *nodev1.ListTransactionsRequest) (*nodev1.ListTransactionsResponse, error) {
	signer, err := parseAddress("signer", req.GetSigner())
	if err != nil {
		return nil, err
	}
	list := newFilter("ListTransactions", req.GetSigner())
	statuses, next, err := n.listTxs(ctx, list, []exec.TxFilter{{Account: signer}}, func(*exec.Status) bool { return true }, req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	resp := &nodev1.ListTransactionsResponse{NextPageToken: next}
	for i := range statuses {
		resp.Transactions = append(resp.Transactions, n.transaction(&statuses[i], nil))
	}
	return resp, nil
}

// SubmitTransaction implements NodeServiceServer.
func (n *nodes) SubmitTransaction(ctx context.Context, req *nodev1.SubmitTransactionRequest) (*nodev1.SubmitTransactionResponse, error) {
	tx, err := openSigned(n.Network.Domain, req.GetSignedTx())
	if err != nil {
		return nil, err
	}
	status, err := n.submit(ctx, &submission{
		requestID: req.GetRequestId(), tx: tx, waitFor: req.GetWaitFor(), validateOnly: req.GetValidateOnly(),
	})
	if err != nil {
		return nil, err
	}
	return &nodev1.SubmitTransactionResponse{Transaction: n.transaction(&status, &tx)}, nil
}
