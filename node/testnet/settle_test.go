package testnet_test

import (
	"context"
	"crypto/sha256"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/testnet"
	accountv1 "github.com/tributary-network/tributary/proto/tributary/account/v1"
	chainv1 "github.com/tributary-network/tributary/proto/tributary/chain/v1"
	channelv1 "github.com/tributary-network/tributary/proto/tributary/channel/v1"
	nodev1 "github.com/tributary-network/tributary/proto/tributary/node/v1"
	settlementv1 "github.com/tributary-network/tributary/proto/tributary/settlement/v1"
)

const testTimeout = 4 * time.Minute

// peer speaks with one node over bare gRPC, as a client in any language would.
type peer struct {
	accounts    accountv1.AccountServiceClient
	channels    channelv1.ChannelServiceClient
	settlements settlementv1.SettlementServiceClient
	nodes       nodev1.NodeServiceClient
}

func dial(t *testing.T, address string) peer {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return peer{
		accountv1.NewAccountServiceClient(conn), channelv1.NewChannelServiceClient(conn),
		settlementv1.NewSettlementServiceClient(conn), nodev1.NewNodeServiceClient(conn),
	}
}

func (p peer) balance(ctx context.Context, t *testing.T, name string) ledger.Amount {
	t.Helper()
	r, err := p.accounts.GetAccount(ctx, &accountv1.GetAccountRequest{Name: "accounts/" + testnet.Address(name).String()})
	if err != nil {
		t.Fatal(err)
	}
	return ledger.Amount(r.GetAccount().GetBalance())
}

// start starts a network that ends with the test.
func start(ctx context.Context, t *testing.T, o testnet.Options) *testnet.Network {
	t.Helper()
	begin := time.Now()
	n, err := testnet.Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("ready after %v", time.Since(begin))
	t.Cleanup(func() {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), testTimeout)
		defer cancel()
		if err := n.Stop(stop); err != nil {
			t.Error(err)
		}
	})
	return n
}

// TestOneChannelSettles opens a channel at one validator, signs a voucher, and
// settles it at another one.
func TestOneChannelSettles(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	n := start(ctx, t, testnet.Options{NoServices: true})
	payer, payee := dial(t, n.Nodes[0].GRPC), dial(t, n.Nodes[2].GRPC)

	domain := n.Genesis.Domain()
	network, err := payer.nodes.GetNetwork(ctx, &nodev1.GetNetworkRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if got := ledger.Hash(network.GetNetworkId()); got != domain.Network {
		t.Fatalf("network id %s, want that of the genesis, %s", got, domain.Network)
	}
	voucherKey := ledger.NewPrivateKey(sha256.Sum256([]byte("voucher key")))
	open := channel.Open{Channels: []channel.OpenParams{{
		Payee: testnet.Address("bob"), VoucherKey: voucherKey.Public(), Deposit: 10 * ledger.DropsPerCoin,
		ExpiresAt: 5_000, Challenge: network.GetParams().GetDefaultChallenge(),
	}}}
	begin := time.Now()
	opened, err := payer.channels.OpenChannels(ctx, &channelv1.OpenChannelsRequest{
		Transaction: &channelv1.OpenChannelsRequest_SignedTx{SignedTx: chain.SignTx(domain, testnet.Key("alice"), chain.TxFields{
			Kind: chain.KindOpenChannels, MaxFee: ledger.DropsPerCoin, Payload: open.Encode(),
		})},
		WaitFor: chainv1.Stage_STAGE_FINAL,
	})
	if err != nil {
		t.Fatal(err)
	}
	tx := opened.GetTransaction()
	if tx.GetStage() != chainv1.Stage_STAGE_FINAL || tx.GetCode() != chainv1.Code_CODE_OK {
		t.Fatalf("open: %v", tx)
	}
	t.Logf("lone open final after %v", time.Since(begin))

	id := channel.ID(domain, testnet.Address("alice"), 0, 0, &open.Channels[0])
	if want := "channels/" + id.String(); len(opened.GetNames()) != 1 || opened.GetNames()[0] != want {
		t.Fatalf("channel names %q, want %s", opened.GetNames(), want)
	}
	// The other node may be a block behind.
	for {
		_, err := payee.channels.GetChannel(ctx, &channelv1.GetChannelRequest{Name: opened.GetNames()[0]})
		if err == nil {
			break
		}
		if status.Code(err) != codes.NotFound {
			t.Fatal(err)
		}
	}
	voucher := channel.Voucher{ChannelID: id, Cumulative: 4 * ledger.DropsPerCoin, Units: 17}
	batch := channel.Batch{Payee: testnet.Address("bob"), Entries: []channel.Entry{{
		Index: tx.GetFirstChannelIndex(), Claim: channel.ClaimVoucher, Cumulative: voucher.Cumulative, Units: voucher.Units,
		Signature: voucherKey.Sign(voucher.Signed(domain)), Close: true,
	}}}
	before, payerBefore := payee.balance(ctx, t, "bob"), payer.balance(ctx, t, "alice")
	begin = time.Now()
	settled, err := payee.settlements.SubmitSettlement(ctx, &settlementv1.SubmitSettlementRequest{
		Transaction: &settlementv1.SubmitSettlementRequest_SignedTx{SignedTx: chain.SignTx(domain, testnet.Key("bob"), chain.TxFields{
			Kind: chain.KindSettle, MaxFee: ledger.DropsPerCoin, Payload: batch.Encode(),
		})},
		WaitFor: chainv1.Stage_STAGE_FINAL, FullResults: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("lone settlement final after %v", time.Since(begin))
	s := settled.GetSettlement()
	if s.GetApplied() != 1 || len(s.GetResults()) != 1 || s.GetResults()[0].GetCode() != chainv1.Code_CODE_OK || !s.GetResults()[0].GetClosed() {
		t.Fatalf("settlement: %v", s)
	}

	params := n.Genesis.Params
	burned := voucher.Cumulative * ledger.Amount(params.BurnBps) / ledger.BasisPoints
	fee := params.TxFee + params.EntryFee
	if got, want := payee.balance(ctx, t, "bob"), before+voucher.Cumulative-burned-fee; got != want {
		t.Errorf("the payee has %s, want %s", got, want)
	}
	refund := open.Channels[0].Deposit - voucher.Cumulative + params.Rent
	for payer.balance(ctx, t, "alice") != payerBefore+refund {
		if ctx.Err() != nil {
			t.Fatalf("the payer has %s, want %s", payer.balance(ctx, t, "alice"), payerBefore+refund)
		}
	}
}
