package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/comet"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv/badgerkv"
	"github.com/tributary-network/tributary/ledger/layer"
	"github.com/tributary-network/tributary/ledger/statetree"
)

const (
	paceAccounts = 64                   // senders of transfers
	paceSubmit   = 5 * time.Millisecond // between two transfers, so that no block is empty
	paceSkip     = 3                    // first blocks of a turn that are not counted
)

// shares measures what seals, vote extensions and certificates add to the interval
// between blocks: two networks of four validators each, which agree on blocks with a
// few transfers, take turns, and one of them has no committee to seal and sign.
// Wall-clock time is that of all eight on this machine, of which four rest.
func (b *bench) shares(ctx context.Context) error {
	for _, at := range []struct {
		name  string
		pace  time.Duration // least time between blocks
		turns int
		turn  time.Duration
	}{
		{"blocks as fast as can be", time.Millisecond, 4, 2 * time.Second},
		{"blocks each 200 ms", 200 * time.Millisecond, 4, 4 * time.Second},
	} {
		b.report.step("certificates: %s, with and without", at.name)
		without, with, err := b.alternate(ctx, at.pace, at.turns, at.turn)
		if err != nil {
			return fmt.Errorf("certificates: %s: %w", at.name, err)
		}
		for _, f := range []struct {
			name          string
			without, with float64
			unit          string
		}{
			{"block interval", without.interval(), with.interval(), "ms"},
			{"cpu per block and validator", without.cpu(), with.cpu(), "ms"},
		} {
			of := fmt.Sprintf("%s without certificates, %s", f.name, at.name)
			b.report.add(of, f.without, f.unit)
			b.report.addRatio(fmt.Sprintf("%s with certificates, %s", f.name, at.name), f.with, f.unit, of)
		}
	}
	return nil
}

// paces are the blocks of a network over its turns.
type paces struct {
	intervals []time.Duration
	blocks    int
	used      time.Duration // processor time of this process
}

// interval returns the median interval in milliseconds.
func (p *paces) interval() float64 {
	slices.Sort(p.intervals)
	return 1000 * quantile(p.intervals, 0.5)
}

// cpu returns milliseconds for each block and validator.
func (p *paces) cpu() float64 { return 1000 * p.used.Seconds() / float64(p.blocks) / validators }

