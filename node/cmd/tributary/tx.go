package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/ledger"
)

// txResult is what is shown of a transaction.
type txResult struct {
	Hash       ledger.Hash   `json:"hash"`
	Kind       string        `json:"kind"`
	Signer     string        `json:"signer"`
	Nonce      uint64        `json:"nonce"`
	Stage      string        `json:"stage"`
	Height     uint64        `json:"height,omitempty"`
	Index      uint32        `json:"index"`
	Time       *time.Time    `json:"time,omitempty"`
	Code       string        `json:"code,omitempty"`
	Fee        drops         `json:"fee"`
	Paid       drops         `json:"paid"` // of a staking transaction the rewards that came with it
	Burned     drops         `json:"burned"`
	OwnerFees  drops         `json:"owner_fees"`      // to owners of services
	Stake      drops         `json:"stake,omitempty"` // put in, moved or taken back; 0 if that is all, or not known here
	DropReason string        `json:"drop_reason,omitempty"`
	ValidUntil uint64        `json:"valid_until,omitempty"`
	Entries    []entryResult `json:"entries,omitempty"`
	// Of anchors and of what was brought from shards.
	Runs  []runResult     `json:"runs,omitempty"`
	Links []outcomeResult `json:"links,omitempty"`

	Type  chain.Kind `json:"-"`
	Moves string     `json:"-"` // what was done with the stake, "" if that is not known here
}

// stageSimulated is the stage of what was only tried.
const stageSimulated client.Stage = 0xff

// entryResult is what became of an entry of a settlement.
type entryResult struct {
	Channel  uint64 `json:"channel_index"`
	Lane     uint8  `json:"lane"`
	Code     string `json:"code"`
	Paid     drops  `json:"paid"`
	Burned   drops  `json:"burned"`
	OwnerFee drops  `json:"owner_fee"` // to the owner of the service
	Redeemed drops  `json:"redeemed_total"`
	Closed   bool   `json:"closed"`
}

func newTxResult(s client.Status) txResult {
	r := txResult{
		Hash: s.Hash, Kind: s.Kind.String(), Signer: s.Signer.String(), Nonce: s.Nonce,
		Stage: s.Stage.String(), Height: s.Height, Index: s.TxIndex, DropReason: s.DropReason,
		ValidUntil: s.ValidUntil, Type: s.Kind,
	}
	if s.Stage == stageSimulated {
		r.Stage = "simulated"
	}
	if s.Receipt != nil {
		r.Code = s.Receipt.Code.String()
		r.Fee, r.Paid, r.Burned, r.OwnerFees = drops(s.Receipt.Fee), drops(s.Receipt.Paid), drops(s.Receipt.Burned), drops(s.Receipt.OwnerFee)
		r.Entries, r.Runs, r.Links = newEntryResults(s.Receipt), newRuns(s.Receipt), newOutcomes(s.Receipt)
		if !s.Time.IsZero() {
			r.Time = &s.Time
		}
	}
	return r
}

// knowing adds what the payload says and receipts do not: which stake it is about.
func (r *txResult) knowing(payload []byte) {
	var amount ledger.Amount
	var err error
	switch r.Type {
	case chain.KindRegisterValidator:
		var m staking.Register
		m, err = staking.DecodeRegister(payload)
		r.Moves, amount = "staked", m.SelfStake
	case chain.KindDelegate:
		var m staking.Delegate
		m, err = staking.DecodeDelegate(payload)
		r.Moves, amount = "staked", m.Amount
	case chain.KindRedelegate:
		var m staking.Redelegate
		m, err = staking.DecodeRedelegate(payload)
		r.Moves, amount = "stake moved", m.Amount
	case chain.KindUndelegate:
		var m staking.Undelegate
		m, err = staking.DecodeUndelegate(payload)
		r.Moves, amount = "stake taken back", m.Amount
	default:
		return
	}
	if failed := r.Code != "" && r.Code != chain.CodeOK.String(); err != nil || failed {
		r.Moves = ""
		return
	}
	r.Stake = drops(amount)
}

// pays reports whether transactions of its kind pay somebody, so that 0 says something.
func (r *txResult) pays() bool {
	return r.Type == chain.KindTransfer || r.Type == chain.KindSettle || r.Type == chain.KindCoopClose || r.Type == chain.KindClaimRewards
}

// money shows what the transaction moved, as far as its kind moves any.
func (r *txResult) money(t *table) {
	switch {
	case r.Moves == "":
	case r.Stake == 0:
		t.field(r.Moves, "all there was")
	default:
		t.field(r.Moves, ledger.Amount(r.Stake))
	}
	label := "paid"
	if r.Type >= chain.KindRegisterValidator && r.Type <= chain.KindUnjail {
		label = "rewards paid out"
	}
	if r.Type == chain.KindAnchor || r.Type == chain.KindImport {
		label = "given back"
	}
	applied := r.Code == chain.CodeOK.String() || len(r.Entries) > 0
	if r.Paid != 0 || applied && r.pays() {
		t.field(label, ledger.Amount(r.Paid))
	}
	if r.Burned != 0 || applied && (r.Type == chain.KindSettle || r.Type == chain.KindCoopClose) {
		t.field("burned", ledger.Amount(r.Burned))
	}
	if r.OwnerFees != 0 {
		t.field("to the service's owner", ledger.Amount(r.OwnerFees))
	}
}

