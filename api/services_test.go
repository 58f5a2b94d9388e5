package api_test

import (
	"bytes"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/merkle"
	"github.com/tributary-network/tributary/ledger/stateproof"
	accountv1 "github.com/tributary-network/tributary/proto/tributary/account/v1"
	chainv1 "github.com/tributary-network/tributary/proto/tributary/chain/v1"
	channelv1 "github.com/tributary-network/tributary/proto/tributary/channel/v1"
	nodev1 "github.com/tributary-network/tributary/proto/tributary/node/v1"
	settlementv1 "github.com/tributary-network/tributary/proto/tributary/settlement/v1"
)

func TestChannelLife(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	params := channel.OpenParams{
		Payee: w.payee.addr, VoucherKey: keyOf(9).Public(), Deposit: 10_000, ExpiresAt: w.later(),
		Challenge: w.gen.Params.DefaultChallenge, Service: 1, Terms: ledger.Hash{5},
	}
	open := channel.Open{Channels: []channel.OpenParams{params}}
	id := channel.ID(w.domain, w.payer.addr, w.payer.nonce, 0, &params)
	opened, err := w.channels().OpenChannels(w.ctx(), &channelv1.OpenChannelsRequest{
		Transaction: &channelv1.OpenChannelsRequest_Open{Open: &channelv1.OpenChannels{
			Channels: []*channelv1.OpenParams{renderOpen(&params)},
			Envelope: w.envelope(w.payer, chain.KindOpenChannels, open.Encode()),
		}},
		WaitFor: chainv1.Stage_STAGE_FINAL,
	})
	if err != nil || len(opened.GetNames()) != 1 || opened.GetNames()[0] != api.ChannelName(id) || opened.GetTransaction().GetChannelsOpened() != 1 {
		t.Fatalf("open: %v, %v", opened, err)
	}
	name := opened.GetNames()[0]
	ref := channel.Ref{Index: opened.GetTransaction().GetFirstChannelIndex(), ID: id}

	top := channel.TopUp{Channel: ref, NewTotal: 20_000}
	topped, err := w.channels().TopUp(w.ctx(), &channelv1.TopUpRequest{
		Transaction: &channelv1.TopUpRequest_TopUp{TopUp: &channelv1.TopUp{
			Name: name, NewDepositTotal: 20_000, Envelope: w.envelope(w.other, chain.KindTopUp, top.Encode()),
		}},
		WaitFor: chainv1.Stage_STAGE_FINAL,
	})
	if err != nil || topped.GetTransaction().GetCode() != chainv1.Code_CODE_OK {
		t.Fatalf("top-up: %v, %v", topped, err)
	}
	ext := channel.Extend{Channel: ref, NewExpiry: params.ExpiresAt + 50}
	extended, err := w.channels().Extend(w.ctx(), &channelv1.ExtendRequest{
		Transaction: &channelv1.ExtendRequest_Extend{Extend: &channelv1.Extend{
			Name: name, NewExpiresAt: params.ExpiresAt + 50, Envelope: w.envelope(w.payer, chain.KindExtend, ext.Encode()),
		}},
		WaitFor: chainv1.Stage_STAGE_FINAL,
	})
	if err != nil || extended.GetTransaction().GetCode() != chainv1.Code_CODE_OK {
		t.Fatalf("extend: %v, %v", extended, err)
	}
	got, err := w.channels().GetChannel(w.ctx(), &channelv1.GetChannelRequest{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	c := got.GetChannel()
	if c.GetState() != channelv1.ChannelState_CHANNEL_STATE_OPEN || c.GetDepositTotal() != 20_000 || c.GetExpiresAt() != params.ExpiresAt+50 ||
		c.GetPayer() != w.payer.addr.String() || c.GetServiceId() != 1 || c.GetIndex() != ref.Index || got.GetSettlementClock() == 0 {
		t.Errorf("channel %v", got)
	}
	cl := channel.RequestClose{Channel: ref}
	closing, err := w.channels().RequestClose(w.ctx(), &channelv1.RequestCloseRequest{
		Transaction: &channelv1.RequestCloseRequest_RequestClose{RequestClose: &channelv1.RequestClose{
			Name: name, Envelope: w.envelope(w.payer, chain.KindRequestClose, cl.Encode()),
		}},
		WaitFor: chainv1.Stage_STAGE_FINAL,
	})
	if err != nil || closing.GetTransaction().GetCode() != chainv1.Code_CODE_OK {
		t.Fatalf("close: %v, %v", closing, err)
	}
	_, err = w.channels().TopUp(w.ctx(), &channelv1.TopUpRequest{Transaction: &channelv1.TopUpRequest_SignedTx{
		SignedTx: w.tx(w.other, chain.KindTopUp, (&channel.TopUp{Channel: ref, NewTotal: 30_000}).Encode()),
	}})
	p := wantProblem(t, err, codes.FailedPrecondition, "CHANNEL_CLOSING")
	if p.info.GetMetadata()["deadline"] == "" {
		t.Errorf("metadata %v", p.info.GetMetadata())
	}
	if got, err = w.channels().GetChannel(w.ctx(), &channelv1.GetChannelRequest{Name: name}); err != nil || got.GetChannel().GetState() != channelv1.ChannelState_CHANNEL_STATE_CLOSING {
		t.Errorf("closing channel %v, %v", got, err)
	}

	// Both parties agree, and roll over.
	next := params
	next.Deposit, next.Terms = 4_000, ledger.Hash{}
	cc := channel.CoopClose{
		Channel: ref, Final: 1_500, ValidUntil: w.height() + 100,
		PayerKey: w.payer.key.Public(), PayeeKey: w.payee.key.Public(), Rollover: &next,
	}
	terms := cc.Terms()
	cc.PayerSig, cc.PayeeSig = w.payer.key.Sign(terms.Signed(w.domain)), w.payee.key.Sign(terms.Signed(w.domain))
	agreed, err := w.channels().CooperativeClose(w.ctx(), &channelv1.CooperativeCloseRequest{
		Transaction: &channelv1.CooperativeCloseRequest_Close{Close: &channelv1.CooperativeClose{
			Name: name, FinalCumulative: 1_500, ValidUntil: cc.ValidUntil, PayerKey: cc.PayerKey[:], PayeeKey: cc.PayeeKey[:],
			PayerSignature: cc.PayerSig[:], PayeeSignature: cc.PayeeSig[:], Rollover: renderOpen(&next),
			Envelope: w.envelope(w.payer, chain.KindCoopClose, cc.Encode()),
		}},
		WaitFor: chainv1.Stage_STAGE_FINAL,
	})
	if err != nil || agreed.GetTransaction().GetCode() != chainv1.Code_CODE_OK || agreed.GetRolloverName() == "" {
		t.Fatalf("cooperative close: %v, %v", agreed, err)
	}
	got, err = w.channels().GetChannel(w.ctx(), &channelv1.GetChannelRequest{Name: name})
	if err != nil || got.GetChannel().GetState() != channelv1.ChannelState_CHANNEL_STATE_CLOSED || got.GetChannel().GetRedeemedTotal() != 1_500 ||
		got.GetChannel().GetClosed().GetKind() != channelv1.ChannelEvent_KIND_COOP_CLOSED || got.GetChannel().GetClosed().GetHeight() != agreed.GetTransaction().GetHeight() {
		t.Errorf("closed channel %v, %v", got, err)
	}
	if got, err = w.channels().GetChannel(w.ctx(), &channelv1.GetChannelRequest{Name: agreed.GetRolloverName()}); err != nil || got.GetChannel().GetDepositTotal() != 4_000 {
		t.Errorf("next channel %v, %v", got, err)
	}
	_, err = w.channels().TopUp(w.ctx(), &channelv1.TopUpRequest{Transaction: &channelv1.TopUpRequest_TopUp{TopUp: &channelv1.TopUp{
		Name: api.ChannelName(ledger.Hash{1}), NewDepositTotal: 1, Envelope: w.envelope(w.other, chain.KindTopUp, nil),
	}}})
	wantProblem(t, err, codes.NotFound, "CHANNEL_NOT_FOUND")
}

func renderOpen(p *channel.OpenParams) *channelv1.OpenParams {
	out := &channelv1.OpenParams{
		Payee: p.Payee.String(), VoucherKey: p.VoucherKey[:], Deposit: uint64(p.Deposit), ExpiresAt: p.ExpiresAt,
		Challenge: p.Challenge, ServiceId: p.Service,
	}
	if !p.Terms.IsZero() {
		out.TermsHash = p.Terms[:]
	}
	return out
}

func TestPaging(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.openLot(120, 5_000, w.later())
	var names []string
	req := &channelv1.ListChannelsRequest{Payee: w.payee.addr.String(), PageSize: 50}
	for pages := 1; ; pages++ {
		resp, err := w.channels().ListChannels(w.ctx(), req)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range resp.GetChannels() {
			names = append(names, c.GetName())
		}
		if pages == 1 { // channels opened while paging do not come into the pages
			w.openLot(5, 5_000, w.later())
		}
		if req.PageToken = resp.GetNextPageToken(); req.GetPageToken() == "" {
			break
		}
	}
	if len(names) != len(l.ids) {
		t.Fatalf("%d channels listed, want %d", len(names), len(l.ids))
	}
	for i, id := range l.ids {
		if names[i] != api.ChannelName(id) {
			t.Fatalf("channel %d is %s, want %s", i, names[i], api.ChannelName(id))
		}
	}
	first, err := w.channels().ListChannels(w.ctx(), &channelv1.ListChannelsRequest{Payer: w.payer.addr.String(), PageSize: 3})
	if err != nil || len(first.GetChannels()) != 3 {
		t.Fatalf("%v, %v", first, err)
	}
	_, err = w.channels().ListChannels(w.ctx(), &channelv1.ListChannelsRequest{Payee: w.payee.addr.String(), PageToken: first.GetNextPageToken()})
	wantProblem(t, err, codes.InvalidArgument, api.ReasonInvalidPageToken)
	_, err = w.channels().ListChannels(w.ctx(), &channelv1.ListChannelsRequest{})
	wantProblem(t, err, codes.InvalidArgument, api.ReasonInvalidField)

	var settled []string
	for i := range 7 {
		submitter := w.payee
		if i%3 == 1 {
			submitter = w.other // a tower
		}
		req := signed(w.tx(submitter, chain.KindSettle, l.batch(0, 3, 10).Encode()))
		req.WaitFor = chainv1.Stage_STAGE_FINAL
		resp, err := w.settlements().SubmitSettlement(w.ctx(), req)
		if err != nil {
			t.Fatal(err)
		}
		settled = append([]string{resp.GetSettlement().GetName()}, settled...)
	}
	var listed []string
	for _, list := range []*settlementv1.ListSettlementsRequest{
		{Payee: w.payee.addr.String(), PageSize: 3},
		{Payee: w.payee.addr.String()},
		{Payee: w.payee.addr.String(), PageSize: 1},
	} {
		listed = nil
		for {
			resp, err := w.settlements().ListSettlements(w.ctx(), list)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range resp.GetSettlements() {
				listed = append(listed, s.GetName())
			}
			if list.PageToken = resp.GetNextPageToken(); list.GetPageToken() == "" {
				break
			}
		}
		if strings.Join(listed, " ") != strings.Join(settled, " ") {
			t.Errorf("settlements %v, want %v", listed, settled)
		}
	}
	tower, err := w.settlements().ListSettlements(w.ctx(), &settlementv1.ListSettlementsRequest{Signer: w.other.addr.String()})
	if err != nil || len(tower.GetSettlements()) != 2 {
		t.Errorf("settlements of the tower %v, %v", tower, err)
	}
	txs, err := w.nodes().ListTransactions(w.ctx(), &nodev1.ListTransactionsRequest{Signer: w.payer.addr.String()})
	if err != nil || len(txs.GetTransactions()) != 2 || txs.GetTransactions()[0].GetKind() != chainv1.Kind_KIND_OPEN_CHANNELS {
		t.Errorf("transactions of the payer %v, %v", txs, err)
	}
	blocks, err := w.nodes().ListBlocks(w.ctx(), &nodev1.ListBlocksRequest{PageSize: 2})
	if err != nil || len(blocks.GetBlocks()) != 2 || blocks.GetBlocks()[0].GetName() != api.BlockName(w.height()) {
		t.Fatalf("blocks %v, %v", blocks, err)
	}
	more, err := w.nodes().ListBlocks(w.ctx(), &nodev1.ListBlocksRequest{PageSize: 100, PageToken: blocks.GetNextPageToken()})
	if err != nil || len(more.GetBlocks()) != int(w.height())-2 || more.GetNextPageToken() != "" {
		t.Errorf("%d more blocks of %d, %v", len(more.GetBlocks()), w.height(), err)
	}
}

func TestProofs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	schema, err := stateproof.NewSchema(settlement.Tables())
	if err != nil {
		t.Fatal(err)
	}
	l := w.openLot(2, 5_000, w.later())
	req := signed(l.settle(0, 2, 100))
	req.WaitFor = chainv1.Stage_STAGE_FINAL
	settled, err := w.settlements().SubmitSettlement(w.ctx(), req)
	if err != nil {
		t.Fatal(err)
	}
	name := settled.GetSettlement().GetName()
	w.steps(2)

	proof, err := w.settlements().GetSettlementProof(w.ctx(), &settlementv1.GetSettlementProofRequest{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	receipt, err := settlement.DecodeReceipt(proof.GetReceipt())
	if err != nil || api.SettlementName(receipt.Hash) != name {
		t.Fatalf("receipt %v, %v", receipt, err)
	}
	path := make([]ledger.Hash, len(proof.GetPath()))
	for i, h := range proof.GetPath() {
		path[i] = ledger.Hash(h)
	}
	if err := merkle.Verify(ledger.Hash(proof.GetResultsRoot()), receipt.Leaf(), proof.GetLeafIndex(), proof.GetLeafCount(), path); err != nil {
		t.Error(err)
	}
	results, err := settlement.DecodeResults(proof.GetState().GetValue())
	if err != nil || results.Height != proof.GetHeight() || !bytes.Equal(results.Root[:], proof.GetResultsRoot()) {
		t.Errorf("results %+v, %v", results, err)
	}
	w.wantResults(proof.GetHeight(), proof.GetResultsRoot())
	w.wantResults(1, nil)
	w.steps(3) // so that the index answers
	w.wantResults(proof.GetHeight(), proof.GetResultsRoot())
	verifyState(t, &schema, proof.GetState())
	if proof.GetState().GetHeader().GetHeight() != proof.GetHeight()+1 {
		t.Errorf("the header is that of block %d, want %d", proof.GetState().GetHeader().GetHeight(), proof.GetHeight()+1)
	}

	ch, err := w.channels().GetChannel(w.ctx(), &channelv1.GetChannelRequest{Name: api.ChannelName(l.ids[1]), WithProof: true})
	if err != nil {
		t.Fatal(err)
	}
	verifyState(t, &schema, ch.GetProof())
	row, err := channel.Decode(ch.GetProof().GetValue())
	if err != nil || row.ID != l.ids[1] || ch.GetChannel().GetRedeemedTotal() != 100 || len(ch.GetChannel().GetLanes()) != 1 {
		t.Errorf("row %v, channel %v, %v", row, ch.GetChannel(), err)
	}
	acc, err := w.accounts().GetAccount(w.ctx(), &accountv1.GetAccountRequest{Name: api.AccountName(w.payee.addr), WithProof: true})
	if err != nil {
		t.Fatal(err)
	}
	verifyState(t, &schema, acc.GetProof())
	account, err := settlement.DecodeAccount(acc.GetProof().GetValue())
	if err != nil || account.Address != w.payee.addr || uint64(account.Balance) != acc.GetAccount().GetBalance() {
		t.Errorf("row %v, account %v, %v", account, acc.GetAccount(), err)
	}
	_, err = w.settlements().GetSettlementProof(w.ctx(), &settlementv1.GetSettlementProofRequest{Name: api.SettlementName(ledger.Hash{1})})
	wantProblem(t, err, codes.NotFound, api.ReasonTransactionNotFound)
}

// wantResults wants a block with that results root.
func (w *world) wantResults(height uint64, root []byte) {
	w.t.Helper()
	b, err := w.nodes().GetBlock(w.ctx(), &nodev1.GetBlockRequest{Name: api.BlockName(height)})
	if err != nil || !bytes.Equal(b.GetBlock().GetResultsRoot(), root) {
		w.t.Errorf("block %d: results root %x, %v, want %x", height, b.GetBlock().GetResultsRoot(), err, root)
	}
}

// verifyState checks a proof against its header's application hash.
func verifyState(t *testing.T, schema *stateproof.Schema, p *chainv1.StateProof) {
	t.Helper()
	decoded, err := stateproof.Decode(p.GetProof())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(p.GetHeader().GetAppHash(), p.GetAppHash()) {
		t.Errorf("app hash %x, in the header %x", p.GetAppHash(), p.GetHeader().GetAppHash())
	}
	if err := schema.Verify(ledger.Hash(p.GetAppHash()), p.GetKey(), p.GetValue(), decoded); err != nil {
		t.Error(err)
	}
}

func TestAccountsAndFaucet(t *testing.T) {
	t.Parallel()
	faucet := &api.Faucet{Key: keyOf(3), Zone: zone, Default: 500, Max: 10_000}
	w := newWorld(t, func(c *api.Config) { c.Faucet = faucet })
	poor := accountOf(55)
	_, err := w.accounts().GetAccount(w.ctx(), &accountv1.GetAccountRequest{Name: api.AccountName(poor.addr)})
	wantProblem(t, err, codes.NotFound, "ACCOUNT_NOT_FOUND")

	resume := w.byHand()
	req := &accountv1.RequestFaucetRequest{Recipient: poor.addr.String(), RequestId: newID()}
	one, err := w.accounts().RequestFaucet(w.ctx(), req)
	if err != nil || one.GetAmount() != 500 {
		t.Fatalf("faucet: %v, %v", one, err)
	}
	repeat, err := w.accounts().RequestFaucet(w.ctx(), req)
	if err != nil || repeat.GetTransaction().GetName() != one.GetTransaction().GetName() {
		t.Errorf("the same request gives again: %v, %v", repeat, err)
	}
	two, err := w.accounts().RequestFaucet(w.ctx(), &accountv1.RequestFaucetRequest{Recipient: poor.addr.String(), Amount: 10_000})
	if err != nil || two.GetTransaction().GetNonce() == one.GetTransaction().GetNonce() && two.GetTransaction().GetName() == one.GetTransaction().GetName() {
		t.Fatalf("another request: %v, %v", two, err)
	}
	_, err = w.accounts().RequestFaucet(w.ctx(), &accountv1.RequestFaucetRequest{Recipient: poor.addr.String(), Amount: 10_001})
	wantProblem(t, err, codes.ResourceExhausted, api.ReasonFaucetLimit)
	acc, err := w.accounts().GetAccount(w.ctx(), &accountv1.GetAccountRequest{Name: api.AccountName(keyOf(3).Address(zone))})
	if err != nil || acc.GetAccount().GetNonceFloor() != 0 || acc.GetAccount().GetNextNonce() != 2 {
		t.Errorf("with two pending: %v, %v", acc, err)
	}
	resume()
	given, err := w.accounts().RequestFaucet(w.ctx(), &accountv1.RequestFaucetRequest{Recipient: poor.addr.String(), WaitFor: chainv1.Stage_STAGE_FINAL})
	if err != nil || given.GetTransaction().GetStage() != chainv1.Stage_STAGE_FINAL {
		t.Fatalf("faucet: %v, %v", given, err)
	}
	acc, err = w.accounts().GetAccount(w.ctx(), &accountv1.GetAccountRequest{Name: api.AccountName(poor.addr)})
	if err != nil || acc.GetAccount().GetBalance() != 11_000 {
		t.Fatalf("account %v, %v", acc, err)
	}

	payload := settlement.Transfer{Payments: []settlement.Payment{{To: w.other.addr, Amount: 100}}}
	moved, err := w.accounts().Transfer(w.ctx(), &accountv1.TransferRequest{
		Transaction: &accountv1.TransferRequest_Transfer{Transfer: &accountv1.Transfer{
			Payments: []*accountv1.Payment{{Recipient: w.other.addr.String(), Amount: 100}}, Envelope: w.envelope(poor, chain.KindTransfer, payload.Encode()),
		}},
		WaitFor: chainv1.Stage_STAGE_FINAL,
	})
	if err != nil || moved.GetTransaction().GetPaid() != 100 || moved.GetTransaction().GetFee() == 0 {
		t.Fatalf("transfer: %v, %v", moved, err)
	}
	acc, err = w.accounts().GetAccount(w.ctx(), &accountv1.GetAccountRequest{Name: api.AccountName(poor.addr)})
	if err != nil || acc.GetAccount().GetBalance() != 10_900-moved.GetTransaction().GetFee() || acc.GetAccount().GetNonceFloor() != 1 {
		t.Errorf("account %v, %v", acc, err)
	}

	without := newWorld(t)
	_, err = without.accounts().RequestFaucet(without.ctx(), &accountv1.RequestFaucetRequest{Recipient: poor.addr.String()})
	wantProblem(t, err, codes.Unimplemented, api.ReasonFaucetDisabled)
}

func TestNodeService(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.openLot(4, 5_000, w.later())
	st, err := w.nodes().GetStatus(w.ctx(), &nodev1.GetStatusRequest{})
	if err != nil || len(st.GetChains()) != 1 {
		t.Fatalf("status %v, %v", st, err)
	}
	c := st.GetChains()[0]
	if c.GetName() != "main" || c.GetHeight() != w.height() || !c.GetReady() || c.GetChannelsEver() != 4 || c.GetTotals().GetEscrow() != 20_000 || c.GetPeers() != 3 {
		t.Errorf("chain %v", c)
	}
	net, err := w.nodes().GetNetwork(w.ctx(), &nodev1.GetNetworkRequest{})
	if err != nil || !bytes.Equal(net.GetNetworkId(), w.domain.Network[:]) || net.GetChainId() != uint32(w.domain.Chain) ||
		net.GetParams().GetTxFee() != uint64(w.gen.Params.TxFee) || net.GetParams().GetMaxEntries() != channel.MaxEntries || net.GetSettlementClock() != w.height() {
		t.Errorf("network %v, %v", net, err)
	}
	hash := w.hashOf(l.settle(0, 1, 1))
	_, err = w.nodes().GetTransaction(w.ctx(), &nodev1.GetTransactionRequest{Name: api.TransactionName(hash)})
	wantProblem(t, err, codes.NotFound, api.ReasonTransactionNotFound)
	sent, err := w.nodes().SubmitTransaction(w.ctx(), &nodev1.SubmitTransactionRequest{
		SignedTx: w.transfer(w.payer, w.other.addr, 9), WaitFor: chainv1.Stage_STAGE_FINAL,
	})
	if err != nil {
		t.Fatal(err)
	}
	tx := sent.GetTransaction()
	got, err := w.nodes().GetTransaction(w.ctx(), &nodev1.GetTransactionRequest{Name: tx.GetName()})
	if err != nil || !proto.Equal(got.GetTransaction(), tx) {
		t.Errorf("%v, want %v, %v", got, tx, err)
	}
	_, err = w.settlements().GetSettlement(w.ctx(), &settlementv1.GetSettlementRequest{Name: strings.Replace(tx.GetName(), "transactions", "settlements", 1)})
	wantProblem(t, err, codes.NotFound, api.ReasonTransactionNotFound)
	block, err := w.nodes().GetBlock(w.ctx(), &nodev1.GetBlockRequest{Name: api.BlockName(tx.GetHeight())})
	if err != nil || len(block.GetTxHashes()) != 1 || !bytes.Equal(block.GetTxHashes()[0], tx.GetHash()) || block.GetBlock().GetTransactions() != 1 {
		t.Errorf("block %v, %v", block, err)
	}
	latest, err := w.nodes().GetBlock(w.ctx(), &nodev1.GetBlockRequest{Name: "blocks/latest"})
	if err != nil || latest.GetBlock().GetHeader().GetHeight() != w.height() {
		t.Errorf("latest block %v, %v", latest, err)
	}
	_, err = w.nodes().GetBlock(w.ctx(), &nodev1.GetBlockRequest{Name: api.BlockName(w.height() + 1)})
	wantProblem(t, err, codes.NotFound, api.ReasonBlockNotFound)
}

// noBlocks is the state of a chain before its first block.
type noBlocks struct{ api.State }

// Head implements api.State.
func (noBlocks) Head() (height uint64, appHash []byte) { return 0, nil }

// TestNoBlockYet: a chain that begins is no chain without blocks: who asks for the last one
// is told to come again.
func TestNoBlockYet(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *api.Config) { c.State = noBlocks{c.State} })
	_, err := w.nodes().GetBlock(w.ctx(), &nodev1.GetBlockRequest{Name: "blocks/latest"})
	if p := wantProblem(t, err, codes.Unavailable, api.ReasonNotSynced); p.retry == 0 {
		t.Error("it does not say when")
	}
	_, err = w.nodes().GetBlock(w.ctx(), &nodev1.GetBlockRequest{Name: "blocks/1"})
	wantProblem(t, err, codes.NotFound, api.ReasonBlockNotFound)
}
