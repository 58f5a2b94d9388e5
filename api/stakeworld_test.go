package api_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/ledger"
	chainv1 "github.com/tributary-network/tributary/proto/tributary/chain/v1"
	consensusv1 "github.com/tributary-network/tributary/proto/tributary/consensus/v1"
	stakingv1 "github.com/tributary-network/tributary/proto/tributary/staking/v1"
)

const (
	// firstOperator is the account that operates the first validator.
	firstOperator = 900
	// epochBlocks is the length of an epoch.
	epochBlocks = 10
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
		Profile:    staking.Profile{Name: fmt.Sprintf("validator-%d", i), Endpoints: []string{fmt.Sprintf("10.0.0.%d:26656", i)}},
		Commission: 500, MaxCommission: 2_000, MaxChange: 100, MinSelf: 10 * ledger.DropsPerCoin, SelfStake: stake,
	}
}

// stakeWorld is a world with validators. The first one has ten times the stake of
// the others, and so makes certificates alone.
type stakeWorld struct {
	*world

	operators []*account

	votes    sync.Mutex
	absent   map[int]bool // validators that do not sign
	evidence []staking.Evidence
	mute     bool // votes carry no signatures
	hashes   map[uint64][]byte
	seen     map[uint64][]exec.VoteExtension
}

// newStakeWorld starts a network of validators; change may alter what it begins
// with.
func newStakeWorld(tb testing.TB, validators int, change ...func(*stakeWorld, *exec.Config)) *stakeWorld {
	tb.Helper()
	s := newStakeChain(tb, validators, change...)
	s.open()
	return s
}

func newStakeChain(tb testing.TB, validators int, change ...func(*stakeWorld, *exec.Config)) *stakeWorld {
	tb.Helper()
	s := &stakeWorld{absent: map[int]bool{}, hashes: map[uint64][]byte{}, seen: map[uint64][]exec.VoteExtension{}}
	for i := range validators {
		s.operators = append(s.operators, accountOf(firstOperator+i))
	}
	newChainOf(tb, func(w *world, cfg *exec.Config) {
		s.world = w
		p := &w.gen.Params.Staking
		p.EpochBlocks, p.PowerCapBps, p.Seats, p.Window, p.MaxMissed = epochBlocks, ledger.BasisPoints, 10, 10, 4
		p.UnbondingEpochs, p.EvidenceEpochs, p.JailEpochs = 4, 3, 1
		for i, o := range s.operators {
			stake := 1_000 * ledger.DropsPerCoin
			if i == 0 {
				stake *= 10
			}
			w.gen.Validators = append(w.gen.Validators, staking.GenesisValidator{Operator: o.addr, Register: register(ledger.NetworkID{}, o.addr, i, stake)})
		}
		cfg.BLS, cfg.Extensions = blsOf(0), s.extensions
		cfg.CertifyDelay, cfg.TickInterval = time.Millisecond, time.Hour
		cfg.RecentBlocks = 2
		for _, f := range change {
			f(s, cfg)
		}
		w.vote = s.decide
	})
	s.mu.Lock()
	s.manual = true
	s.mu.Unlock()
	for _, o := range s.operators { // for fees
		s.block(s.transfer(s.payer, o.addr, 1_000*ledger.DropsPerCoin))
	}
	s.mu.Lock()
	s.manual = false
	s.mu.Unlock()
	return s
}

// extensions is the executor's Config.Extensions.
func (s *stakeWorld) extensions(height uint64) ([]byte, []exec.VoteExtension, error) {
	s.votes.Lock()
	defer s.votes.Unlock()
	return s.hashes[height], s.seen[height], nil
}

// decide fills in what consensus adds to a block, and lets validators vote.
func (s *stakeWorld) decide(b *exec.Block) {
	hash := sha256.Sum256(binary.BigEndian.AppendUint64(nil, b.Height))
	b.Hash = hash[:]
	first := staking.AddressOf(keyOf(firstOperator).Public())
	b.Proposer = first[:]
	s.votes.Lock()
	b.Evidence, s.evidence = s.evidence, nil
	for i := range s.operators {
		b.LastVotes = append(b.LastVotes, staking.Vote{
			Validator: staking.AddressOf(keyOf(firstOperator + i).Public()), Signed: !s.absent[i],
		})
	}
	if b.Height == 1 {
		b.LastVotes = nil
	}
	mute := s.mute
	s.votes.Unlock()
	var list []exec.VoteExtension
	if s.exec != nil && !mute {
		data, err := s.exec.Extend(*b)
		if err != nil {
			s.t.Errorf("Extend(%d): %v", b.Height, err)
		}
		list = append(list, exec.VoteExtension{Validator: first, Data: data})
	}
	s.votes.Lock()
	defer s.votes.Unlock()
	s.hashes[b.Height], s.seen[b.Height] = b.Hash, list
}

// reach makes blocks, each with a transfer so that it counts, up to a height.
func (s *stakeWorld) reach(height uint64) {
	s.t.Helper()
	for s.height() < height {
		s.block(s.transfer(s.payer, s.other.addr, 1))
	}
}

// epoch is the epoch of the next block.
func (s *stakeWorld) epoch() uint64 { return s.gen.Params.Staking.Epoch(s.height() + 1) }

// nextEpoch makes blocks to the end of the epoch.
func (s *stakeWorld) nextEpoch() {
	s.t.Helper()
	s.reach(s.gen.Params.Staking.LastBlock(s.epoch()))
}

// do submits a transaction of kind and wants it executed.
func (s *stakeWorld) do(a *account, kind chain.Kind, payload []byte) *chainv1.Transaction {
	s.t.Helper()
	tx, err := s.submitTx(s.tx(a, kind, payload))
	if err != nil || tx.GetCode() != chainv1.Code_CODE_OK {
		s.t.Fatalf("%s: %v, %v", kind, tx, err)
	}
	return tx
}

func (s *stakeWorld) staking() stakingv1.StakingServiceClient {
	return stakingv1.NewStakingServiceClient(s.conn)
}

func (s *stakeWorld) agreement() consensusv1.ConsensusServiceClient {
	return consensusv1.NewConsensusServiceClient(s.conn)
}

// validator reads a validator.
func (s *stakeWorld) validator(number uint64) *stakingv1.Validator {
	s.t.Helper()
	resp, err := s.staking().GetValidator(s.ctx(), &stakingv1.GetValidatorRequest{Name: api.ValidatorName(number)})
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.GetValidator()
}

// certificate waits for the certificate of the block at height.
func (s *stakeWorld) certificate(height uint64) *consensusv1.GetCertificateResponse {
	s.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	ctx := s.ctx()
	for {
		resp, err := s.agreement().GetCertificate(ctx, &consensusv1.GetCertificateRequest{Name: api.CertificateName(height)})
		if err == nil {
			return resp
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.t.Fatalf("certificate of block %d: %v", height, err)
		}
	}
}

// reasonOf returns the reason of err's ErrorInfo.
func reasonOf(err error) string {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info.GetReason()
		}
	}
	return ""
}
