package comet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync/atomic"

	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/types"

	"github.com/tributary-network/tributary/ledger/kv"
)

// codeInternal is the code of a refusal whose error carries none, and of a
// panic in Check. No rule has a code that large.
const codeInternal = 1 << 16

// adapter is an Application as CometBFT wants it. It never panics and never
// returns an error where CometBFT would take the process down for it.
type adapter struct {
	abci.BaseApplication
	app    Application
	gate   *gate
	head   *head
	halt   *halt
	rounds *voteRounds
	own    func() []byte // consensus address of this node's key
	attach atomic.Int64  // most bytes of an extension of its own, MaxExtension

	refused *refusals
	retain  func(uint64) int64 // see Chain.retain

	progress  *progress
	syncing   *syncGuard // set before the chain starts
	inbound   *inbound
	offers    *offers   // set before a start that looks for snapshots, else nil
	restoring restoring // owned by OfferSnapshot and ApplySnapshotChunk
	logger    *slog.Logger
}

// contain runs f and turns a panic into an error.
func contain(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &panicError{value: r, stack: debug.Stack()}
		}
	}()
	return f()
}

type panicError struct {
	value any
	stack []byte
}

func (p *panicError) Error() string { return "panic: " + firstLine(fmt.Sprint(p.value)) }

func (p *panicError) Unwrap() error {
	err, _ := p.value.(error)
	return err
}

// call runs f, a step of the application at height that must succeed. If it
// does not, the chain is halted.
func (a *adapter) call(ctx context.Context, step string, height int64, f func() error) error {
	if err := a.halt.err(); err != nil {
		return a.leave(err)
	}
	if !a.gate.enter() {
		return a.leave(ErrNotRunning)
	}
	err := contain(f)
	a.gate.leave()
	if err == nil {
		return nil
	}
	attrs := []any{slog.String("step", step), slog.Int64("height", height), slog.Any("err", err)}
	if p := (*panicError)(nil); errors.As(err, &p) {
		attrs = append(attrs, slog.String("stack", string(p.stack)))
	}
	a.logger.ErrorContext(ctx, "chain halted by the application", attrs...)
	cause := HaltApplication
	if errors.Is(err, kv.ErrFailed) {
		cause = HaltStore
	}
	return a.leave(a.halt.set(uint64(height), cause, step+": "+err.Error()))
}

// leave returns err if CometBFT's caller contains it: consensus stops this
// chain, the start-up handshake fails. Block sync would panic and take the
// process down, so its goroutine ends here instead; what CometBFT deferred
// still runs.
func (a *adapter) leave(err error) error {
	if inBlockSync() {
		runtime.Goexit()
	}
	return err
}

func (a *adapter) Info(ctx context.Context, _ *abci.RequestInfo) (*abci.ResponseInfo, error) {
	res := &abci.ResponseInfo{}
	err := a.call(ctx, "head", 0, func() error {
		height, hash := a.app.Head()
		res.LastBlockHeight = int64(height)
		if height > 0 {
			res.LastBlockAppHash = hash
		}
		return nil
	})
	return res, err
}

func (a *adapter) InitChain(ctx context.Context, req *abci.RequestInitChain) (*abci.ResponseInitChain, error) {
	res := &abci.ResponseInitChain{}
	err := a.call(ctx, "init chain", 0, func() error {
		genesis, err := appState(req.AppStateBytes)
		if err != nil {
			return err
		}
		res.AppHash, err = a.app.InitChain(genesis)
		return err
	})
	return res, err
}

func (a *adapter) CheckTx(ctx context.Context, req *abci.RequestCheckTx) (*abci.ResponseCheckTx, error) {
	if err := a.halt.err(); err != nil {
		return &abci.ResponseCheckTx{Code: codeInternal, Log: err.Error()}, nil
	}
	if !a.gate.enter() {
		return &abci.ResponseCheckTx{Code: codeInternal, Log: ErrNotRunning.Error()}, nil
	}
	defer a.gate.leave()
	err := contain(func() error { return a.app.Check(req.Tx, req.Type == abci.CheckTxType_Recheck) })
	if err == nil {
		return &abci.ResponseCheckTx{}, nil
	}
	if p := (*panicError)(nil); errors.As(err, &p) {
		a.logger.ErrorContext(ctx, "application panicked in check", slog.Any("err", err), slog.String("stack", string(p.stack)))
	}
	return &abci.ResponseCheckTx{Code: codeOf(err), Log: err.Error()}, nil
}

// codeOf is the code an error carries, never 0.
func codeOf(err error) uint32 {
	var coded interface{ Code() uint32 }
	if errors.As(err, &coded) && coded.Code() != 0 {
		return coded.Code()
	}
	return codeInternal
}

