package client_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/ledger"
	consensusv1 "github.com/tributary-network/tributary/proto/tributary/consensus/v1"
	nodev1 "github.com/tributary-network/tributary/proto/tributary/node/v1"
)

const (
	// firstOperator is the identity that operates the first validator.
	firstOperator = 900
	epochBlocks   = 10
)

// blsOf returns the i-th BLS key.
func blsOf(i int) *bls.SecretKey {
	seed := sha256.Sum256(fmt.Appendf(nil, "bls %d", i))
	k, err := bls.NewSecretKey(seed[:])
	if err != nil {
		panic(err)
	}
	return k
}

// register is the registration of the i-th validator with a stake, by an operator
// on a network; the zero one is that of a genesis.
func register(network ledger.NetworkID, by ledger.Address, i int, stake ledger.Amount) staking.Register {
	consensus := keyOf(firstOperator + i).Public()
	return staking.Register{
		ConsensusKey: consensus, BLSKey: blsOf(i).Public(), Proof: staking.Prove(blsOf(i), network, by, consensus),
		Profile:    staking.Profile{Name: fmt.Sprintf("validator-%d", i), Endpoints: []string{"10.0.0.1:26656"}},
		Commission: 500, MaxCommission: 2_000, MaxChange: 100, MinSelf: 10 * ledger.DropsPerCoin, SelfStake: stake,
	}
}

// stakeNetwork is a network with validators, the first of which makes certificates
// alone.
type stakeNetwork struct {
	*network

	votes  sync.Mutex
	count  int // of validators
	hashes map[uint64][]byte
	seen   map[uint64][]exec.VoteExtension
}

