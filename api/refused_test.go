package api_test

import (
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	chainv1 "github.com/tributary-network/tributary/proto/tributary/chain/v1"
	nodev1 "github.com/tributary-network/tributary/proto/tributary/node/v1"
	settlementv1 "github.com/tributary-network/tributary/proto/tributary/settlement/v1"
)

// block makes a block of these records, whatever Check would say.
func (w *world) block(records ...[]byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.apply([][]byte{chain.EncodeRecords(records)})
}

// submitTx submits raw and waits until it is final.
func (w *world) submitTx(raw []byte) (*chainv1.Transaction, error) {
	resp, err := w.nodes().SubmitTransaction(w.ctx(), &nodev1.SubmitTransactionRequest{SignedTx: raw, WaitFor: chainv1.Stage_STAGE_FINAL})
	return resp.GetTransaction(), err
}

// lookUp returns what the server says of raw.
func (w *world) lookUp(raw []byte) *chainv1.Transaction {
	w.t.Helper()
	resp, err := w.nodes().GetTransaction(w.ctx(), &nodev1.GetTransactionRequest{Name: api.TransactionName(w.hashOf(raw))})
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.GetTransaction()
}

func TestATransactionThatABlockDidNotExecuteIsNotFinal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	nobody := accountOf(77)
	until := w.height() + 100
	p := settlement.Transfer{Payments: []settlement.Payment{{To: w.other.addr, Amount: 5}}}
	raw := chain.SignTx(w.domain, nobody.key, chain.TxFields{
		Kind: chain.KindTransfer, Zone: zone, MaxFee: fortune, ValidUntil: until, Payload: p.Encode(),
	})
	w.block(raw)
	at := w.height()
	got := w.lookUp(raw)
	if got.GetStage() != chainv1.Stage_STAGE_REFUSED || got.GetCode() != chainv1.Code_CODE_ACCOUNT_NOT_FOUND ||
		got.GetHeight() != at || got.GetValidUntil() != until || got.GetFee() != 0 || got.GetBlockTime() == nil {
		t.Errorf("refused: %v", got)
	}
	if _, err := w.submitTx(raw); err == nil {
		t.Error("accepted while the reason lasts")
	} else {
		wantProblem(t, err, codes.NotFound, "ACCOUNT_NOT_FOUND")
	}
	if tx, err := w.submitTx(w.transfer(w.payer, nobody.addr, 1_000)); err != nil || tx.GetCode() != chainv1.Code_CODE_OK {
		t.Fatalf("money: %v, %v", tx, err)
	}
	if got, err := w.submitTx(raw); err != nil || got.GetStage() != chainv1.Stage_STAGE_FINAL || got.GetCode() != chainv1.Code_CODE_OK || got.GetHeight() <= at {
		t.Errorf("sent again when the reason had passed: %v, %v", got, err)
	}
	list, err := w.nodes().ListTransactions(w.ctx(), &nodev1.ListTransactionsRequest{Signer: nobody.addr.String()})
	if txs := list.GetTransactions(); err != nil || len(txs) != 2 ||
		txs[0].GetStage() != chainv1.Stage_STAGE_FINAL || txs[1].GetStage() != chainv1.Stage_STAGE_REFUSED {
		t.Errorf("list: %v, %v", list, err)
	}
}

func TestASettlementThatABlockDidNotExecuteIsNotProved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.openLot(2, 100_000, w.later())
	raw := w.tx(accountOf(77), chain.KindSettle, l.batch(0, 2, 5).Encode())
	w.block(raw)
	name := api.SettlementName(w.hashOf(raw))
	got, err := w.settlements().GetSettlement(w.ctx(), &settlementv1.GetSettlementRequest{Name: name})
	tx := got.GetSettlement().GetTransaction()
	if err != nil || tx.GetStage() != chainv1.Stage_STAGE_REFUSED || tx.GetCode() != chainv1.Code_CODE_ACCOUNT_NOT_FOUND || got.GetSettlement().GetEntries() != 0 {
		t.Errorf("refused: %v, %v", got, err)
	}
	_, err = w.settlements().GetSettlementProof(w.ctx(), &settlementv1.GetSettlementProofRequest{Name: name})
	wantProblem(t, err, codes.FailedPrecondition, api.ReasonProofUnavailable)
}

func TestAStreamTellsThatABlockDidNotExecute(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.openLot(2, 100_000, w.later())
	poor := accountOf(78)
	fee := settlement.Fee(w.gen.Params, &chain.Tx{Kind: chain.KindSettle, Payload: l.batch(0, 2, 5).Encode()})
	if _, err := w.submitTx(w.transfer(w.payer, poor.addr, fee)); err != nil {
		t.Fatal(err)
	}
	defer w.byHand()()
	st := w.openStream(hello(newID()))
	raw := w.tx(poor, chain.KindSettle, l.batch(0, 2, 5).Encode())
	st.item(1, raw)
	if u := st.next().GetUpdate(); u.GetSettlement().GetTransaction().GetStage() != chainv1.Stage_STAGE_CHECKED {
		t.Fatalf("at first: %v", u)
	}
	w.block(w.transfer(poor, w.other.addr, fee-w.gen.Params.TxFee), raw)
	u := st.next().GetUpdate()
	if tx := u.GetSettlement().GetTransaction(); tx.GetStage() != chainv1.Stage_STAGE_REFUSED || tx.GetCode() != chainv1.Code_CODE_INSUFFICIENT_BALANCE {
		t.Errorf("when a block did not execute it: %v", u)
	}
	hash := w.hashOf(raw)
	st.track(2, hash[:])
	if tx := st.next().GetUpdate().GetSettlement().GetTransaction(); tx.GetStage() != chainv1.Stage_STAGE_REFUSED {
		t.Errorf("tracked: %v", tx)
	}
	// With money the same bytes are executed, as another item.
	w.block(w.transfer(w.payer, poor.addr, ledger.DropsPerCoin))
	st.item(3, raw)
	if tx := st.next().GetUpdate().GetSettlement().GetTransaction(); tx.GetStage() != chainv1.Stage_STAGE_CHECKED {
		t.Fatalf("sent again: %v", tx)
	}
	w.block(raw)
	if u := st.next().GetUpdate(); u.GetClientSeq() != 3 || u.GetSettlement().GetTransaction().GetStage() != chainv1.Stage_STAGE_FINAL || u.GetSettlement().GetApplied() != 2 {
		t.Errorf("executed: %v", u)
	}
}