// alternate lets two networks take turns, one without a committee and one with.
func (b *bench) alternate(ctx context.Context, pace time.Duration, turns int, turn time.Duration) (without, with paces, err error) {
	var nets []*paced
	dir, err := os.MkdirTemp(b.dir, "certified-")
	if err != nil {
		return without, with, fmt.Errorf("make directory for networks: %w", err)
	}
	defer func() {
		for _, n := range nets {
			err = errors.Join(err, n.stop())
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	for _, certified := range []bool{false, true} {
		n, err := startPaced(ctx, filepath.Join(dir, fmt.Sprint("certified-", certified)), pace, certified)
		nets = append(nets, n)
		if err != nil {
			return without, with, err
		}
	}
	for i := range 2 * turns {
		total := &without
		if i%2 == 1 {
			total = &with
		}
		if err := nets[i%2].turn(ctx, turn, total); err != nil {
			return without, with, err
		}
	}
	for _, m := range nets[1].members {
		if s := m.exec.Stats(); s.Certificates == 0 {
			return without, with, errors.New("a validator made no certificates")
		}
	}
	return without, with, nil
}

// paced is four validators in this process.
type paced struct {
	members []*pacedMember
	senders []ledger.PrivateKey
	sent    int
}

// pacedMember is one of them, and what consensus knows it by.
type pacedMember struct {
	*exec.Executor
	exec  *exec.Main
	store *badgerkv.Store
	layer *layer.Settlement
	chain *comet.Chain
	stop  context.CancelFunc
	done  chan error

	mu        sync.Mutex
	committed []time.Time
}

// startPaced starts a network, with a committee or without.
func startPaced(ctx context.Context, dir string, pace time.Duration, certified bool) (*paced, error) {
	n := &paced{}
	params := settlement.LocalParams()
	params.Staking.EpochBlocks = 1 << 20
	params.Staking.Window, params.Staking.MaxMissed = staking.MaxWindow, staking.MaxWindow-1
	state := settlement.Genesis{Name: "paced", Time: time.Now().UnixMilli(), Params: params}
	for i := range paceAccounts {
		key := accountKey(i)
		n.senders = append(n.senders, key)
		state.Accounts = append(state.Accounts, settlement.GenesisAccount{Address: key.Address(0), Balance: 1 << 40})
	}
	genesis := comet.Genesis{ChainID: fmt.Sprint("paced-", certified), Time: time.Now()}
	var signers []*comet.Signer
	var keys []*comet.NodeKey
	for i := range validators {
		home := filepath.Join(dir, fmt.Sprint(i))
		if err := os.MkdirAll(home, 0o700); err != nil {
			return n, fmt.Errorf("make home: %w", err)
		}
		signer, err := comet.GenerateSigner(home)
		if err != nil {
			return n, err
		}
		key, err := comet.GenerateNodeKey(home)
		if err != nil {
			return n, err
		}
		signers, keys = append(signers, signer), append(keys, key)
		secret, err := blsKey(i)
		if err != nil {
			return n, err
		}
		v := settlement.GenesisValidator{Operator: accountKey(firstOperator + i).Address(0)}
		v.ConsensusKey, v.BLSKey, v.Proof = ledger.PublicKey(signer.PubKey()), secret.Public(), staking.Prove(secret, ledger.NetworkID{}, v.Operator, ledger.PublicKey(signer.PubKey()))
		v.Name, v.MinSelf, v.SelfStake = fmt.Sprint("validator ", i), params.Staking.MinSelfStake, params.Staking.MinStake
		state.Validators = append(state.Validators, v)
		genesis.Validators = append(genesis.Validators, comet.GenesisValidator{PubKey: signer.PubKey(), Power: 1})
	}
	if certified {
		genesis.Validators = nil
		for _, m := range state.Committee().Members {
			genesis.Validators = append(genesis.Validators, comet.GenesisValidator{PubKey: m.ConsensusKey[:], Power: int64(m.Power)})
		}
	} else {
		state.Validators = nil
	}
	genesis.AppState = state.Encode()
	for i := range validators {
		m := &pacedMember{}
		n.members = append(n.members, m)
		home := filepath.Join(dir, fmt.Sprint(i))
		if err := m.open(home, i, pace, state, genesis, signers[i], keys[i]); err != nil {
			return n, err
		}
	}
	var peers []string
	for i, m := range n.members {
		peers = append(peers, keys[i].ID()+"@"+m.chain.ListenAddr())
	}
	for _, m := range n.members {
		if err := m.start(ctx, peers); err != nil {
			return n, err
		}
	}
	return n, n.ready(ctx)
}

// open makes a member that does not run yet.
func (m *pacedMember) open(
	home string, i int, pace time.Duration, state settlement.Genesis, genesis comet.Genesis, signer *comet.Signer, key *comet.NodeKey,
) error {
	options := badgerkv.Main(filepath.Join(home, "db"))
	options.MinFree, options.MemTableSize = 0, 16<<20
	logger := slog.New(slog.DiscardHandler)
	var err error
	if m.store, err = badgerkv.Open(options); err != nil {
		return err
	}
	if m.layer, err = layer.New(m.store, layer.Options{State: statetree.Options{Tables: settlement.Tables()}}); err != nil {
		return err
	}
	secret, err := blsKey(i)
	if err != nil {
		return err
	}
	if m.exec, err = exec.OpenMain(exec.Config{BLS: secret, Extensions: m.extensions}, m.layer, state, logger); err != nil {
		return err
	}
	m.Executor = m.exec.Executor
	config := comet.Config{Dir: home, ListenAddr: "127.0.0.1:0", TimeoutCommit: pace}
	m.chain, err = comet.New(config, genesis, signer, key, m.layer.Consensus(), m, logger, nil)
	return err
}

func (m *pacedMember) start(ctx context.Context, peers []string) error {
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	m.stop, m.done = stop, make(chan error, 1)
	go func() {
		group, ctx := errgroup.WithContext(run)
		group.Go(func() error { return m.exec.Run(ctx, m.chain.Broadcast) })
		group.Go(func() error { return m.layer.Run(ctx) })
		m.done <- group.Wait()
	}()
	if err := m.chain.Start(ctx); err != nil {
		return err
	}
	return m.chain.SetPeers(peers)
}

// ready waits until all members agree on blocks.
func (n *paced) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return n.await(ctx, func() bool {
		for _, m := range n.members {
			if ok, _ := m.chain.Status().Health(time.Now(), comet.HealthLimits{}); !ok || m.chain.LatestHeight() == 0 {
				return false
			}
		}
		return true
	})
}

// await polls until ok.
func (n *paced) await(ctx context.Context, ok func() bool) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for the network: %w", ctx.Err())
		}
	}
	return nil
}

