package testnet_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/kv/badgerkv"
	"github.com/tributary-network/tributary/node/testnet"
	accountv1 "github.com/tributary-network/tributary/proto/tributary/account/v1"
	chainv1 "github.com/tributary-network/tributary/proto/tributary/chain/v1"
	nodev1 "github.com/tributary-network/tributary/proto/tributary/node/v1"
)

// healthLimit is how fast health must tell of a fault, on a machine that has much
// else to do: else it takes five seconds at most, which tests/e2e holds it to.
const healthLimit = 90 * time.Second

// until asks again and again, and fails the test if the answer is not yes within
// limit. It returns how long it took.
func until(ctx context.Context, t *testing.T, limit time.Duration, what string, yes func(context.Context) bool) time.Duration {
	t.Helper()
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !yes(ctx) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: not within %v", what, limit)
		}
	}
	return time.Since(begin)
}

// transfer moves 1 coin from alice to bob and waits until it is final.
func (p peer) transfer(ctx context.Context, domain chain.Domain, nonce uint64) error {
	_, err := p.transferAt(ctx, domain, nonce)
	return err
}

// transferAt is transfer, and returns the height of its block.
func (p peer) transferAt(ctx context.Context, domain chain.Domain, nonce uint64) (height uint64, err error) {
	payload := settlement.Transfer{Payments: []settlement.Payment{{To: testnet.Address("bob"), Amount: ledger.DropsPerCoin}}}
	answer, err := p.accounts.Transfer(ctx, &accountv1.TransferRequest{
		Transaction: &accountv1.TransferRequest_SignedTx{SignedTx: chain.SignTx(domain, testnet.Key("alice"), chain.TxFields{
			Kind: chain.KindTransfer, Nonce: nonce, MaxFee: ledger.DropsPerCoin, Payload: payload.Encode(),
		})},
		WaitFor: chainv1.Stage_STAGE_FINAL,
	})
	return answer.GetTransaction().GetHeight(), err
}

// corrupt changes the balance of alice in the store of a node that is stopped.
func corrupt(t *testing.T, home string) {
	t.Helper()
	o := badgerkv.Main(filepath.Join(home, "data", "settlement"))
	o.MinFree = 0
	store, err := badgerkv.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	address := testnet.Address("alice")
	found := 0
	batch := store.NewBatch()
	err = kv.Scan(store, []byte("s/"), func(key, value []byte) error {
		// The row of an account holds its address.
		if !bytes.Contains(value, address[:]) || bytes.Contains(key, address[:]) || len(value) != settlement.AccountRowSize {
			return nil
		}
		found++
		account, err := settlement.DecodeAccount(value)
		if err != nil {
			return err
		}
		account.Balance -= 5
		return batch.Set(bytes.Clone(key), account.Encode())
	})
	if err != nil || found != 1 {
		t.Fatalf("found %d rows of the account, want 1: %v", found, err)
	}
	if err := batch.Commit(true); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
}

// heightOf returns how far a node is.
func heightOf(ctx context.Context, t *testing.T, n testnet.Node) uint64 {
	t.Helper()
	status, err := dial(t, n.GRPC).nodes.GetStatus(ctx, &nodev1.GetStatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return status.GetChains()[0].GetHeight()
}

// TestHaltIsVisible damages the state of one validator, so that it halts at the
// next block, while the others go on.
func TestHaltIsVisible(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	n := start(ctx, t, testnet.Options{NoServices: true})
	const victim = 3
	domain := n.Genesis.Domain()
	if err := dial(t, n.Nodes[0].GRPC).transfer(ctx, domain, 0); err != nil {
		t.Fatal(err)
	}
	// The victim must have that block, or it would halt on it before it is ready.
	height := heightOf(ctx, t, n.Nodes[0])
	until(ctx, t, healthLimit, "the victim has the block", func(ctx context.Context) bool {
		return heightOf(ctx, t, n.Nodes[victim]) >= height
	})
	if err := n.StopNode(ctx, victim); err != nil {
		t.Fatal(err)
	}
	corrupt(t, n.Nodes[victim].Home)
	if err := n.StartNode(victim); err != nil {
		t.Fatal(err)
	}
	if err := n.WaitNodeReady(ctx, victim); err != nil {
		t.Fatal(err)
	}

	for nonce := range uint64(3) { // the others go on
		if err := dial(t, n.Nodes[0].GRPC).transfer(ctx, domain, 1+nonce); err != nil {
			t.Fatal(err)
		}
	}
	conn, err := grpc.NewClient(n.Nodes[victim].GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	health := grpc_health_v1.NewHealthClient(conn)
	took := until(ctx, t, healthLimit, "gRPC health turns red", func(ctx context.Context) bool {
		r, err := health.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: "chain/main"})
		return err == nil && r.GetStatus() == grpc_health_v1.HealthCheckResponse_NOT_SERVING
	})
	t.Logf("health is red %v after the others settled three times", took)
	if r, err := health.Check(ctx, &grpc_health_v1.HealthCheckRequest{}); err != nil || r.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("liveness: %v, %v; a halted chain does not end the process", r, err)
	}
	status, err := dial(t, n.Nodes[victim].GRPC).nodes.GetStatus(ctx, &nodev1.GetStatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if c := status.GetChains()[0]; !c.GetHalted() || c.GetReady() || c.GetHaltReason() == "" || c.GetNotReadyReason() == "" {
		t.Errorf("status: %v", c)
	} else {
		t.Logf("reason: %s", c.GetHaltReason())
	}
	if body, code := get(ctx, t, "http://"+n.Nodes[victim].HTTP+"/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "halted") {
		t.Errorf("/readyz: %d %q", code, body)
	}
	metric := "tributary_chain_halted{chain_id=\"" + n.Genesis.ChainID() + "\"} 1"
	if body, _ := get(ctx, t, "http://"+n.Nodes[victim].HTTP+"/metrics"); !strings.Contains(body, metric) {
		t.Errorf("the metrics lack %s", metric)
	}
	if body, _ := get(ctx, t, "http://"+n.Nodes[0].HTTP+"/metrics"); strings.Contains(body, metric) {
		t.Error("another validator is halted too")
	}
	select {
	case <-n.Exited(victim):
		t.Error("the node ended")
	default:
	}
}

func get(ctx context.Context, t *testing.T, url string) (body string, code int) {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(data), response.StatusCode
}