// paid is what the transaction paid, "-" if its kind pays nobody.
func (r *txResult) paid() any {
	if r.Paid == 0 && !r.pays() {
		return "-"
	}
	return ledger.Amount(r.Paid)
}

// outcome is the code, unless the last word is not spoken.
func (r *txResult) outcome() string {
	if r.Stage == client.StageRefused.String() {
		return "none yet (" + r.Code + ")"
	}
	return r.Code
}

func newEntryResults(r *settlement.Receipt) []entryResult {
	var list []entryResult
	for _, e := range r.Entries {
		list = append(list, entryResult{
			e.Index, e.Lane, e.Code.String(), drops(e.Paid), drops(e.Burned), drops(e.OwnerFee), drops(e.Redeemed), e.Closed,
		})
	}
	return list
}

// printTx shows a transaction, whose payload may be nil if it is not known. One that
// failed ends the program with an error.
func (c *cli) printTx(s client.Status, payload []byte) error {
	r := newTxResult(s)
	r.knowing(payload)
	err := c.print(r, func(t *table) {
		t.field("transaction", r.Hash)
		t.field("kind", r.Kind)
		t.field("signer", r.Signer)
		t.field("stage", r.Stage)
		if r.DropReason != "" {
			t.field("dropped because", r.DropReason)
		}
		if r.Code != "" {
			t.field("outcome", r.outcome())
			if r.Height != 0 {
				t.field("height", r.Height)
			}
			t.field("fee", ledger.Amount(r.Fee))
			r.money(t)
		}
		printEntries(t, r.Entries)
		printOutcomes(t, &r)
	})
	if err != nil {
		return err
	}
	return outcome(&s)
}

func printEntries(t *table, entries []entryResult) {
	if len(entries) == 0 {
		return
	}
	t.line("")
	t.row("CHANNEL", "LANE", "OUTCOME", "PAID (COINS)", "BURNED (COINS)", "OWNER (COINS)", "REDEEMED (COINS)", "CLOSED")
	for _, e := range entries {
		t.row(e.Channel, e.Lane, e.Code, ledger.Amount(e.Paid), ledger.Amount(e.Burned), ledger.Amount(e.OwnerFee), ledger.Amount(e.Redeemed), yes(e.Closed))
	}
}

// outcome returns an error for a transaction that did not do what it was to do.
func outcome(s *client.Status) error {
	switch {
	case s.Stage == client.StageDropped:
		return exitf(exitUnavailable, "the transaction was dropped: %s; submit it again", s.DropReason)
	case s.Stage == client.StageRefused && s.ValidUntil != 0:
		return exitf(exitError, "block %d did not execute the transaction: %s; unless another one uses its nonce first, a block up to %d still may", s.Height, s.Receipt.Code, s.ValidUntil)
	case s.Stage == client.StageRefused:
		return exitf(exitError, "block %d did not execute the transaction: %s; unless another one uses its nonce first, a later block still may", s.Height, s.Receipt.Code)
	case s.Stage >= client.StageIncluded && s.Receipt.Code != chain.CodeOK:
		return exitf(exitError, "the transaction had no effect: %s", s.Receipt.Code)
	}
	return nil
}

// signing adds the flags of commands that sign.
func (c *cli) signing(cmd *cobra.Command, from *string) {
	cmd.Flags().StringVar(from, "from", "", "name of the key that signs and pays the fee, and @ZONE if its account is not in zone 0")
	cmd.Flags().StringVar(&c.passphraseFile, "passphrase-file", "", "file whose first line is the key's passphrase")
}

// submit signs and submits a transaction and shows what became of it. With
// dryRun it shows what would; with wait "checked" it does not wait for a block.
func (run *run) submit(from string, kind chain.Kind, payload []byte, how submitHow) error {
	account, err := run.conn.account(from)
	if err != nil {
		return err
	}
	if how.dryRun {
		receipt, err := account.Simulate(run.ctx, kind, payload)
		if err != nil {
			return err
		}
		run.conn.cli.note("nothing was submitted; this is what would happen now")
		return run.conn.cli.printTx(client.Status{
			Hash: receipt.Hash, Kind: receipt.Kind, Signer: receipt.Signer, Nonce: receipt.Nonce, Stage: stageSimulated, Receipt: &receipt,
		}, payload)
	}
	t, err := account.Send(run.ctx, kind, payload)
	if err != nil {
		return err
	}
	if how.wait == "checked" {
		return run.conn.cli.printTx(t.Status(), payload)
	}
	s, err := t.Wait(run.ctx)
	if err != nil {
		return err
	}
	return run.conn.cli.printTx(s, payload)
}

