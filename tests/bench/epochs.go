package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv/badgerkv"
	"github.com/tributary-network/tributary/ledger/layer"
	"github.com/tributary-network/tributary/ledger/statetree"
)

const (
	epochCandidates = 1_000
	epochSeats      = 100   // of a node's default
	epochAllSeats   = 1_000 // the largest committee
	epochDelegators = 100_000
	epochFew        = 10_000 // delegators of the measurement to compare with
	epochLimit      = 300    // ms that the end of an epoch may add to its blocks
	epochVersions   = 100    // of the state that a node keeps by default
	epochBlocks     = 20     // of an epoch
	epochUnbonding  = 3      // epochs
	epochRounds     = 5      // epochs that are measured
	epochBatch      = 2_500  // delegations in a block of the preparation
	epochPayout     = staking.PayoutLimit

	firstOperator  = 1 << 20 // keys of operators
	firstDelegator = 1 << 21 // keys of delegators

	ordinaryFigure  = "ordinary block, %s"
	endFigure       = "end of an epoch in all, %s"
	allocatedFigure = "allocated by the end of an epoch beyond that of its other blocks, %s"
)

// stakers is one validator with a large state of staking, on disk, which agrees
// with itself.
type stakers struct {
	genesis   settlement.Genesis
	layer     *layer.Settlement
	exec      *exec.Main
	secrets   []*bls.SecretKey // of candidates
	nonces    map[int]uint64   // by key
	height    uint64
	delegated int
	committee committee.Committee // of the epoch of height+1
}

// cost is what a block took.
type cost struct {
	time  time.Duration
	bytes uint64 // allocated
}

// epochs measures what the end of an epoch adds to its blocks: the block that elects
// the next committee, the last one, which distributes rewards, and the first of the
// next epoch, which decodes the keys of new members. The rest of a block is a transfer,
// a delegation, the seal and all votes. Executing and committing counts, with the
// index and synced. As in a node, old versions of the state are deleted meanwhile, one a
// block. A node makes a snapshot of the state beside the blocks at the end of an epoch,
// though not of each if they are as short as here; what that costs the blocks after it
// is measured apart, with one at the end of every epoch.
func (b *bench) epochs(ctx context.Context) error {
	if err := b.epochsOf(ctx, epochSeats, []int{epochFew, epochDelegators}); err != nil {
		return err
	}
	return b.epochsOf(ctx, epochAllSeats, []int{epochDelegators})
}

// epochsOf is epochs with a committee of so many seats, which all are taken.
func (b *bench) epochsOf(ctx context.Context, seats int, delegators []int) error {
	b.report.step("the end of an epoch, %d candidates, %d seats, %d delegators", epochCandidates, seats, epochDelegators)
	s, err := openStakers(filepath.Join(b.dir, fmt.Sprint("epochs", seats)), seats)
	if err != nil {
		return err
	}
	defer func() { _ = s.layer.Close() }() // all that was measured is durable
	if err := s.beside(ctx, s.layer.Run, func() error { return b.epochsAlone(ctx, s, delegators) }); err != nil {
		return err
	}
	run := func(ctx context.Context) error {
		return s.exec.Run(ctx, func([]byte) error { return nil })
	}
	return s.beside(ctx, s.layer.Run, func() error {
		return s.beside(ctx, run, func() error { return b.epochEnds(ctx, s, "a snapshot at each") })
	})
}

// epochsAlone measures without snapshots.
func (b *bench) epochsAlone(ctx context.Context, s *stakers, delegators []int) error {
	if err := s.fund(ctx); err != nil {
		return err
	}
	var first, last string
	for i, n := range delegators {
		if err := s.grow(ctx, n); err != nil {
			return err
		}
		if err := b.epochEnds(ctx, s, ""); err != nil {
			return err
		}
		if last = fmt.Sprintf(allocatedFigure, s.what("")); i == 0 {
			first = last
		}
	}
	if last != first {
		b.report.relate(last, first)
	}
	return b.payout(ctx, s)
}

