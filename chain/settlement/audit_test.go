package settlement_test

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/settlement"
)

// edit returns a copy of the state with one key changed.
func (b *bench) edit(key []byte, change func(value []byte) []byte) *bench {
	f := b.fork()
	value := append([]byte(nil), f.view.Get(key)...)
	f.view.apply(chain.Changes{{Key: key, Value: change(value)}})
	return f
}

func add64(off int, n uint64) func([]byte) []byte {
	return func(b []byte) []byte {
		binary.BigEndian.PutUint64(b[off:], binary.BigEndian.Uint64(b[off:])+n)
		return b
	}
}

// editChannel changes fields of a channel's row.
func editChannel(t *testing.T, change func(*channel.Channel)) func([]byte) []byte {
	t.Helper()
	return func(row []byte) []byte {
		c, err := channel.Decode(row)
		if err != nil {
			t.Fatal(err)
		}
		change(&c)
		return c.Encode()
	}
}

// TestAuditFinds: whatever is wrong with the state, Audit says so.
func TestAuditFinds(t *testing.T) {
	t.Parallel()
	b := newBench(t, smallParams(), 2)
	ref := b.open(0, 1, 1_000)
	b.ok(1, b.batch(1, b.voucher(ref, 0, 100), b.voucher(ref, 4, 50)))
	if _, err := settlement.Audit(b.view); err != nil {
		t.Fatal(err)
	}
	deadline, _ := settlement.NextDeadline(b.view)
	queue := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64([]byte{'d'}, deadline), 0)
	remove := func([]byte) []byte { return nil }
	row := func(change func(*channel.Channel)) func([]byte) []byte { return editChannel(t, change) }
	for _, c := range []struct {
		name   string
		key    []byte
		change func([]byte) []byte
	}{
		{"a richer account", settlement.AccountKey(0), add64(0, 1)},
		{"an account in debt", settlement.AccountKey(1), add64(0, 1<<63)},
		{"an account of another address", settlement.AccountKey(1), func(v []byte) []byte { v[len(v)-1] ^= 1; return v }},
		{"an account that is cut off", settlement.AccountKey(1), func(v []byte) []byte { return v[1:] }},
		{"an account that is gone", settlement.AccountKey(1), remove},
		{"an address that is gone", settlement.AccountIndexKey(b.addrs[1]), remove},
		{"more deposit", settlement.ChannelKey(0), row(func(c *channel.Channel) { c.Deposit++ })},
		{"less deposit than redeemed", settlement.ChannelKey(0), row(func(c *channel.Channel) { c.Deposit = 149 })},
		{"more rent", settlement.ChannelKey(0), row(func(c *channel.Channel) { c.Rent++ })},
		{"a lane with more", settlement.ChannelKey(0), row(func(c *channel.Channel) { c.Lane0.Redeemed++ })},
		{"a lane that counts as unused", settlement.ChannelKey(0), row(func(c *channel.Channel) { c.LanesUsed = 1 })},
		{"another deadline", settlement.ChannelKey(0), row(func(c *channel.Channel) { c.ExpiresAt++ })},
		{"a channel that is gone", settlement.ChannelKey(0), remove},
		{"a channel that was never opened", settlement.ChannelKey(7), func([]byte) []byte { return b.view.Get(settlement.ChannelKey(0)) }},
		{"a deadline that is gone", queue, remove},
		{"a deadline of nobody", queue, func(v []byte) []byte { v[3] |= 1; return v }},
		{"a lane row of nobody", channel.LaneRows().Key(5), func([]byte) []byte { return make([]byte, channel.LaneRowSize) }},
		{"a directory of nobody", []byte("l\x00\x00\x00\x00\x00\x00\x00\x05"), func([]byte) []byte { return append([]byte{5}, make([]byte, 8)...) }},
		{"a directory that is gone", []byte("l\x00\x00\x00\x00\x00\x00\x00\x00"), remove},
		{"a directory of another lane", []byte("l\x00\x00\x00\x00\x00\x00\x00\x00"), func(v []byte) []byte { v[0]++; return v }},
		{"a directory of another row", []byte("l\x00\x00\x00\x00\x00\x00\x00\x00"), func(v []byte) []byte { v[8]++; return v }},
		{"a miscount of channels", channel.CountersKey(), add64(16, 1)},
		{"books with more burned", settlement.TotalsKey(), add64(24, 1)},
		{"books with more fees", settlement.TotalsKey(), add64(32, 1)},
		{"books with more stake", settlement.TotalsKey(), add64(40, 1)},
		{"books with more rewards", settlement.TotalsKey(), add64(48, 1)},
		{"books with more supply", settlement.TotalsKey(), add64(64, 1)},
		{"books with more accounts", settlement.TotalsKey(), add64(72, 1)},
	} {
		f := b.edit(c.key, c.change)
		if totals, err := settlement.Audit(f.view); err == nil {
			t.Errorf("%s: Audit finds %+v", c.name, totals)
		}
	}
}

