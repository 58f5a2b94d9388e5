package exec_test

import (
	"errors"
	"math"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
)

// Accounts of these tests.
const (
	rich    = 0
	stepper = 1 // rich; uses nonces in order
	poor    = 2 // has money for three payments with their fees
	nobody  = 3 // has no account
)

// openEnded is a chain with one block, in which poor got its money.
func openEnded(t *testing.T, params settlement.Params) *node {
	t.Helper()
	n := newNode(t, &network{}, genesisOf(2, params), exec.Config{}, true)
	pays := accountOf(rich).txAt(n.exec.Domain(), 0, chain.KindTransfer, transfer(keyOf(poor).Address(zone), 3*params.TxFee+3))
	n.include(pays)
	return n
}

// include makes a block of these records, whatever Check would say, and returns
// their statuses.
func (n *node) include(records ...[]byte) []exec.Status {
	n.t.Helper()
	n.net.apply(n.t, [][]byte{chain.EncodeRecords(records)})
	statuses := make([]exec.Status, len(records))
	for i, raw := range records {
		var err error
		if statuses[i], err = n.exec.Status(chain.TxHash(raw)); err != nil {
			n.t.Fatalf("record %d of the block: %v", i, err)
		}
	}
	return statuses
}

func signed(d chain.Domain, who int, f chain.TxFields) []byte {
	f.Zone = zone
	if f.Kind == 0 {
		f.Kind, f.Payload = chain.KindTransfer, transfer(keyOf(stepper).Address(zone), 1)
	}
	return chain.SignTx(d, keyOf(who), f)
}

func TestAReceiptWithoutEffectIsFinalOnlyIfItIsTheLastWord(t *testing.T) {
	t.Parallel()
	params := settlement.LocalParams()
	enough := 1_000 * params.TxFee
	atomic := channel.Batch{Payee: keyOf(nobody).Address(zone), Mode: channel.Atomic, Entries: []channel.Entry{{Index: 7, Claim: channel.ClaimVoucher, Cumulative: 1}}}
	for _, row := range []struct {
		name  string
		who   int
		tx    chain.TxFields
		code  chain.Code
		stage exec.Stage
	}{
		{"no account yet", nobody, chain.TxFields{MaxFee: enough}, chain.CodeAccountNotFound, exec.StageRefused},
		{"money enough", poor, chain.TxFields{MaxFee: enough, Payload: payments(2).Encode(), Kind: chain.KindTransfer}, chain.CodeOK, exec.StageFinal},
		{"no money for the fee", poor, chain.TxFields{MaxFee: enough, Payload: payments(5).Encode(), Kind: chain.KindTransfer}, chain.CodeInsufficientBalance, exec.StageRefused},
		{"no money for the batch of another", poor, chain.TxFields{MaxFee: enough, Payload: large(&atomic, 9).Encode(), Kind: chain.KindSettle}, chain.CodeInsufficientBalance, exec.StageRefused},
		{"nonce beyond the window", rich, chain.TxFields{Nonce: 1 + chain.NonceWindow, MaxFee: enough}, chain.CodeNonceTooHigh, exec.StageRefused},
		{"nonce that no account can use", rich, chain.TxFields{Nonce: math.MaxUint64, MaxFee: enough}, chain.CodeNonceTooHigh, exec.StageFinal},
		{"nonce used by another", rich, chain.TxFields{Nonce: 0, MaxFee: enough}, chain.CodeNonceUsed, exec.StageFinal},
		{"expired", rich, chain.TxFields{Nonce: 9, ValidUntil: 1, MaxFee: enough}, chain.CodeExpired, exec.StageFinal},
		{"no account, last block past", nobody, chain.TxFields{ValidUntil: 2, MaxFee: enough}, chain.CodeAccountNotFound, exec.StageFinal},
		{"fee above max_fee", rich, chain.TxFields{Nonce: 9, MaxFee: params.TxFee - 1}, chain.CodeFeeTooLow, exec.StageFinal},
		{"no such payload", rich, chain.TxFields{Nonce: 9, MaxFee: enough, Kind: chain.KindTransfer, Payload: append(transfer(keyOf(9).Address(zone), 1), 0)}, chain.CodeMalformed, exec.StageFinal},
		{"fee paid, money too little", rich, chain.TxFields{Nonce: 9, MaxFee: enough, Kind: chain.KindTransfer, Payload: transfer(keyOf(9).Address(zone), 2*fortune)}, chain.CodeInsufficientBalance, exec.StageFinal},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			n := openEnded(t, params)
			raw := signed(n.exec.Domain(), row.who, row.tx)
			s := n.include(raw)[0]
			if s.Receipt.Code != row.code || s.Stage != row.stage || s.Height != 2 {
				t.Errorf("%v %v in block %d, want %v %v in block 2", s.Stage, s.Receipt.Code, s.Height, row.stage, row.code)
			}
			if row.stage == exec.StageRefused && s.ValidUntil != row.tx.ValidUntil {
				t.Errorf("valid until %d, want %d", s.ValidUntil, row.tx.ValidUntil)
			}
			waited, err := n.exec.Wait(t.Context(), s.Hash, exec.StageFinal)
			if err != nil || waited.Stage != row.stage {
				t.Errorf("Wait = %v, %v", waited.Stage, err)
			}
			n.listed(t, row.who, s.Stage)
		})
	}
}

