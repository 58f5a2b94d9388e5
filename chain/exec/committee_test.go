package exec_test

import (
	"crypto/sha256"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/beacon"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
)

// firstOperator is the account that operates the first test validator.
const firstOperator = 900

// blsKeys are made once: a proof of possession takes a while.
var blsKeys sync.Map

// blsOf returns the i-th test validator's BLS key.
func blsOf(i int) *bls.SecretKey {
	if k, ok := blsKeys.Load(i); ok {
		if k, ok := k.(*bls.SecretKey); ok {
			return k
		}
	}
	seed := sha256.Sum256(fmt.Appendf(nil, "bls %d", i))
	k, err := bls.NewSecretKey(seed[:])
	if err != nil {
		panic(err)
	}
	blsKeys.Store(i, k)
	return k
}

// consensusOf returns the i-th test validator's consensus address.
func consensusOf(i int) staking.Address {
	key := keyOf(firstOperator + i).Public()
	sum := sha256.Sum256(key[:])
	return staking.Address(sum[:])
}

// withValidators gives gen n validators of one stake, whose consensus keys are
// those given, or else those of their operators.
func withValidators(gen settlement.Genesis, n int, consensus ...ledger.PublicKey) settlement.Genesis {
	for i := range n {
		key := keyOf(firstOperator + i)
		v := staking.GenesisValidator{Operator: key.Address(zone)}
		v.ConsensusKey = key.Public()
		if len(consensus) > 0 {
			v.ConsensusKey = consensus[i]
		}
		v.BLSKey, v.Proof = blsOf(i).Public(), staking.Prove(blsOf(i), ledger.NetworkID{}, v.Operator, v.ConsensusKey)
		v.Name = fmt.Sprintf("validator-%d", i)
		v.MaxCommission = 10_000
		v.MinSelf, v.SelfStake = gen.Params.Staking.MinSelfStake, 10*gen.Params.Staking.MinStake
		gen.Validators = append(gen.Validators, v)
	}
	return gen
}

// sealedAt is the block of these bundles at height, sealed by its proposer, which
// is validator height modulo n.
func sealedAt(gen *settlement.Genesis, domain chain.Domain, height uint64, txs [][]byte) exec.Block {
	proposer := int(height) % len(gen.Validators)
	address := consensusOf(proposer)
	txs = append([][]byte{sealOf(gen, domain, proposer, height)}, txs...)
	b := blockAt(gen, height, txs)
	b.Proposer = address[:]
	if height > 1 {
		for i := range gen.Validators {
			b.LastVotes = append(b.LastVotes, staking.Vote{Validator: consensusOf(i), Signed: i != int(height)%7})
		}
	}
	return b
}

// sealOf is the seal of validator i for the block at height.
func sealOf(gen *settlement.Genesis, domain chain.Domain, i int, height uint64) []byte {
	epoch := gen.Params.Staking.Epoch(height)
	message := beacon.Message(domain.Network, domain.Chain, epoch, height)
	seal := chain.Seal{Height: height, Signature: blsOf(i).Sign(message)}
	return seal.Encode()
}

// decide finalizes and commits b on n.
func (n *node) decide(b exec.Block) exec.Outcome {
	n.t.Helper()
	out, err := n.exec.Finalize(b)
	if err != nil {
		n.t.Fatalf("Finalize(%d): %v", b.Height, err)
	}
	if _, err := n.exec.Commit(); err != nil {
		n.t.Fatalf("Commit(%d): %v", b.Height, err)
	}
	return out
}

// votes is what a node saw of the votes for blocks.
type votes struct {
	mu     sync.Mutex
	hashes map[uint64][]byte
	seen   map[uint64][]exec.VoteExtension
	err    error
	asked  chan struct{} // capacity 1: was asked
}

func newVotes() *votes {
	return &votes{hashes: map[uint64][]byte{}, seen: map[uint64][]exec.VoteExtension{}, asked: make(chan struct{}, 1)}
}

func (v *votes) set(height uint64, hash []byte, extensions []exec.VoteExtension) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.hashes[height], v.seen[height] = hash, extensions
}