// beside runs fn while run runs.
func (s *stakers) beside(ctx context.Context, run func(context.Context) error, fn func() error) error {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	err := fn()
	cancel()
	return errors.Join(err, <-done)
}

// what says what is measured.
func (s *stakers) what(more string) string {
	text := fmt.Sprintf("%d candidates, %d seats, %d delegators", epochCandidates, len(s.committee.Members), s.delegated)
	if more != "" {
		text += ", " + more
	}
	return text
}

// epochEnds measures some epochs.
func (b *bench) epochEnds(ctx context.Context, s *stakers, more string) error {
	// So that the versions that are deleted are those of ordinary blocks, and whole
	// epochs follow.
	for range epochVersions {
		if _, err := s.block(ctx, s.usual()); err != nil {
			return err
		}
	}
	if err := s.advance(ctx, epochBlocks); err != nil {
		return err
	}
	var ordinary, elect, reward, first []cost
	for range epochRounds * epochBlocks {
		c, err := s.block(ctx, s.usual())
		if err != nil {
			return err
		}
		switch s.height % epochBlocks {
		case epochBlocks - 1:
			elect = append(elect, c)
		case 0:
			reward = append(reward, c)
		case 1:
			first = append(first, c)
		default:
			ordinary = append(ordinary, c)
		}
	}
	usual, usualBytes := middle(ordinary)
	of := fmt.Sprintf(ordinaryFigure, s.what(more))
	b.report.add(of, usual, "ms")
	extra, extraBytes := 0.0, 0.0
	for _, kind := range []struct {
		name  string
		costs []cost
	}{
		{"the block that elects, more than an ordinary one", elect},
		{"the last block of an epoch, more than an ordinary one", reward},
		{"the first block of an epoch, more than an ordinary one", first},
	} {
		ms, bytes := middle(kind.costs)
		extra, extraBytes = extra+ms-usual, extraBytes+bytes-usualBytes
		b.report.addRatio(fmt.Sprintf("%s, %s", kind.name, s.what(more)), ms-usual, "ms", of)
	}
	end := fmt.Sprintf(endFigure, s.what(more))
	b.report.addRatio(end, extra, "ms", of)
	b.report.limit(end, epochLimit)
	if more == "" { // what is made beside the blocks allocates as well
		b.report.add(fmt.Sprintf(allocatedFigure, s.what(more)), extraBytes/(1<<20), "MiB")
	}
	return nil
}

// payout measures the block that pays out as many unbondings as a block may.
func (b *bench) payout(ctx context.Context, s *stakers) error {
	var records [][]byte
	for i := range epochPayout {
		m := staking.Undelegate{Validator: uint64(i % epochCandidates), Amount: ledger.DropsPerCoin}
		records = append(records, s.sign(firstDelegator+i, chain.KindUndelegate, m.Encode()))
	}
	if _, err := s.block(ctx, records); err != nil {
		return err
	}
	due := s.genesis.Params.Staking.LastBlock(s.genesis.Params.Staking.Epoch(s.height) + epochUnbonding)
	var usual []cost
	for {
		c, err := s.block(ctx, s.usual())
		if err != nil {
			return err
		}
		if s.unbonding() == 0 {
			of := fmt.Sprintf(ordinaryFigure, s.what(""))
			ordinary, _ := middle(usual)
			b.report.addRatio(fmt.Sprintf("the last block of an epoch that pays out %d unbondings, more than an ordinary one, %s", epochPayout, s.what("")),
				1000*c.time.Seconds()-ordinary, "ms", of)
			return nil
		}
		if s.height > due+1 {
			return errors.New("the unbondings are not paid out")
		}
		usual = append(usual, c)
	}
}