func newStakeNetwork(tb testing.TB, validators int) *stakeNetwork {
	tb.Helper()
	s := &stakeNetwork{count: validators, hashes: map[uint64][]byte{}, seen: map[uint64][]exec.VoteExtension{}}
	_, stop, err := startNetworkOf(tb.Errorf, func(n *network, cfg *exec.Config) {
		s.network = n
		p := &n.gen.Params.Staking
		p.EpochBlocks, p.PowerCapBps, p.UnbondingEpochs, p.EvidenceEpochs = epochBlocks, ledger.BasisPoints, 4, 3
		for i := range validators {
			stake := 1_000 * ledger.DropsPerCoin
			if i == 0 {
				stake *= 10
			}
			operator := identityOf(firstOperator + i).Address
			g := staking.GenesisValidator{Operator: operator, Register: register(ledger.NetworkID{}, operator, i, stake)}
			n.gen.Validators = append(n.gen.Validators, g)
		}
		cfg.BLS, cfg.Extensions = blsOf(0), s.extensions
		cfg.CertifyDelay, cfg.TickInterval = time.Millisecond, time.Hour
		n.vote = s.decide
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(stop)
	return s
}

// extensions is the executor's Config.Extensions.
func (s *stakeNetwork) extensions(height uint64) ([]byte, []exec.VoteExtension, error) {
	s.votes.Lock()
	defer s.votes.Unlock()
	return s.hashes[height], s.seen[height], nil
}

// decide fills in what consensus adds to a block, and lets validators vote.
func (s *stakeNetwork) decide(b *exec.Block) {
	hash := sha256.Sum256(binary.BigEndian.AppendUint64(nil, b.Height))
	b.Hash = hash[:]
	first := staking.AddressOf(keyOf(firstOperator).Public())
	b.Proposer = first[:]
	for i := range s.count {
		if b.Height > 1 {
			b.LastVotes = append(b.LastVotes, staking.Vote{Validator: staking.AddressOf(keyOf(firstOperator + i).Public()), Signed: true})
		}
	}
	data, err := s.exec.Extend(*b)
	if err != nil {
		s.fail("Extend(%d): %v", b.Height, err)
	}
	s.votes.Lock()
	defer s.votes.Unlock()
	s.hashes[b.Height], s.seen[b.Height] = b.Hash, []exec.VoteExtension{{Validator: first, Data: data}}
}

// reach makes blocks, each of which is certified, up to a height.
func (s *stakeNetwork) reach(tb testing.TB, height uint64) {
	tb.Helper()
	for s.height() < height {
		s.steps(1)
		until(tb, "a certificate", func() bool { return s.exec.Stats().CertificateHeight >= s.height() })
	}
}

// trust is the committee of the genesis.
func (s *stakeNetwork) trust(tb testing.TB) *client.Trust {
	tb.Helper()
	t, err := client.TrustCommittee(s.exec.Domain(), s.gen.Committee())
	if err != nil {
		tb.Fatal(err)
	}
	return t.WithEpochs(epochBlocks)
}

// enrich gives an identity money.
func enrich(tb testing.TB, c *client.Client, i int, amount ledger.Amount) *client.Account {
	tb.Helper()
	to := identityOf(i)
	if _, err := c.Account(identityOf(0)).Transfer(within(tb), settlement.Payment{To: to.Address, Amount: amount}); err != nil {
		tb.Fatal(err)
	}
	return c.Account(to)
}

// hostile is a node that asks an honest one and changes its answers.
type hostile struct {
	nodev1.UnimplementedNodeServiceServer
	consensusv1.UnimplementedConsensusServiceServer

	node  nodev1.NodeServiceClient
	asked consensusv1.ConsensusServiceClient

	handover    func(*consensusv1.GetHandoverRequest, *consensusv1.GetHandoverResponse)
	certificate func(*consensusv1.GetCertificateResponse)
	committee   func(*consensusv1.GetCommitteeResponse)
	election    func(*consensusv1.GetElectionResponse)
	seals       func(*consensusv1.ListSealsResponse)
	refuse      error // hand-overs
}

func (h *hostile) GetNetwork(ctx context.Context, req *nodev1.GetNetworkRequest) (*nodev1.GetNetworkResponse, error) {
	return h.node.GetNetwork(ctx, req)
}

func (h *hostile) GetHandover(ctx context.Context, req *consensusv1.GetHandoverRequest) (*consensusv1.GetHandoverResponse, error) {
	if h.refuse != nil {
		return nil, h.refuse
	}
	resp, err := h.asked.GetHandover(ctx, req)
	if err == nil && h.handover != nil {
		h.handover(req, resp)
	}
	return resp, err
}

func (h *hostile) ListSeals(ctx context.Context, req *consensusv1.ListSealsRequest) (*consensusv1.ListSealsResponse, error) {
	resp, err := h.asked.ListSeals(ctx, req)
	if err == nil && h.seals != nil {
		h.seals(resp)
	}
	return resp, err
}

func (h *hostile) GetCertificate(ctx context.Context, req *consensusv1.GetCertificateRequest) (*consensusv1.GetCertificateResponse, error) {
	resp, err := h.asked.GetCertificate(ctx, req)
	if err == nil && h.certificate != nil {
		h.certificate(resp)
	}
	return resp, err
}

func (h *hostile) GetCommittee(ctx context.Context, req *consensusv1.GetCommitteeRequest) (*consensusv1.GetCommitteeResponse, error) {
	resp, err := h.asked.GetCommittee(ctx, req)
	if err == nil && h.committee != nil {
		h.committee(resp)
	}
	return resp, err
}

func (h *hostile) GetElection(ctx context.Context, req *consensusv1.GetElectionRequest) (*consensusv1.GetElectionResponse, error) {
	resp, err := h.asked.GetElection(ctx, req)
	if err == nil && h.election != nil {
		h.election(resp)
	}
	return resp, err
}

// serve serves h until the test ends, and returns how clients reach it.
func (h *hostile) serve(t *testing.T, s *stakeNetwork) func(context.Context, string) (net.Conn, error) {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///node0", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(s.dial))
	if err != nil {
		t.Fatal(err)
	}
	h.node, h.asked = nodev1.NewNodeServiceClient(conn), consensusv1.NewConsensusServiceClient(conn)
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer()
	nodev1.RegisterNodeServiceServer(server, h)
	consensusv1.RegisterConsensusServiceServer(server, h)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return func(ctx context.Context, target string) (net.Conn, error) {
		if target == "hostile" {
			return listener.DialContext(ctx)
		}
		return s.dial(ctx, target)
	}
}

// among connects to the hostile node, and after it to others.
func (h *hostile) among(t *testing.T, s *stakeNetwork, others ...string) *client.Client {
	t.Helper()
	c, err := client.Dial(within(t), "hostile", client.WithDialer(h.serve(t, s)), client.WithInsecure(), client.WithEndpoints(others...),
		client.WithRetry(client.RetryPolicy{Attempts: 2, MinDelay: time.Millisecond, MaxDelay: 2 * time.Millisecond}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}
