package client_test

import (
	"errors"
	"testing"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
)

// impoverished is a network that makes blocks by hand, and an account that can
// pay one transfer of one payment.
func impoverished(t *testing.T) (n *network, c *client.Client, poor pay.Identity, resume func()) {
	t.Helper()
	n = newNetwork(t)
	c = n.client(t)
	poor = identityOf(50)
	if _, err := c.Account(identityOf(0)).Transfer(within(t), settlement.Payment{To: poor.Address, Amount: poorMoney(n)}); err != nil {
		t.Fatal(err)
	}
	return n, c, poor, n.byHand()
}

func poorMoney(n *network) ledger.Amount { return 5 * n.gen.Params.TxFee }

// spend is a transfer of all that the poor account has, at a nonce that its next
// transactions do not use.
func spend(n *network) []byte {
	p := settlement.Transfer{Payments: []settlement.Payment{{To: identityOf(1).Address, Amount: poorMoney(n) - n.gen.Params.TxFee}}}
	return chain.SignTx(n.exec.Domain(), keyOf(50), chain.TxFields{
		Kind: chain.KindTransfer, Zone: zone, Nonce: 200, MaxFee: fortune, Payload: p.Encode(),
	})
}

// fund pays poor by a transaction of nobody's making that the client knows of.
func fund(n *network, to ledger.Address) []byte {
	p := settlement.Transfer{Payments: []settlement.Payment{{To: to, Amount: ledger.DropsPerCoin}}}
	return chain.SignTx(n.exec.Domain(), keyOf(2), chain.TxFields{
		Kind: chain.KindTransfer, Zone: zone, Nonce: 200, MaxFee: fortune, Payload: p.Encode(),
	})
}

func TestWaitDoesNotTakeARefusalForTheOutcome(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		funded bool
	}{
		{"the reason lasts", false},
		{"the reason has passed", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			n, c, poor, resume := impoverished(t)
			payment := settlement.Transfer{Payments: []settlement.Payment{{To: identityOf(1).Address, Amount: 1}}}
			tx, err := c.Account(poor).Send(within(t), chain.KindTransfer, payment.Encode())
			if err != nil {
				t.Fatal(err)
			}
			n.apply([][]byte{chain.EncodeRecords([][]byte{spend(n), tx.Raw()})})
			s, err := c.WaitFor(within(t), tx.Hash(), client.StageFinal)
			if err != nil || s.Stage != client.StageRefused || s.Receipt.Code != chain.CodeInsufficientBalance || s.Height != n.height() {
				t.Fatalf("WaitFor = %+v, %v", s, err)
			}
			if row.funded {
				n.apply([][]byte{chain.EncodeRecords([][]byte{fund(n, poor.Address)})})
			}
			resume()
			s, err = tx.Wait(within(t))
			if row.funded {
				if err != nil || s.Stage != client.StageFinal || s.Receipt.Code != chain.CodeOK {
					t.Errorf("Wait = %+v, %v", s, err)
				}
				return
			}
			unknown, ok := errors.AsType[*client.UnknownOutcomeError](err)
			if !ok || unknown.Hash != tx.Hash() || !errors.Is(err, chain.CodeInsufficientBalance.Err()) {
				t.Errorf("Wait: %v, want an unknown outcome for want of money", err)
			}
		})
	}
}

func TestAStreamDoesNotTakeARefusalForTheOutcome(t *testing.T) {
	t.Parallel()
	n, c, poor, resume := impoverished(t)
	resume()
	payer, payee := c.Account(identityOf(0)), identityOf(1)
	key := keyOf(1 << 20)
	open := channel.OpenParams{
		Payee: payee.Address, VoucherKey: key.Public(), Deposit: 100_000,
		ExpiresAt: n.height() + 10_000, Challenge: n.gen.Params.DefaultChallenge,
	}
	channels, _, err := payer.OpenChannels(within(t), []channel.OpenParams{open})
	if err != nil {
		t.Fatal(err)
	}
	e := channel.Entry{Index: channels[0].Index, Claim: channel.ClaimVoucher, Cumulative: 7}
	e.Signature = key.Sign(e.Signed(n.exec.Domain(), channels[0].ID))
	stream, end := runStream(t, c)
	defer end()
	defer n.byHand()()
	done := make(chan error, 1)
	go func() {
		_, err := c.Account(poor).Over(stream).Settle(within(t), channel.Batch{Payee: payee.Address, Entries: []channel.Entry{e}})
		done <- err
	}()
	until(t, "the settlement waits", func() bool { return n.pending() == 1 })
	n.mu.Lock()
	n.applyLocked([][]byte{chain.EncodeRecords([][]byte{spend(n)}), n.mempool[0]})
	n.mu.Unlock()
	err = <-done
	if _, ok := errors.AsType[*client.UnknownOutcomeError](err); !ok || !errors.Is(err, chain.CodeInsufficientBalance.Err()) {
		t.Errorf("Settle: %v, want an unknown outcome for want of money", err)
	}
}
