package main

import (
	"strings"
	"testing"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/settlement"
)

// What a block did not execute is shown as what it is, and never as the outcome.
func TestATransactionThatABlockRefused(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		status client.Status
		shown  string
		ends   string
	}{
		{
			"with a last block",
			client.Status{Stage: client.StageRefused, Height: 9, ValidUntil: 20, Receipt: &settlement.Receipt{Code: chain.CodeInsufficientBalance}},
			"none yet (INSUFFICIENT_BALANCE)",
			"block 9 did not execute the transaction: INSUFFICIENT_BALANCE; unless another one uses its nonce first, a block up to 20 still may",
		},
		{
			"without a last block",
			client.Status{Stage: client.StageRefused, Height: 9, Receipt: &settlement.Receipt{Code: chain.CodeNonceTooHigh}},
			"none yet (NONCE_TOO_HIGH)",
			"a later block still may",
		},
		{
			"for good",
			client.Status{Stage: client.StageFinal, Height: 9, Receipt: &settlement.Receipt{Code: chain.CodeExpired}},
			"EXPIRED",
			"the transaction had no effect: EXPIRED",
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			r := newTxResult(row.status)
			if r.outcome() != row.shown || r.ValidUntil != row.status.ValidUntil || r.Height != 9 {
				t.Errorf("shown as %q: %+v", r.outcome(), r)
			}
			err := outcome(&row.status)
			if exitCode(err) != exitError || !strings.Contains(err.Error(), row.ends) {
				t.Errorf("ends with %v, want %q", err, row.ends)
			}
		})
	}
}
