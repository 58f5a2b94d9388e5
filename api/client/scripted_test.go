package client_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	accountv1 "github.com/tributary-network/tributary/proto/tributary/account/v1"
	chainv1 "github.com/tributary-network/tributary/proto/tributary/chain/v1"
	nodev1 "github.com/tributary-network/tributary/proto/tributary/node/v1"
)

// scripted is a node that answers submissions as a test says.
type scripted struct {
	nodev1.UnimplementedNodeServiceServer
	accountv1.UnimplementedAccountServiceServer

	submit func(attempt int, tx chain.Tx) (*chainv1.Transaction, error)
	find   func(hash ledger.Hash) (*chainv1.Transaction, error)

	mu       sync.Mutex
	requests []string // request ids of submissions
	nonces   []uint64
}

var scriptedDomain = chain.Domain{Network: ledger.Hash{1}, Chain: ledger.MainChain}

func (s *scripted) GetNetwork(context.Context, *nodev1.GetNetworkRequest) (*nodev1.GetNetworkResponse, error) {
	return &nodev1.GetNetworkResponse{NetworkId: scriptedDomain.Network[:], ChainId: uint32(scriptedDomain.Chain), Params: &nodev1.Params{TxFee: 20}}, nil
}

func (s *scripted) GetAccount(context.Context, *accountv1.GetAccountRequest) (*accountv1.GetAccountResponse, error) {
	return &accountv1.GetAccountResponse{Account: &accountv1.Account{NonceFloor: 7, NoncesUsed: []byte{0b10}}}, nil
}

func (s *scripted) SubmitTransaction(_ context.Context, req *nodev1.SubmitTransactionRequest) (*nodev1.SubmitTransactionResponse, error) {
	tx, err := chain.DecodeTx(scriptedDomain, req.GetSignedTx())
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, req.GetRequestId())
	s.nonces = append(s.nonces, tx.Nonce)
	t, err := s.submit(len(s.requests), tx)
	if err != nil {
		return nil, err
	}
	return &nodev1.SubmitTransactionResponse{Transaction: t}, nil
}

func (s *scripted) GetTransaction(_ context.Context, req *nodev1.GetTransactionRequest) (*nodev1.GetTransactionResponse, error) {
	hash, err := ledger.ParseHash(req.GetName()[len("transactions/"):])
	if err != nil || s.find == nil {
		return nil, failure(codes.NotFound, "TRANSACTION_NOT_FOUND", 0)
	}
	t, err := s.find(hash)
	return &nodev1.GetTransactionResponse{Transaction: t}, err
}

// failure is an error as the API makes them.
func failure(code codes.Code, reason string, retry time.Duration) error {
	s, err := status.New(code, reason+": as the test says").WithDetails(&errdetails.ErrorInfo{Reason: reason, Domain: "tributary.network"})
	if err == nil && retry > 0 {
		s, err = s.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(retry)})
	}
	if err != nil {
		return err
	}
	return s.Err()
}

func at(tx *chain.Tx, stage chainv1.Stage) *chainv1.Transaction {
	t := &chainv1.Transaction{Hash: tx.Hash[:], Kind: chainv1.Kind(tx.Kind), Nonce: tx.Nonce, Stage: stage, DropReason: "as the test says"}
	if stage == chainv1.Stage_STAGE_FINAL {
		t.Height, t.Code, t.Fee = 3, chainv1.Code_CODE_OK, 20
	}
	if stage == chainv1.Stage_STAGE_REFUSED {
		t.Height, t.Code = 2, chainv1.Code_CODE_NONCE_TOO_HIGH
	}
	return t
}

// serveScripted returns an account of a client of s.
func serveScripted(t *testing.T, s *scripted) *client.Account {
	t.Helper()
	return dialScripted(t, s).Account(identityOf(0))
}

