package comet

import (
	"errors"
	"fmt"

	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/mempool"
)

// RefusedError says that the application's Check refused a transaction.
type RefusedError struct {
	code   uint32
	Reason string
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("transaction refused with code %d: %s", e.code, e.Reason)
}

// Code is what the error of Check carried, 65,536 if it carried none.
func (e *RefusedError) Code() uint32 { return e.code }

// Broadcast checks tx and puts it into the mempool, from which it spreads to
// all nodes. One that is there already, or was in a block not long ago, is no
// error. Errors: [*RefusedError], [ErrMempoolFull], [ErrTxTooLarge],
// [ErrCatchingUp], [ErrHalted], [ErrNotRunning].
//
// A nil error is no promise: when the mempool is just full, or the node is
// killed, the transaction is gone. Send it again if it is in no block after
// some seconds.
func (c *Chain) Broadcast(tx []byte) error {
	if err := c.halt.err(); err != nil {
		return err
	}
	n, running := c.running()
	switch {
	case !running:
		return ErrNotRunning
	case n.ConsensusReactor().WaitSync():
		return ErrCatchingUp
	}
	var refused error
	err := contain(func() error {
		return n.Mempool().CheckTx(tx, func(r *abci.ResponseCheckTx) {
			if r.Code != abci.CodeTypeOK {
				refused = &RefusedError{code: r.Code, Reason: r.Log}
			}
		}, mempool.TxInfo{})
	})
	return mempoolError(err, refused, c.halt.err())
}

// mempoolError translates what CometBFT's mempool returns.
func mempoolError(err, refused, halted error) error {
	var full mempool.ErrMempoolIsFull
	var large mempool.ErrTxTooLarge
	var pre mempool.ErrPreCheck
	switch {
	case halted != nil:
		return halted
	case err == nil:
		return refused
	case errors.Is(err, mempool.ErrTxInCache):
		return nil
	case errors.As(err, &full), errors.Is(err, mempool.ErrRecheckFull):
		return fmt.Errorf("%w: %w", ErrMempoolFull, err)
	case errors.As(err, &large), errors.As(err, &pre):
		return fmt.Errorf("%w: %w", ErrTxTooLarge, err)
	}
	return fmt.Errorf("check transaction: %w", err)
}

// MempoolStats returns how many transactions wait on this node and their total
// size in bytes.
func (c *Chain) MempoolStats() (txs int, bytes int64) {
	n, running := c.running()
	if !running {
		return 0, 0
	}
	return n.Mempool().Size(), n.Mempool().SizeBytes()
}
