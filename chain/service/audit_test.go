package service_test

import (
	"errors"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/service"
)

// busy is a shard with a bit of everything in its state.
func busy(t *testing.T) (*shard, *account) {
	t.Helper()
	s := newShard(t, smallParams(), wholeZone(0))
	home := newAccount(1, keyOf("payer", 0), keyOf("payee", 0), 0, 0, 1_000)
	away := newAccount(2, keyOf("payer", 1), keyOf("payee", 1), 0, 1, 1_000)
	gone := newAccount(3, keyOf("payer", 2), keyOf("payee", 0), 0, 0, 1_000)
	s.main(home.opened(), away.opened(), gone.opened())
	res := s.block(service.Block{Txs: []service.BlockTx{
		booking(t, item{home, home.voucher(0, 10, 2)}, item{home, home.voucher(7, 10, 2)}), booking(t, item{away, away.voucher(0, 9, 2)}),
		booking(t, item{gone, gone.voucher(0, 9, 2)}),
	}})
	s.block(service.Block{Epoch: &service.EpochStart{Epoch: 1}})
	m := res.Messages[0]
	s.main(gone.closed())
	s.block(service.Block{
		Inbox: []service.Inbound{{From: m.To, To: m.From, Kind: m.Kind, Payload: m.Payload, Fate: service.Bounced}},
		Txs:   []service.BlockTx{booking(t, item{home, home.voucher(0, 20, 2)}), booking(t, item{away, away.voucher(1, 5, 2)})},
		Send:  func(service.Message) bool { return false },
	})
	return s, home
}

// TestAuditFinds: a row that is changed behind the rules' back is found.
func TestAuditFinds(t *testing.T) {
	t.Parallel()
	s, _ := busy(t)
	if _, err := service.Audit(s.view); err != nil {
		t.Fatal(err)
	}
	tables := map[byte]bool{}
	for key, value := range s.view.Range([]byte{'B'}) {
		tables[key[2]] = true
		spoiled := s.view.clone()
		spoiled.apply(chain.Changes{{Key: key}})
		if _, err := service.Audit(spoiled); !errors.Is(err, service.ErrNotConserved) {
			t.Errorf("without row %x: %v", key, err)
		}
		if key[2] == 'M' || key[2] == 'P' {
			continue
		}
		b := append([]byte(nil), value...)
		at := map[byte]int{'C': 106 + 24 + 7, 'L': 7, 'E': 7, 'R': 7}[key[2]] // the lowest byte of an amount
		b[at] ^= 1
		spoiled = s.view.clone()
		spoiled.apply(chain.Changes{{Key: key, Value: b}})
		if _, err := service.Audit(spoiled); !errors.Is(err, service.ErrNotConserved) {
			t.Errorf("row %x with another amount: %v", key, err)
		}
	}
	for key, value := range s.view.Range([]byte{'B'}) {
		if key[2] != 'L' && key[2] != 'M' && key[2] != 'P' {
			continue
		}
		orphan := append([]byte(nil), key...)
		orphan[len(orphan)-1] = 60 // a lane that nobody used
		if key[2] == 'L' {
			value = make([]byte, len(value))
		}
		spoiled := s.view.clone()
		spoiled.apply(chain.Changes{{Key: orphan, Value: value}})
		if _, err := service.Audit(spoiled); !errors.Is(err, service.ErrNotConserved) {
			t.Errorf("with a row %x too many: %v", orphan, err)
		}
	}
	for _, table := range "CLMPER" {
		if !tables[byte(table)] {
			t.Errorf("the state has no row of table %c", table)
		}
	}
	for key, value := range s.view.Range([]byte{'w'}) {
		tables['w'] = true
		b := append([]byte(nil), value...)
		b[7] ^= 1
		spoiled := s.view.clone()
		spoiled.apply(chain.Changes{{Key: key, Value: b}})
		if _, err := service.Audit(spoiled); !errors.Is(err, service.ErrNotConserved) {
			t.Errorf("row %x with another amount: %v", key, err)
		}
	}
	if !tables['w'] {
		t.Error("nothing waits in the state")
	}
}