// dialScripted returns a client of s.
func dialScripted(t *testing.T, s *scripted) *client.Client {
	t.Helper()
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer()
	nodev1.RegisterNodeServiceServer(server, s)
	accountv1.RegisterAccountServiceServer(server, s)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	c, err := client.Dial(within(t), "scripted", client.WithInsecure(),
		client.WithDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
		client.WithRetry(client.RetryPolicy{Attempts: 4, MinDelay: time.Millisecond, MaxDelay: 4 * time.Millisecond}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return c
}

const (
	finalStage   = chainv1.Stage_STAGE_FINAL
	checkedStage = chainv1.Stage_STAGE_CHECKED
	droppedStage = chainv1.Stage_STAGE_DROPPED
	refusedStage = chainv1.Stage_STAGE_REFUSED
)

// Whatever a node says, a status has a receipt if the transaction was in a block,
// and else none that looks like success.
func TestStatusHasAReceiptOnceInABlock(t *testing.T) {
	t.Parallel()
	tx := chain.Tx{Hash: ledger.Hash{5}, Kind: chain.KindTransfer, Nonce: 4}
	for _, row := range []struct {
		stage   chainv1.Stage
		uncoded bool
		receipt bool
		fails   bool
	}{
		{stage: chainv1.Stage_STAGE_RECEIVED},
		{stage: checkedStage},
		{stage: droppedStage},
		{stage: chainv1.Stage_STAGE_UNSPECIFIED},
		{stage: refusedStage, receipt: true},
		{stage: finalStage, receipt: true},
		{stage: refusedStage, uncoded: true, fails: true},
		{stage: chainv1.Stage_STAGE_INCLUDED, uncoded: true, fails: true},
		{stage: finalStage, uncoded: true, fails: true},
	} {
		c := dialScripted(t, &scripted{find: func(ledger.Hash) (*chainv1.Transaction, error) {
			m := at(&tx, row.stage)
			if row.uncoded {
				m.Code = chainv1.Code_CODE_UNSPECIFIED
			}
			return m, nil
		}})
		s, err := c.Transaction(within(t), tx.Hash)
		switch {
		case row.fails:
			if err == nil {
				t.Errorf("%v without a code: %+v", row.stage, s)
			}
		case err != nil || s.Hash != tx.Hash || s.Nonce != tx.Nonce || (s.Receipt != nil) != row.receipt:
			t.Errorf("%v: %+v, %v", row.stage, s, err)
		}
	}
}

// TestSubmissions plays what can happen to a transaction, and wants the outcome
// and how it was sent: with how many request ids, and with which nonces.
func TestSubmissions(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		node   scripted
		ids    int      // different request ids
		nonces []uint64 // of every attempt
		check  func(r settlement.Receipt, err error) bool
	}{
		{
			"slow",
			scripted{submit: func(attempt int, tx chain.Tx) (*chainv1.Transaction, error) {
				return at(&tx, []chainv1.Stage{checkedStage, checkedStage, finalStage}[attempt-1]), nil
			}},
			1,
			[]uint64{7, 7, 7},
			succeeds,
		},
		{
			"dropped and then taken",
			scripted{submit: func(attempt int, tx chain.Tx) (*chainv1.Transaction, error) {
				return at(&tx, []chainv1.Stage{droppedStage, droppedStage, finalStage}[attempt-1]), nil
			}},
			3,
			[]uint64{7, 7, 7},
			succeeds,
		},
		{
			"dropped for ever",
			scripted{submit: func(_ int, tx chain.Tx) (*chainv1.Transaction, error) {
				return at(&tx, droppedStage), nil
			}},
			6,
			[]uint64{7, 7, 7, 7, 7, 7},
			fails(client.ErrDropped),
		},
		{
			"refused by a block and then taken",
			scripted{submit: func(attempt int, tx chain.Tx) (*chainv1.Transaction, error) {
				return at(&tx, []chainv1.Stage{refusedStage, checkedStage, finalStage}[attempt-1]), nil
			}},
			2,
			[]uint64{7, 7, 7}, // never with another nonce: both might be executed
			succeeds,
		},
		{
			"refused by blocks for ever",
			scripted{submit: func(_ int, tx chain.Tx) (*chainv1.Transaction, error) {
				return at(&tx, refusedStage), nil
			}},
			6,
			[]uint64{7, 7, 7, 7, 7, 7},
			func(r settlement.Receipt, err error) bool {
				return unknownOutcome(r, err) && errors.Is(err, chain.CodeNonceTooHigh.Err())
			},
		},
		{
			"refused by a block and then by the node",
			scripted{submit: func(attempt int, tx chain.Tx) (*chainv1.Transaction, error) {
				if attempt == 1 {
					return at(&tx, refusedStage), nil
				}
				return nil, failure(codes.FailedPrecondition, "INSUFFICIENT_BALANCE", 0)
			}},
			2,
			[]uint64{7, 7},
			func(r settlement.Receipt, err error) bool {
				return unknownOutcome(r, err) && errors.Is(err, chain.CodeInsufficientBalance.Err())
			},
		},
		{
			"the node is busy",
			scripted{submit: func(attempt int, tx chain.Tx) (*chainv1.Transaction, error) {
				if attempt < 3 {
					return nil, failure(codes.ResourceExhausted, "MEMPOOL_FULL", 2*time.Millisecond)
				}
				return at(&tx, finalStage), nil
			}},
			1,
			[]uint64{7, 7, 7},
			succeeds,
		},
		{
			"the node is busy for ever",
			scripted{submit: func(int, chain.Tx) (*chainv1.Transaction, error) {
				return nil, failure(codes.ResourceExhausted, "MEMPOOL_FULL", time.Millisecond)
			}},
			1,
			[]uint64{7, 7, 7, 7},
			func(_ settlement.Receipt, err error) bool {
				e, ok := errors.AsType[*client.Error](err)
				_, unknown := errors.AsType[*client.UnknownOutcomeError](err)
				return ok && e.Reason == "MEMPOOL_FULL" && !unknown
			},
		},
		{
			"a limit is no load",
			scripted{submit: func(int, chain.Tx) (*chainv1.Transaction, error) {
				return nil, failure(codes.ResourceExhausted, "TOO_LARGE", 0)
			}},
			1,
			[]uint64{7},
			fails(chain.CodeTooLarge.Err()),
		},
		{
			"nobody answers",
			scripted{submit: func(int, chain.Tx) (*chainv1.Transaction, error) {
				return nil, failure(codes.Unavailable, "SHUTTING_DOWN", 0)
			}},
			1,
			[]uint64{7, 7, 7, 7},
			unknownOutcome,
		},
		{
			"the answer was lost and the transaction is there",
			scripted{
				submit: func(attempt int, tx chain.Tx) (*chainv1.Transaction, error) {
					if attempt == 1 {
						return nil, failure(codes.Unavailable, "SHUTTING_DOWN", 0)
					}
					return nil, failure(codes.Aborted, "NONCE_USED", 0)
				},
				find: func(hash ledger.Hash) (*chainv1.Transaction, error) {
					return at(&chain.Tx{Hash: hash, Nonce: 7}, finalStage), nil
				},
			},
			1,
			[]uint64{7, 7},
			succeeds,
		},
		{
			"somebody else used the nonce",
			scripted{submit: func(attempt int, tx chain.Tx) (*chainv1.Transaction, error) {
				if attempt == 1 {
					return nil, failure(codes.Aborted, "NONCE_USED", 0)
				}
				return at(&tx, finalStage), nil
			}},
			2,
			[]uint64{7, 9},
			succeeds, // 8 is used already
		},
		{
			"somebody else used the nonce in the block",
			scripted{submit: func(attempt int, tx chain.Tx) (*chainv1.Transaction, error) {
				m := at(&tx, finalStage)
				if attempt == 1 {
					m.Code, m.Fee = chainv1.Code_CODE_NONCE_USED, 0
				}
				return m, nil
			}},
			2,
			[]uint64{7, 9},
			succeeds,
		},
		{
			"the node is behind",
			scripted{submit: func(attempt int, tx chain.Tx) (*chainv1.Transaction, error) {
				if attempt == 1 {
					return nil, failure(codes.Aborted, "NONCE_TOO_HIGH", 0)
				}
				return at(&tx, finalStage), nil
			}},
			2,
			[]uint64{7, 7},
			succeeds,
		},
		{
			"refused in the block",
			scripted{submit: func(_ int, tx chain.Tx) (*chainv1.Transaction, error) {
				m := at(&tx, finalStage)
				m.Code = chainv1.Code_CODE_INSUFFICIENT_BALANCE
				return m, nil
			}},
			1,
			[]uint64{7},
			fails(chain.CodeInsufficientBalance.Err()),
		},
		{
			"an answer about something else",
			scripted{submit: func(int, chain.Tx) (*chainv1.Transaction, error) {
				return at(&chain.Tx{Hash: ledger.Hash{5}}, finalStage), nil
			}},
			1,
			[]uint64{7},
			func(_ settlement.Receipt, err error) bool { return err != nil },
		},
		{
			"an answer that cannot be read",
			scripted{submit: func(int, chain.Tx) (*chainv1.Transaction, error) {
				return &chainv1.Transaction{Hash: []byte{1, 2}, Stage: finalStage}, nil
			}},
			1,
			[]uint64{7},
			func(_ settlement.Receipt, err error) bool { return err != nil },
		},
	}
	for i := range tests {
		tt := &tests[i]
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			account := serveScripted(t, &tt.node)
			r, err := account.Transfer(within(t), settlement.Payment{To: identityOf(9).Address, Amount: 1})
			if !tt.check(r, err) {
				t.Errorf("%+v, %v", r, err)
			}
			ids := make(map[string]bool)
			for _, id := range tt.node.requests {
				ids[id] = true
			}
			if len(ids) != tt.ids {
				t.Errorf("%d request ids, want %d", len(ids), tt.ids)
			}
			if diff := cmp.Diff(tt.nonces, tt.node.nonces); diff != "" {
				t.Errorf("nonces of the attempts (-want +got):\n%s", diff)
			}
		})
	}
}