// TestViolationHalts: a block that would not conserve value is an error, whatever
// led to it.
func TestViolationHalts(t *testing.T) {
	t.Parallel()
	b := newBench(t, smallParams(), 2)
	ref := b.open(0, 1, 1_000)
	pay := func(b *bench) []settlement.BlockTx { return []settlement.BlockTx{b.checked(0, payTo(b.addrs[1], 5))} }
	closeIt := func(b *bench) []settlement.BlockTx {
		return []settlement.BlockTx{b.checked(1, b.batch(1, channel.Entry{Index: ref.Index, Close: true}))}
	}
	for _, c := range []struct {
		name   string
		key    []byte
		change func([]byte) []byte
		txs    func(*bench) []settlement.BlockTx
	}{
		{"books that do not add up", settlement.TotalsKey(), add64(0, 1), pay},
		{"books with a total above the supply", settlement.TotalsKey(), func(v []byte) []byte {
			return add64(0, 1<<63)(add64(8, 1<<63)(v))
		}, pay},
		{"a channel that paid more than it had", settlement.ChannelKey(0), editChannel(t, func(c *channel.Channel) { c.Redeemed = 1_001 }), closeIt},
		{"an account in debt", settlement.AccountKey(1), add64(0, 1<<63), closeIt},
	} {
		f := b.edit(c.key, c.change)
		changes, _, err := settlement.ApplyBlock(f.view, f.params, f.domain, settlement.Block{Height: f.height + 1, Txs: c.txs(f)}, verifySingly)
		if !errors.Is(err, settlement.ErrNotConserved) || changes != nil {
			t.Errorf("%s: %d changes, %v", c.name, len(changes), err)
		}
	}
}

func TestAdmitSaysWhichEntries(t *testing.T) {
	t.Parallel()
	b := newBench(t, smallParams(), 2)
	ref, used := b.open(0, 1, 1_000), b.open(0, 1, 100)
	b.ok(1, b.batch(1, b.voucher(ref, 0, 100), b.voucher(used, 0, 100)))
	admit := func(entries ...channel.Entry) *chain.RuleError {
		tx := b.checked(1, b.batch(1, entries...))
		b.nonces[1]--
		_, err := settlement.Admit(b.view, b.params, b.domain, b.height+1, &tx.Tx)
		var rule *chain.RuleError
		if err != nil && !errors.As(err, &rule) {
			t.Fatal(err)
		}
		return rule
	}
	stale, gone, unpaid := b.voucher(ref, 0, 100), channel.Entry{Index: 9, Close: true}, b.voucher(used, 1, 50)
	for _, row := range []struct {
		name    string
		entries []channel.Entry
		code    chain.Code
		at      []int
	}{
		{"all alike", []channel.Entry{stale, b.voucher(used, 0, 100)}, chain.CodeStale, []int{0, 1}},
		{"stale, then gone", []channel.Entry{stale, gone}, chain.CodeStale, []int{0}},
		{"stale, then without money", []channel.Entry{stale, unpaid}, chain.CodeStale, []int{0}},
		{"without money, then gone", []channel.Entry{unpaid, gone}, chain.CodeUnderfunded, []int{0}},
		{"stale, without money, gone", []channel.Entry{stale, b.voucher(used, 0, 100), unpaid, gone}, chain.CodeStale, []int{0, 1}},
	} {
		err := admit(row.entries...)
		if err == nil || err.Code != row.code || !slices.Equal(err.Positions, row.at) {
			t.Errorf("%s: %+v, want %s at %v", row.name, err, row.code, row.at)
		}
	}
	if err := admit(b.voucher(ref, 0, 100), b.voucher(ref, 1, 1)); err != nil {
		t.Errorf("a batch that does something: %v", err)
	}
	bad := b.openParams(1, 1)
	tx := b.checked(0, &channel.Open{Channels: []channel.OpenParams{b.openParams(1, 100), bad}})
	var rule *chain.RuleError
	if _, err := settlement.Admit(b.view, b.params, b.domain, b.height+1, &tx.Tx); !errors.As(err, &rule) || len(rule.Positions) != 1 || rule.Positions[0] != 1 {
		t.Errorf("an open with one bad channel: %v", err)
	}
}

