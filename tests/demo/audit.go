package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/testnet"
)

// owed is what an account must own at the end.
type owed struct {
	trader *trader
	want   ledger.Amount
}

// expected computes from the vouchers alone what every account must own. All
// channels are closed by now, so deposits and rents are back.
func (m *market) expected() []owed {
	perChannel := unitPrice * vouchers / channels
	all := []owed{{m.buyer, grant - channels*perChannel - m.buyer.spent}}
	for _, s := range m.sellers {
		n := ledger.Amount(len(s.channels))
		all = append(all, owed{s.trader, grant + n*m.paidOut(perChannel) - s.spent})
	}
	payer, payee := grant-m.corner.payer.spent, grant-m.corner.payee.spent
	for _, o := range m.special {
		payer -= o.total
		payee += m.paidOut(o.total)
	}
	all = append(all, owed{m.corner.payer, payer}, owed{m.corner.payee, payee})
	return append(all, m.used.owed()...)
}

// audited is what the audit found.
type audited struct {
	accounts int
	nodes    int
	height   uint64
	minted   ledger.Amount // as the last node says
	rewards  ledger.Amount
}

// audit compares every balance on every validator with what it must be.
func (m *market) audit(ctx context.Context, net *testnet.Network) (audited, error) {
	expected, result := m.expected(), audited{nodes: len(net.Nodes)}
	result.accounts = len(expected)
	head, err := m.head(ctx)
	if err != nil {
		return result, err
	}
	result.height = head.Height
	for _, n := range net.Nodes {
		if err := m.auditNode(ctx, n, expected, &result); err != nil {
			return result, fmt.Errorf("%s: %w", n.Name, err)
		}
	}
	return result, nil
}

func (m *market) auditNode(ctx context.Context, n testnet.Node, expected []owed, result *audited) (err error) {
	c, err := client.Dial(ctx, n.GRPC)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	// What is final on one validator may not have reached this one yet.
	var status client.NodeStatus
	err = await(ctx, func() (bool, error) {
		status, err = c.Status(ctx)
		return err == nil && status.Chains[0].Height >= result.height, err
	})
	if err != nil {
		return err
	}
	for _, o := range expected {
		got, err := c.Balance(ctx, o.trader.Address())
		if err != nil {
			return err
		}
		if got != o.want {
			return fmt.Errorf("%s owns %d drops, the vouchers say %d", o.trader.name, got, o.want)
		}
	}
	totals := status.Chains[0].Totals
	if totals.Escrow != 0 || totals.Rent != 0 {
		return fmt.Errorf("channels still hold %d drops and rents of %d", totals.Escrow, totals.Rent)
	}
	if supply := totals.Sum(); supply != m.supply+totals.Minted {
		return fmt.Errorf("there are %d drops, the genesis made %d, and %d were minted", supply, m.supply, totals.Minted)
	}
	result.minted, result.rewards = totals.Minted, totals.Rewards
	return m.auditStake(ctx, c, totals.Staked)
}

// auditStake checks what the validators have: their stakes, and nothing in hand of
// what they earned, since nobody claimed it.
func (m *market) auditStake(ctx context.Context, c *client.Client, staked ledger.Amount) error {
	operators := map[ledger.Address]string{}
	for _, v := range m.genesis.Validators {
		operators[v.Operator] = v.Name
	}
	if staked != m.staked() {
		return fmt.Errorf("%d drops are staked, the validators staked %d", staked, m.staked())
	}
	for _, a := range m.genesis.Accounts {
		name, operates := operators[a.Address]
		if !operates {
			continue
		}
		got, err := c.Balance(ctx, a.Address)
		if err != nil {
			return err
		}
		if got != a.Balance {
			return fmt.Errorf("the operator of %s owns %d drops, the genesis gave it %d", name, got, a.Balance)
		}
	}
	return nil
}

// staked is what the validators staked.
func (m *market) staked() (sum ledger.Amount) {
	for _, v := range m.genesis.Validators {
		sum += v.Stake
	}
	return sum
}

// table prints what was done and how fast.
func (m *market) table(out io.Writer, a audited, took time.Duration) error {
	latencies := m.latencies()
	entries, bytes := 0, 0
	for _, s := range m.sellers {
		entries, bytes = entries+s.entries, bytes+s.bytes
	}
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	row("vouchers signed and checked", "%d, %.0f per second", vouchers, vouchers/m.trading.Seconds())
	row("settlements", "%d in %d batches, %.0f per second", entries, len(latencies), float64(entries)/m.settled.Seconds())
	row("vouchers per settlement", "%.1f", float64(vouchers)/float64(entries))
	row("time to final", "p50 %.2f s, p95 %.2f s", latencies[len(latencies)/2].Seconds(), latencies[len(latencies)*95/100].Seconds())
	row("bytes per settlement", "%.0f", float64(bytes)/float64(entries))
	for _, o := range m.special {
		row(o.path, "%s", o.what)
	}
	u := m.used
	all := usageTotal * ledger.Amount(len(u.sales))
	slices.Sort(u.finals)
	row("usage on two services, two zones", "%d vouchers in %d bookings, p50 %.2f s until anchored", u.vouchers, u.bookings, u.finals[len(u.finals)/2].Seconds())
	row("traced and proved from the genesis", "%d bookings with %d messages between shards", u.proved, u.hops)
	row("settled by shards, and directly", "%s and %s coins", all-u.direct, u.direct)
	row("balances as the vouchers say", "%d accounts on %d validators, exact", a.accounts, a.nodes)
	row("stake", "%s coins of %d validators, whose rewards are %s coins", m.staked(), len(m.genesis.Validators), a.rewards)
	row("value conserved", "yes: %d drops at height %d, %d of them minted", uint64(m.supply+a.minted), a.height, uint64(a.minted))
	row("took", "%.0f s", took.Seconds())
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print the result: %w", err)
	}
	return nil
}