// turn keeps the network busy for some time, adds the blocks it made meanwhile to
// total, and waits until it rests.
func (n *paced) turn(ctx context.Context, duration time.Duration, total *paces) error {
	first := n.members[0]
	first.taken()
	cpu := selfCPU()
	tick := time.NewTicker(paceSubmit)
	defer tick.Stop()
	for end := time.Now().Add(duration); time.Now().Before(end); {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := n.submit(ctx); err != nil {
			return err
		}
	}
	cpu = selfCPU() - cpu
	times := first.taken()
	total.blocks += len(times)
	total.used += cpu
	for i := paceSkip; i < len(times); i++ {
		total.intervals = append(total.intervals, times[i].Sub(times[i-1]))
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return n.await(ctx, func() bool {
		for _, m := range n.members {
			if m.chain.LatestHeight() != first.chain.LatestHeight() || !m.chain.Status().PendingSince.IsZero() {
				return false
			}
		}
		return true
	})
}

// submit sends one transfer to the member whose turn it is.
func (n *paced) submit(ctx context.Context) error {
	m, key := n.members[n.sent%validators], n.senders[n.sent%paceAccounts]
	payload := settlement.Transfer{Payments: []settlement.Payment{{To: n.senders[0].Address(0), Amount: 1}}}
	raw := chain.SignTx(m.exec.Domain(), key, chain.TxFields{
		Kind: chain.KindTransfer, Nonce: uint64(n.sent / paceAccounts), MaxFee: ledger.MaxAmount, Payload: payload.Encode(),
	})
	n.sent++
	if _, err := m.exec.Submit(ctx, raw); err != nil {
		return fmt.Errorf("submit a transfer: %w", err)
	}
	return nil
}

// stop ends the network.
func (n *paced) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var failures []error
	for _, m := range n.members {
		if m.stop != nil {
			m.stop()
			failures = append(failures, <-m.done)
		}
		if m.chain != nil {
			failures = append(failures, m.chain.Stop(ctx))
		}
	}
	for _, m := range n.members {
		if m.layer != nil {
			failures = append(failures, m.layer.Close())
		}
		if m.store != nil {
			failures = append(failures, m.store.Close())
		}
	}
	return errors.Join(failures...)
}

// taken returns when blocks were committed since it was called last.
func (m *pacedMember) taken() []time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	times := m.committed
	m.committed = nil
	return times
}

// extensions is the member's exec.Config.Extensions.
func (m *pacedMember) extensions(height uint64) (hash []byte, extensions []exec.VoteExtension, err error) {
	hash, list, err := m.chain.Extensions(height)
	for _, x := range list {
		extensions = append(extensions, exec.VoteExtension{Validator: staking.Address(x.Validator), Round: x.Round, Data: x.Data})
	}
	return hash, extensions, err
}

// Accept implements comet.Application, like the methods that follow and those of
// the Executor.
func (m *pacedMember) Accept(b comet.Block) error { return m.exec.Accept(pacedBlock(b)) }

func (m *pacedMember) Extend(b comet.Block) ([]byte, error) { return m.exec.Extend(pacedBlock(b)) }

func (m *pacedMember) Finalize(b comet.Block) (comet.Outcome, error) {
	out, err := m.exec.Finalize(pacedBlock(b))
	results := make([]comet.TxResult, len(out.Results))
	for i, r := range out.Results {
		results[i] = comet.TxResult(r)
	}
	return comet.Outcome{AppHash: out.AppHash, Results: results}, err
}

func (m *pacedMember) Commit() (uint64, error) {
	retain, err := m.exec.Commit()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.committed = append(m.committed, time.Now())
	return retain, err
}

// pacedBlock translates a block.
func pacedBlock(b comet.Block) exec.Block {
	out := exec.Block{Height: b.Height, Time: b.Time, Proposer: b.Proposer, Txs: b.Txs, Hash: b.Hash, Round: b.Round}
	for _, v := range b.LastVotes {
		out.LastVotes = append(out.LastVotes, staking.Vote{Validator: staking.Address(v.Validator), Signed: v.Signed})
	}
	return out
}