// submitHow is how a transaction is submitted.
type submitHow struct {
	dryRun bool
	wait   string // final or checked
}

func (h *submitHow) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&h.dryRun, "dry-run", false, "submit nothing, and show what would happen")
	cmd.Flags().StringVar(&h.wait, "wait", "final", "return when the transaction is final, or only checked")
	cmd.PreRunE = func(*cobra.Command, []string) error {
		if h.wait != "final" && h.wait != "checked" {
			return usagef("--wait is %q, want final or checked", h.wait)
		}
		return nil
	}
}

func (c *cli) txCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "tx", Short: "Move money, and follow transactions"}
	cmd.AddCommand(c.txTransferCommand(), c.txShowCommand(), c.txWaitCommand(), c.txListCommand())
	return cmd
}

func (c *cli) txTransferCommand() *cobra.Command {
	var from string
	var how submitHow
	cmd := &cobra.Command{
		Use:     "transfer TO AMOUNT",
		Short:   "Transfer money to an account",
		Example: "  tributary tx transfer trib1q... 12.5 --from alice",
		Args:    cobra.ExactArgs(2),
		RunE: c.connected(func(run *run) error {
			to, err := run.conn.address(run.args[0])
			if err != nil {
				return err
			}
			amount, err := ledger.ParseAmount(run.args[1])
			if err != nil {
				return &usageError{err}
			}
			transfer := settlement.Transfer{Payments: []settlement.Payment{{To: to, Amount: amount}}}
			return run.submit(from, chain.KindTransfer, transfer.Encode(), how)
		}),
	}
	c.signing(cmd, &from)
	how.flags(cmd)
	return cmd
}

func (c *cli) txShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show HASH",
		Short: "Show a transaction",
		Args:  first(cobra.ExactArgs(1), parseHash),
		RunE: c.connected(func(run *run) error {
			hash, err := parseHash(run.args[0])
			if err != nil {
				return err
			}
			s, err := run.conn.Transaction(run.ctx, hash)
			if err != nil {
				return err
			}
			if s.Kind == chain.KindSettle {
				if s, err = run.conn.Settlement(run.ctx, hash); err != nil {
					return err
				}
			}
			return c.printTx(s, nil)
		}),
	}
}

func (c *cli) txWaitCommand() *cobra.Command {
	var stage string
	cmd := &cobra.Command{
		Use:   "wait HASH",
		Short: "Wait until a transaction is final",
		Args:  first(cobra.ExactArgs(1), parseHash),
		RunE: c.connected(func(run *run) error {
			hash, err := parseHash(run.args[0])
			if err != nil {
				return err
			}
			want := client.StageFinal
			switch stage {
			case "final":
			case "included":
				want = client.StageIncluded
			default:
				return usagef("--stage is %q, want final or included", stage)
			}
			s, err := run.conn.WaitFor(run.ctx, hash, want)
			if err != nil {
				return err
			}
			return c.printTx(s, nil)
		}),
	}
	cmd.Flags().StringVar(&stage, "stage", "final", "final or included")
	return cmd
}

func (c *cli) txListCommand() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "list ADDRESS|NAME",
		Short: "List the transactions that an account signed, newest first",
		Args:  cobra.ExactArgs(1),
		RunE: c.connected(func(run *run) error {
			signer, err := run.conn.address(run.args[0])
			if err != nil {
				return err
			}
			return c.printTxs(limit, run.conn.Transactions(run.ctx, signer))
		}),
	}
	limitFlag(cmd, &limit)
	return cmd
}

// limitFlag adds --limit to a command that lists.
func limitFlag(cmd *cobra.Command, limit *int) {
	cmd.Flags().IntVar(limit, "limit", 50, "at most so many; 0 for all")
	cmd.PreRunE = func(*cobra.Command, []string) error {
		if *limit < 0 {
			return usagef("--limit is %d, want 0 or more", *limit)
		}
		return nil
	}
}

// printTxs lists transactions.
func (c *cli) printTxs(limit int, list func(func(client.Status, error) bool)) error {
	rows := []txResult{}
	for s, err := range list {
		if err != nil {
			return err
		}
		rows = append(rows, newTxResult(s))
		if limit > 0 && len(rows) == limit {
			break
		}
	}
	if len(rows) == 0 {
		c.note("no such transactions")
	}
	return c.print(rows, func(t *table) {
		t.row("TRANSACTION", "KIND", "HEIGHT", "OUTCOME", "PAID (COINS)", "FEE (COINS)")
		for i := range rows {
			r := &rows[i]
			t.row(r.Hash, r.Kind, r.Height, r.outcome(), r.paid(), ledger.Amount(r.Fee))
		}
	})
}