// extensions is a Config.Extensions.
func (v *votes) extensions(height uint64) ([]byte, []exec.VoteExtension, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	select {
	case v.asked <- struct{}{}:
	default:
	}
	return v.hashes[height], v.seen[height], v.err
}

// validators are the nodes of a committee, which agree on what the test says.
type validators struct {
	net   *network
	gen   settlement.Genesis
	nodes []*node
	votes []*votes // of each node
}

// newValidators makes n validators that run.
func newValidators(t *testing.T, n int, epoch uint64, change ...func(*settlement.Params)) *validators {
	t.Helper()
	params := settlement.LocalParams()
	params.Staking.EpochBlocks = epoch
	for _, f := range change {
		f(&params)
	}
	c := &validators{net: &network{}, gen: withValidators(genesisOf(12, params), n)}
	for i := range n {
		v := newVotes()
		cfg := exec.Config{BLS: blsOf(i), Extensions: v.extensions, CertifyDelay: time.Millisecond}
		c.nodes, c.votes = append(c.nodes, newNode(t, c.net, c.gen, cfg, true)), append(c.votes, v)
	}
	return c
}

func (c *validators) domain() chain.Domain { return c.nodes[0].exec.Domain() }

// next is the sealed block of these bundles above the head.
func (c *validators) next(txs ...[]byte) exec.Block {
	return sealedAt(&c.gen, c.domain(), c.nodes[0].height()+1, txs)
}

// vote lets all nodes accept b and returns what goes with their votes.
func (c *validators) vote(t *testing.T, b exec.Block) []exec.VoteExtension {
	t.Helper()
	extensions := make([]exec.VoteExtension, len(c.nodes))
	for i, n := range c.nodes {
		if err := n.exec.Accept(b); err != nil {
			t.Fatalf("node %d: Accept(%d): %v", i, b.Height, err)
		}
		data, err := n.exec.Extend(b)
		if err != nil {
			t.Fatalf("node %d: Extend(%d): %v", i, b.Height, err)
		}
		extensions[i] = exec.VoteExtension{Validator: consensusOf(i), Data: data}
	}
	return extensions
}

// agree lets all nodes commit b, having seen extensions with the votes.
func (c *validators) agree(t *testing.T, b exec.Block, extensions []exec.VoteExtension) exec.Outcome {
	t.Helper()
	var first exec.Outcome
	for i, n := range c.nodes {
		c.votes[i].set(b.Height, b.Hash, extensions)
		out := n.decide(b)
		if i == 0 {
			first = out
		} else if string(out.AppHash) != string(first.AppHash) {
			t.Fatalf("node %d: app hash %x at %d, want %x", i, out.AppHash, b.Height, first.AppHash)
		}
	}
	return first
}

// certified waits until node i is done with all certificates, and returns that of
// the block at height.
func (c *validators) certified(t *testing.T, i int, height uint64) (cert.Certificate, error) {
	t.Helper()
	e := c.nodes[i].exec
	awaitCertifier(t, e)
	certificate, err := e.Certificate(height)
	if err != nil {
		return certificate, err
	}
	var fault error
	if err := e.Read(func(v chain.View, _ uint64) error {
		com, ok := staking.ReadCommittee(v, certificate.Checkpoint.Epoch)
		if !ok {
			t.Fatalf("no committee of epoch %d", certificate.Checkpoint.Epoch)
		}
		keys, err := com.Keys()
		if err != nil {
			return err
		}
		fault = certificate.Verify(e.Domain().Network, e.Domain().Chain, &com, keys)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if fault != nil {
		t.Errorf("node %d: the certificate of block %d does not verify: %v", i, height, fault)
	}
	return certificate, nil
}

// awaitCertifier waits until no block waits for its certificate.
func awaitCertifier(t *testing.T, e *exec.Main) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	limit := time.After(hangs)
	for e.Uncertified() > 0 {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("%d blocks still wait for a certificate", e.Uncertified())
		}
	}
}