// TestUrgent: the reserved lane is for batches nine tenths of which redeem from
// channels that end soon.
func TestUrgent(t *testing.T) {
	t.Parallel()
	b := newBench(t, smallParams(), 2)
	var calm, ending []channel.Ref
	for range 10 {
		calm = append(calm, b.open(0, 1, 1_000, func(p *channel.OpenParams) { p.ExpiresAt += 5 }))
		ending = append(ending, b.open(0, 1, 1_000, func(p *channel.OpenParams) { p.ExpiresAt = b.clock() + 40 }))
	}
	c, _ := settlement.ChannelAt(b.view, ending[0].Index)
	b.idle(c.ExpiresAt - 8) // two windows
	entries := func(urgent, others int) []channel.Entry {
		var all []channel.Entry
		for i := range 10 {
			if i < others {
				all = append(all, b.voucher(calm[i], 0, 10))
			}
			if i < urgent {
				all = append(all, b.voucher(ending[i], 0, 10))
			}
		}
		return all
	}
	spent := b.voucher(ending[0], 0, 10)
	spent.Cumulative = 0
	for _, row := range []struct {
		name    string
		payload encoder
		urgent  bool
	}{
		{"ten of which one ends soon", b.batch(1, entries(10, 0)...), false},
		{"the one that ends soon", b.batch(1, entries(1, 0)...), true},
		{"one that can wait", b.batch(1, entries(0, 1)...), false},
		{"half of it", b.batch(1, entries(1, 1)...), false},
		{"nothing to redeem", b.batch(1, spent), false},
		{"a close alone", b.batch(1, channel.Entry{Index: ending[0].Index, Close: true}), false},
		{"a channel of another payee", b.batch(0, entries(1, 0)...), false},
		{"a channel that is gone", b.batch(1, channel.Entry{Index: 99, Claim: channel.ClaimVoucher, Cumulative: 1}), false},
		{"no batch", payTo(b.addrs[0], 1), false},
	} {
		tx := b.checked(1, row.payload)
		b.nonces[1]--
		urgent, deadline := settlement.Urgent(b.view, b.height+1, &tx.Tx)
		if urgent != row.urgent || urgent && deadline != c.ExpiresAt || !urgent && deadline != 0 {
			t.Errorf("%s: urgent %v by %d, want %v by %d", row.name, urgent, deadline, row.urgent, c.ExpiresAt)
		}
	}
	var requests []settlement.BlockTx
	for _, ref := range ending[1:4] {
		requests = append(requests, b.checked(0, &channel.RequestClose{Channel: ref}))
	}
	b.block(requests...)
	batch := b.batch(1, b.voucher(ending[1], 0, 10), b.voucher(ending[2], 0, 10), b.voucher(ending[3], 0, 10))
	tx := b.checked(1, batch)
	if urgent, deadline := settlement.Urgent(b.view, b.height+1, &tx.Tx); !urgent || deadline == 0 || deadline > b.clock()+4 {
		t.Errorf("closing channels: urgent %v by %d at %d", urgent, deadline, b.clock())
	}
	if malformed := (chain.Tx{Kind: chain.KindSettle, Payload: make([]byte, 30)}); settlement.Fee(b.params, &malformed) != b.params.TxFee {
		t.Error("the fee of what is malformed")
	}
}