// listed wants the newest transaction that who signed at stage.
func (n *node) listed(t *testing.T, who int, stage exec.Stage) {
	t.Helper()
	page, _, err := n.exec.ListTxs(exec.TxFilter{Account: keyOf(who).Address(zone)}, nil, 10)
	if err != nil || len(page) == 0 || page[0].Stage != stage {
		t.Errorf("ListTxs = %+v, %v, want the newest one %v", page, err, stage)
	}
}

// payments is a transfer with n payments, which costs n fees.
func payments(n int) *settlement.Transfer {
	p := new(settlement.Transfer)
	for i := range n {
		p.Payments = append(p.Payments, settlement.Payment{To: keyOf(100 + i).Address(zone), Amount: 1})
	}
	return p
}

// large returns b with n entries like its first.
func large(b *channel.Batch, n int) *channel.Batch {
	first := b.Entries[0]
	for i := 1; i < n; i++ {
		e := first
		e.Index += uint64(i)
		b.Entries = append(b.Entries, e)
	}
	return b
}

func TestARefusedRecordMayExecuteLater(t *testing.T) {
	t.Parallel()
	n := openEnded(t, settlement.LocalParams())
	d := n.exec.Domain()
	raw := signed(d, nobody, chain.TxFields{MaxFee: fortune})
	if s := n.include(raw)[0]; s.Stage != exec.StageRefused {
		t.Fatalf("from no account: %v", s.Stage)
	}
	n.include(accountOf(rich).txAt(d, 1, chain.KindTransfer, transfer(keyOf(nobody).Address(zone), 1_000)))
	if s := n.submit(raw); s.Stage != exec.StageChecked {
		t.Fatalf("sent again: %v", s.Stage)
	}
	n.await()
	n.step()
	s, err := n.exec.Status(chain.TxHash(raw))
	if err != nil || s.Stage != exec.StageFinal || s.Receipt.Code != chain.CodeOK || s.Height != 4 {
		t.Errorf("after the second time: %+v, %v", s, err)
	}
	if again := n.submit(raw); again.Stage != exec.StageFinal || again.Height != 4 {
		t.Errorf("sent a third time: %+v", again)
	}
	page, _, err := n.exec.ListTxs(exec.TxFilter{Account: keyOf(nobody).Address(zone)}, nil, 10)
	if err != nil || len(page) != 2 || page[0].Stage != exec.StageFinal || page[1].Stage != exec.StageRefused {
		t.Errorf("ListTxs = %+v, %v, want it FINAL and, before that, REFUSED", page, err)
	}
}

func TestARefusedRecordIsOverWhenItCannotExecute(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name       string
		validUntil uint64
		then       func(n *node)
	}{
		{"its last block is past", 3, func(n *node) { n.net.apply(n.t, nil) }},
		{"another record used its nonce", 0, func(n *node) {
			d := n.exec.Domain()
			n.include(accountOf(rich).txAt(d, 1, chain.KindTransfer, transfer(keyOf(nobody).Address(zone), 1_000)))
			other := signed(d, nobody, chain.TxFields{MaxFee: fortune - 1})
			if s, _ := n.exec.Status(chain.TxHash(signed(d, nobody, chain.TxFields{MaxFee: fortune}))); s.Stage != exec.StageRefused {
				n.t.Errorf("before another uses its nonce: %v", s.Stage)
			}
			n.include(other)
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			n := openEnded(t, settlement.LocalParams())
			raw := signed(n.exec.Domain(), nobody, chain.TxFields{MaxFee: fortune, ValidUntil: row.validUntil})
			if s := n.include(raw)[0]; s.Stage != exec.StageRefused || s.ValidUntil != row.validUntil {
				t.Fatalf("at first: %v, valid until %d", s.Stage, s.ValidUntil)
			}
			row.then(n)
			reopened := &node{t: t, net: n.net, store: n.store, gen: n.gen}
			reopened.open(exec.Config{})
			for name, e := range map[string]*exec.Main{"running": n.exec, "restarted": reopened.exec} {
				s, err := e.Status(chain.TxHash(raw))
				if err != nil || s.Stage != exec.StageFinal || s.Receipt.Code != chain.CodeAccountNotFound || s.Height != 2 || s.ValidUntil != 0 {
					t.Errorf("%s node: %+v, %v, want FINAL as block 2 said", name, s, err)
				}
			}
			n.listed(t, nobody, n.newest(nobody))
		})
	}
}