func succeeds(r settlement.Receipt, err error) bool { return err == nil && r.Code == chain.CodeOK }

func fails(want error) func(settlement.Receipt, error) bool {
	return func(_ settlement.Receipt, err error) bool { return errors.Is(err, want) }
}

func unknownOutcome(_ settlement.Receipt, err error) bool {
	u, ok := errors.AsType[*client.UnknownOutcomeError](err)
	return ok && !u.Hash.IsZero()
}

// TestShardsBegin: a call about a shard that no node runs yet is repeated for longer than one
// that a node cannot answer, which is given up.
func TestShardsBegin(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		reason string
		ok     bool
	}{{"NOT_HOSTED", true}, {"NOT_SYNCED", true}, {"OVERLOADED", false}} {
		calls := 0
		c := dialScripted(t, &scripted{find: func(hash ledger.Hash) (*chainv1.Transaction, error) {
			if calls++; calls > 20 {
				return at(&chain.Tx{Hash: hash, Kind: chain.KindTransfer}, checkedStage), nil
			}
			return nil, failure(codes.Unavailable, row.reason, 0)
		}})
		if _, err := c.Transaction(within(t), ledger.Hash{9}); (err == nil) != row.ok {
			t.Errorf("%s, %d calls: %v", row.reason, calls, err)
		}
	}
}