func (a *adapter) PrepareProposal(ctx context.Context, req *abci.RequestPrepareProposal) (*abci.ResponsePrepareProposal, error) {
	res := &abci.ResponsePrepareProposal{}
	err := a.call(ctx, "propose", req.Height, func() error {
		res.Txs = a.app.Propose(uint64(req.Height), req.MaxTxBytes, req.Txs)
		return nil
	})
	if fit := fitting(res.Txs, req.MaxTxBytes); fit < len(res.Txs) {
		a.logger.ErrorContext(ctx, "proposal is too large and was cut", slog.Int("txs", len(res.Txs)), slog.Int("kept", fit))
		res.Txs = res.Txs[:fit]
	}
	return res, err
}

// fitting is how many of txs, from the first on, fit into maxBytes of a block.
func fitting(txs [][]byte, maxBytes int64) int {
	for i, tx := range txs {
		if maxBytes -= types.ComputeProtoSizeForTxs([]types.Tx{tx}); maxBytes < 0 {
			return i
		}
	}
	return len(txs)
}

func (a *adapter) ProcessProposal(ctx context.Context, req *abci.RequestProcessProposal) (*abci.ResponseProcessProposal, error) {
	res := &abci.ResponseProcessProposal{Status: abci.ResponseProcessProposal_ACCEPT}
	err := a.call(ctx, "accept", req.Height, func() error {
		if err := a.app.Accept(blockOf(req, req.ProposedLastCommit)); err != nil {
			a.logger.WarnContext(ctx, "proposal refused", slog.Int64("height", req.Height), slog.Any("err", err))
			res.Status = abci.ResponseProcessProposal_REJECT
		}
		return nil
	})
	return res, err
}

// ExtendVote never costs the vote: what fails in the application leaves it
// without an extension.
func (a *adapter) ExtendVote(ctx context.Context, req *abci.RequestExtendVote) (*abci.ResponseExtendVote, error) {
	res := &abci.ResponseExtendVote{}
	err := a.call(ctx, "extend", req.Height, func() error {
		var extension []byte
		err := contain(func() (err error) {
			b := blockOf(req, req.ProposedLastCommit)
			var known bool
			if b.Round, known = a.rounds.extend(req.Height); !known {
				return nil
			}
			extension, err = a.app.Extend(b)
			return err
		})
		if err == nil && int64(len(extension)) > a.attach.Load() {
			err = fmt.Errorf("extension of %d bytes, at most %d", len(extension), MaxExtension)
		}
		if err != nil {
			a.logger.WarnContext(ctx, "vote without extension", slog.Int64("height", req.Height), slog.Any("err", err))
			return nil
		}
		res.VoteExtension = extension
		return nil
	})
	return res, err
}

// VerifyVoteExtension refuses a vote for the size of its extension only, see
// MaxPeerExtension. CometBFT also asks about the own one, which ExtendVote cut.
func (a *adapter) VerifyVoteExtension(ctx context.Context, req *abci.RequestVerifyVoteExtension) (*abci.ResponseVerifyVoteExtension, error) {
	res := &abci.ResponseVerifyVoteExtension{Status: abci.ResponseVerifyVoteExtension_ACCEPT}
	if !bytes.Equal(req.ValidatorAddress, a.own()) && a.refused.refuses(ctx, req.Height, req.ValidatorAddress, len(req.VoteExtension)) {
		res.Status = abci.ResponseVerifyVoteExtension_REJECT
	}
	return res, nil
}

func (a *adapter) FinalizeBlock(ctx context.Context, req *abci.RequestFinalizeBlock) (*abci.ResponseFinalizeBlock, error) {
	res := &abci.ResponseFinalizeBlock{}
	err := a.call(ctx, "finalize", req.Height, func() error {
		a.syncing.applying()
		out, err := a.app.Finalize(blockOf(req, req.DecidedLastCommit))
		if err != nil {
			return err
		}
		if len(out.Results) != len(req.Txs) {
			return fmt.Errorf("%d results for %d transactions", len(out.Results), len(req.Txs))
		}
		if res.ValidatorUpdates, err = validatorUpdates(out.Updates); err != nil {
			return err
		}
		res.AppHash = out.AppHash
		res.TxResults = make([]*abci.ExecTxResult, len(out.Results))
		for i, r := range out.Results {
			res.TxResults[i] = &abci.ExecTxResult{Code: r.Code, Data: r.Data}
		}
		a.head.finalized(req, out.AppHash)
		return nil
	})
	return res, err
}

func (a *adapter) Commit(ctx context.Context, _ *abci.RequestCommit) (*abci.ResponseCommit, error) {
	res := &abci.ResponseCommit{}
	err := a.call(ctx, "commit", a.head.pendingHeight(), func() error {
		a.syncing.applying()
		retain, err := a.app.Commit()
		res.RetainHeight = a.retain(retain)
		return err
	})
	if err == nil {
		a.head.committed()
	}
	return res, err
}