// newest returns the stage of the newest transaction that who signed.
func (n *node) newest(who int) exec.Stage {
	page, _, err := n.exec.ListTxs(exec.TxFilter{Account: keyOf(who).Address(zone)}, nil, 1)
	if err != nil || len(page) == 0 {
		n.t.Fatalf("ListTxs: %v", err)
	}
	return page[0].Stage
}

// A block that is not durable yet is no word on a record that it does not execute,
// and one that repeats a record takes nothing back.
func TestWhatABlockDoesNotExecuteIsNotIncluded(t *testing.T) {
	t.Parallel()
	n := openEnded(t, settlement.LocalParams())
	d := n.exec.Domain()
	refused := signed(d, nobody, chain.TxFields{MaxFee: fortune})
	done := accountOf(rich).txAt(d, 0, chain.KindTransfer, transfer(keyOf(poor).Address(zone), 3*n.exec.Params().TxFee+3))
	late := signed(d, rich, chain.TxFields{MaxFee: fortune, Nonce: 5, ValidUntil: 1})
	if _, err := n.exec.Finalize(blockAt(&n.gen, 2, [][]byte{chain.EncodeRecords([][]byte{refused, done, late})})); err != nil {
		t.Fatal(err)
	}
	if s, err := n.exec.Status(chain.TxHash(refused)); !errors.Is(err, exec.ErrUnknown) {
		t.Errorf("refused by a block that is not durable: %+v, %v", s, err)
	}
	if s, err := n.exec.Status(chain.TxHash(done)); err != nil || s.Stage != exec.StageFinal || s.Height != 1 {
		t.Errorf("repeated by a block that is not durable: %+v, %v", s, err)
	}
	if s, err := n.exec.Status(chain.TxHash(late)); err != nil || s.Stage != exec.StageIncluded || s.Receipt.Code != chain.CodeExpired {
		t.Errorf("expired in a block that is not durable: %+v, %v", s, err)
	}
	if _, err := n.exec.Commit(); err != nil {
		t.Fatal(err)
	}
	for raw, want := range map[string]exec.Stage{string(refused): exec.StageRefused, string(done): exec.StageFinal, string(late): exec.StageFinal} {
		if s, err := n.exec.Status(chain.TxHash([]byte(raw))); err != nil || s.Stage != want {
			t.Errorf("after the commit: %+v, %v, want %v", s, err, want)
		}
	}
}

// A record that waits here and comes into a block without effect wakes its waiter.
func TestWaitSeesARefusal(t *testing.T) {
	t.Parallel()
	n := openEnded(t, settlement.LocalParams())
	d := n.exec.Domain()
	raw := signed(d, poor, chain.TxFields{MaxFee: fortune})
	hash := n.submit(raw).Hash
	n.await()
	waits := make(chan exec.Status, 1)
	go func() {
		s, err := n.exec.Wait(t.Context(), hash, exec.StageFinal)
		if err != nil {
			t.Error(err)
		}
		waits <- s
	}()
	spends := signed(d, poor, chain.TxFields{MaxFee: fortune, Nonce: 1, Kind: chain.KindTransfer, Payload: payments(3).Encode()})
	n.net.apply(t, [][]byte{chain.EncodeRecords([][]byte{spends, raw})})
	if s := <-waits; s.Stage != exec.StageRefused || s.Receipt.Code != chain.CodeInsufficientBalance {
		t.Errorf("Wait = %+v", s)
	}
	if stats := n.exec.Stats(); stats.PendingRecords != 0 || stats.PoolRecords != 0 {
		t.Errorf("it is still pursued: %+v", stats)
	}
}