// middle returns the median time in milliseconds and bytes.
func middle(costs []cost) (ms, bytes float64) {
	var times []time.Duration
	var sizes []uint64
	for _, c := range costs {
		times, sizes = append(times, c.time), append(sizes, c.bytes)
	}
	slices.Sort(times)
	slices.Sort(sizes)
	return 1000 * quantile(times, 0.5), float64(sizes[len(sizes)/2])
}

// openStakers begins a chain with all candidates, and an account that can fund all
// delegators.
func openStakers(dir string, seats int) (*stakers, error) {
	p := settlement.DefaultParams()
	p.Staking.Seats, p.Staking.Window, p.Staking.MaxMissed = uint32(seats), uint32(seats), uint32(seats)/2 //nolint:gosec // small
	p.Staking.EpochBlocks, p.Staking.UnbondingEpochs, p.Staking.EvidenceEpochs = epochBlocks, epochUnbonding, epochUnbonding-1
	s := &stakers{nonces: make(map[int]uint64)}
	s.genesis = settlement.Genesis{Name: "stakers", Time: time.Now().UnixMilli(), Params: p}
	s.genesis.Validators = make([]settlement.GenesisValidator, epochCandidates)
	s.secrets = make([]*bls.SecretKey, epochCandidates)
	s.genesis.Accounts = []settlement.GenesisAccount{{Address: accountKey(0).Address(0), Balance: 1 << 60}}
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i := range s.genesis.Validators {
		group.Go(func() (err error) {
			key := accountKey(firstOperator + i)
			v := settlement.GenesisValidator{Operator: key.Address(0)}
			if s.secrets[i], err = blsKey(i); err != nil {
				return err
			}
			v.ConsensusKey, v.BLSKey, v.Proof = key.Public(), s.secrets[i].Public(), staking.Prove(s.secrets[i], ledger.NetworkID{}, v.Operator, key.Public())
			v.Name, v.Commission, v.MaxCommission = fmt.Sprint("candidate ", i), 500, 1_000
			v.MinSelf = p.Staking.MinSelfStake
			v.SelfStake = p.Staking.MinStake + ledger.Amount(i)*ledger.DropsPerCoin
			s.genesis.Validators[i] = v
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	store := badgerkv.Main(filepath.Join(dir, "state"))
	store.MinFree = 0
	snapshots, err := layer.OpenSnapshots(filepath.Join(dir, "snapshots"), 0)
	if err != nil {
		return nil, err
	}
	options := layer.Options{State: statetree.Options{Tables: settlement.Tables(), KeepVersions: epochVersions}}
	if s.layer, err = layer.Open(store, options); err != nil {
		return nil, err
	}
	config := exec.Config{Snapshots: snapshots, SnapshotStride: epochBlocks} // made while the Executor runs
	if s.exec, err = exec.OpenMain(config, s.layer, s.genesis, slog.New(slog.DiscardHandler)); err == nil {
		_, err = s.exec.InitChain(nil)
	}
	if err == nil {
		err = s.seat()
	}
	if err != nil {
		return nil, errors.Join(err, s.layer.Close())
	}
	return s, nil
}

// seat learns who votes on the next block.
func (s *stakers) seat() error {
	epoch := s.genesis.Params.Staking.Epoch(s.height + 1)
	return s.exec.Read(func(v chain.View, _ uint64) error {
		c, ok := staking.ReadCommittee(v, epoch)
		if !ok {
			return fmt.Errorf("no committee of epoch %d", epoch)
		}
		s.committee = c
		return nil
	})
}

// unbonding returns how many unbondings of the first delegator are under way.
func (s *stakers) unbonding() (n int) {
	_ = s.exec.Read(func(v chain.View, _ uint64) error { // reading cannot fail
		n = len(staking.UnbondingsOf(v, s.genesis.Params.Staking, s.height, accountKey(firstDelegator).Address(0), 0, 1))
		return nil
	})
	return n
}

// sign signs a transaction with the next nonce of a key.
func (s *stakers) sign(key int, kind chain.Kind, payload []byte) []byte {
	nonce := s.nonces[key]
	s.nonces[key]++
	return chain.SignTx(s.exec.Domain(), accountKey(key), chain.TxFields{Kind: kind, Nonce: nonce, MaxFee: ledger.MaxAmount, Payload: payload})
}

// usual are the records of an ordinary block.
func (s *stakers) usual() [][]byte {
	n := firstDelegator + int(s.height)%epochFew
	transfer := settlement.Transfer{Payments: []settlement.Payment{{To: accountKey(firstDelegator).Address(0), Amount: 1}}}
	delegate := staking.Delegate{Validator: s.height % epochCandidates, Amount: ledger.DropsPerCoin}
	return [][]byte{
		s.sign(n, chain.KindTransfer, transfer.Encode()),
		s.sign(n, chain.KindDelegate, delegate.Encode()),
	}
}

// fund gives all delegators an account.
func (s *stakers) fund(ctx context.Context) error {
	for from := 0; from < epochDelegators; from += settlement.MaxPayments {
		var t settlement.Transfer
		for i := from; i < min(from+settlement.MaxPayments, epochDelegators); i++ {
			t.Payments = append(t.Payments, settlement.Payment{
				To: accountKey(firstDelegator + i).Address(0), Amount: 1_000 * ledger.DropsPerCoin,
			})
		}
		if _, err := s.block(ctx, [][]byte{s.sign(0, chain.KindTransfer, t.Encode())}); err != nil {
			return err
		}
	}
	return nil
}

// grow lets accounts delegate until so many have.
func (s *stakers) grow(ctx context.Context, delegators int) error {
	for s.delegated < delegators {
		records := make([][]byte, min(epochBatch, delegators-s.delegated))
		for i := range records {
			n := s.delegated + i
			m := staking.Delegate{Validator: uint64(n % epochCandidates), Amount: 10 * ledger.DropsPerCoin}
			records[i] = s.sign(firstDelegator+n, chain.KindDelegate, m.Encode())
		}
		if _, err := s.block(ctx, records); err != nil {
			return err
		}
		s.delegated += len(records)
	}
	return nil
}

// advance makes ordinary blocks until the height is a multiple of n.
func (s *stakers) advance(ctx context.Context, n uint64) error {
	for s.height%n != 0 {
		if _, err := s.block(ctx, s.usual()); err != nil {
			return err
		}
	}
	return nil
}

// block agrees on the next block.
func (s *stakers) block(ctx context.Context, records [][]byte) (c cost, err error) {
	if err := ctx.Err(); err != nil {
		return cost{}, err
	}
	height := s.height + 1
	proposer := &s.committee.Members[height%uint64(len(s.committee.Members))]
	seal := chain.Seal{Height: height}
	seal.Signature = s.secrets[proposer.Validator].Sign(staking.SealMessage(s.exec.Domain(), &s.genesis.Params.Staking, height))
	address := proposer.Address()
	block := exec.Block{
		Height: height, Time: time.UnixMilli(s.genesis.Time).Add(time.Duration(height) * time.Second),
		Proposer: address[:], Txs: [][]byte{seal.Encode()}, Hash: make([]byte, ledger.HashSize),
	}
	if _, err := rand.Read(block.Hash); err != nil {
		return cost{}, fmt.Errorf("name a block: %w", err)
	}
	for part := range slices.Chunk(records, chain.BundleRecords) {
		block.Txs = append(block.Txs, chain.EncodeRecords(part))
	}
	if height > 1 {
		for i := range s.committee.Members {
			block.LastVotes = append(block.LastVotes, staking.Vote{Validator: s.committee.Members[i].Address(), Signed: true})
		}
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	if _, err := s.exec.Finalize(block); err != nil {
		return cost{}, err
	}
	if _, err := s.exec.Commit(); err != nil {
		return cost{}, err
	}
	c.time = time.Since(start)
	runtime.ReadMemStats(&after)
	c.bytes = after.TotalAlloc - before.TotalAlloc
	s.height = height
	return c, s.seat()
}