// TestBlockThatDoesNotAddUpHalts: each row spoils one thing of a sound block, and
// the check of the block, which takes time proportional to it, finds it.
func TestBlockThatDoesNotAddUpHalts(t *testing.T) {
	t.Parallel()
	s, home := busy(t)
	away := newAccount(9, keyOf("payer", 4), keyOf("payee", 1), 0, 1, 1_000)
	s.main(away.opened())
	b := service.Block{
		Height: s.height + 1,
		Inbox:  []service.Inbound{earnings(home.payeeAddress(), 1, goldenSums(3)), redeemed(home.home(), channel.LaneTotal{Index: 1, Redeemed: 1})},
		Txs:    []service.BlockTx{booking(t, item{home, home.voucher(7, 11, 2)}), booking(t, item{away, away.voucher(0, 11, 2)})},
	}
	before := service.ReadTotals(s.view)
	amount := func(c chain.Change, at int) chain.Change {
		v := append([]byte(nil), c.Value...)
		v[at+7] ^= 1
		return chain.Change{Key: c.Key, Value: v}
	}
	rowAt := func(changes chain.Changes, table byte, at int) {
		for i := range changes {
			if changes[i].Key[0] == 'B' && changes[i].Key[2] == table {
				changes[i] = amount(changes[i], at)
				return
			}
		}
		t.Fatalf("no row of table %c", table)
	}
	for _, row := range []struct {
		name  string
		spoil func(chain.Changes, *service.Result)
		sound bool
	}{
		{"sound", func(chain.Changes, *service.Result) {}, true},
		{"channel", func(c chain.Changes, _ *service.Result) { rowAt(c, 'C', 130) }, false},
		{"lane", func(c chain.Changes, _ *service.Result) { rowAt(c, 'L', 0) }, false},
		{"lane 0", func(c chain.Changes, _ *service.Result) { rowAt(c, 'C', 162) }, false},
		{"provider", func(c chain.Changes, _ *service.Result) { rowAt(c, 'E', 0) }, false},
		{"units of a channel", func(c chain.Changes, _ *service.Result) { rowAt(c, 'C', 138) }, false},
		{"deposit below what is booked", func(c chain.Changes, _ *service.Result) {
			for i := range c {
				if c[i].Key[0] == 'B' && c[i].Key[2] == 'C' {
					v := append([]byte(nil), c[i].Value...)
					clear(v[106:114])
					c[i].Value = v
				}
			}
		}, false},
		{"receipt", func(_ chain.Changes, r *service.Result) { r.Receipts[0].Booked.Amount++ }, false},
		{"message", func(_ chain.Changes, r *service.Result) { r.Messages = nil }, false},
		{"import", func(_ chain.Changes, r *service.Result) { r.Imports[0].Code = chain.CodeWrongShard }, false},
		{"booked", func(_ chain.Changes, r *service.Result) { r.Totals.Booked.Work++ }, false},
		{"sent", func(_ chain.Changes, r *service.Result) { r.Totals.Sent.Units++ }, false},
		{"returned", func(_ chain.Changes, r *service.Result) { r.Totals.Returned.Amount++ }, false},
		{"stuck", func(_ chain.Changes, r *service.Result) { r.Totals.Stuck.Amount++ }, false},
		{"waiting", func(_ chain.Changes, r *service.Result) { r.Totals.Waiting.Amount++ }, false},
		{"channels", func(_ chain.Changes, r *service.Result) { r.Totals.Channels++ }, false},
	} {
		changes, res := s.try(b)
		row.spoil(changes, &res)
		if err := service.Conserved(s.view, changes, b.Inbox, &res, &before); (err == nil) != row.sound || err != nil && !errors.Is(err, service.ErrNotConserved) {
			t.Errorf("%s: %v", row.name, err)
		}
	}
	sound := before
	sound.Booked.Amount++
	if err := service.Conserved(s.view, nil, nil, &service.Result{Totals: sound}, &sound); !errors.Is(err, service.ErrNotConserved) {
		t.Errorf("totals that do not balance: %v", err)
	}
}
