package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/staking"
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

// A receipt shows the money that its kind of transaction moves, and no other.
func TestReceiptsShowWhatTheirKindMoves(t *testing.T) {
	t.Parallel()
	register := staking.Register{Profile: staking.Profile{Name: "n"}, SelfStake: 7_000_000}
	delegate, all := staking.Delegate{Amount: 5_000_000}, staking.Undelegate{}
	move := staking.Redelegate{To: 1, Amount: 2_000_000}
	for _, row := range []struct {
		name    string
		receipt settlement.Receipt
		payload []byte
		want    string // lines after the fee
	}{
		{"transfer", settlement.Receipt{Kind: chain.KindTransfer, Paid: 3_000_000}, nil, "paid 3 coins"},
		{"settle", settlement.Receipt{Kind: chain.KindSettle, Paid: 3_000_000}, nil, "paid 3 coins, burned 0 coins"},
		{"settle with fees", settlement.Receipt{Kind: chain.KindSettle, Paid: 3_000_000, OwnerFee: 2}, nil, "paid 3 coins, burned 0 coins, to the service's owner 0.000002 coins"},
		{"close together", settlement.Receipt{Kind: chain.KindCoopClose, Burned: 1}, nil, "paid 0 coins, burned 0.000001 coins"},
		{"open", settlement.Receipt{Kind: chain.KindOpenChannels}, nil, ""},
		{"top up", settlement.Receipt{Kind: chain.KindTopUp}, nil, ""},
		{"extend", settlement.Receipt{Kind: chain.KindExtend}, nil, ""},
		{"close", settlement.Receipt{Kind: chain.KindRequestClose}, nil, ""},
		{"register", settlement.Receipt{Kind: chain.KindRegisterValidator}, register.Encode(), "staked 7 coins"},
		{"edit", settlement.Receipt{Kind: chain.KindEditValidator}, nil, ""},
		{"unjail", settlement.Receipt{Kind: chain.KindUnjail}, nil, ""},
		{"delegate", settlement.Receipt{Kind: chain.KindDelegate}, delegate.Encode(), "staked 5 coins"},
		{"delegate more", settlement.Receipt{Kind: chain.KindDelegate, Paid: 1_000_000}, delegate.Encode(), "staked 5 coins, rewards paid out 1 coin"},
		{"delegate, read later", settlement.Receipt{Kind: chain.KindDelegate}, nil, ""},
		{"delegate in vain", settlement.Receipt{Kind: chain.KindDelegate, Code: chain.CodeTombstoned}, delegate.Encode(), ""},
		{"redelegate", settlement.Receipt{Kind: chain.KindRedelegate}, move.Encode(), "stake moved 2 coins"},
		{"undelegate all", settlement.Receipt{Kind: chain.KindUndelegate}, all.Encode(), "stake taken back all there was"},
		{"claim", settlement.Receipt{Kind: chain.KindClaimRewards, Paid: 4_000_000}, nil, "rewards paid out 4 coins"},
		{"transfer in vain", settlement.Receipt{Kind: chain.KindTransfer, Code: chain.CodeInsufficientBalance}, nil, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			r := newTxResult(client.Status{Kind: row.receipt.Kind, Stage: client.StageFinal, Receipt: &row.receipt})
			r.knowing(row.payload)
			var out bytes.Buffer
			table := newTable(&out)
			r.money(table)
			if err := table.flush(); err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(strings.TrimSpace(out.String()), "\n")
			for i := range lines {
				lines[i] = strings.Join(strings.Fields(lines[i]), " ")
			}
			if got := strings.Join(lines, ", "); got != row.want {
				t.Errorf("shows %q, want %q", got, row.want)
			}
			if pays := r.paid() != "-"; pays != (strings.Contains(row.want, "paid") || row.receipt.Kind == chain.KindTransfer) {
				t.Errorf("listed as %v", r.paid())
			}
		})
	}
}
