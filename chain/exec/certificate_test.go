package exec_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/ledger"
)

// What is in a certificate is what everybody can look up.
func TestCertificatesSayWhatTheChainDid(t *testing.T) {
	t.Parallel()
	const epoch = 10
	c := newValidators(t, 4, epoch)
	d := c.domain()
	for height := uint64(1); height <= 2*epoch+2; height++ {
		bundle := chain.EncodeRecords([][]byte{accountOf(0).txAt(d, height-1, chain.KindTransfer, transfer(accountOf(1).addr, 1))})
		b := c.next(bundle)
		out := c.agree(t, b, c.vote(t, b))
		for i := range c.nodes {
			certificate, err := c.certified(t, i, height)
			if err != nil {
				t.Fatalf("node %d, block %d: %v", i, height, err)
			}
			p := certificate.Checkpoint
			if p.Height != height || p.Epoch != (height-1)/epoch || !bytes.Equal(p.BlockHash[:], b.Hash) ||
				!bytes.Equal(p.StateRoot[:], out.AppHash) || p.ResultsRoot.IsZero() ||
				!p.OutboxRoot.IsZero() || !p.UsageRoot.IsZero() {
				t.Errorf("block %d: checkpoint %+v", height, p)
			}
			if signers := certificate.Signers(); len(signers) != 4 {
				t.Errorf("block %d is signed by %v", height, signers)
			}
			latest, err := c.nodes[i].exec.LatestCertificate()
			if err != nil || latest.Checkpoint != p {
				t.Errorf("node %d: latest certificate %+v, %v", i, latest.Checkpoint, err)
			}
		}
	}
	s := c.nodes[2].exec.Stats()
	if s.Certificates != 2*epoch+2 || s.CertificateHeight != 2*epoch+2 || s.Uncertified+s.ExtensionsWrong+s.ExtensionsEmpty != 0 {
		t.Errorf("stats %+v", s)
	}
	if s.Ahead != s.Blocks {
		t.Errorf("%d of %d blocks were executed for the votes", s.Ahead, s.Blocks)
	}
	if _, err := c.nodes[0].exec.Certificate(1000); !errors.Is(err, exec.ErrNoCertificate) {
		t.Errorf("certificate of no block: %v", err)
	}
	for more := true; more; {
		var err error
		if more, err = c.nodes[0].exec.PruneCertificates(2*epoch, 3); err != nil {
			t.Fatal(err)
		}
	}
	for height, want := range map[uint64]bool{1: false, 2*epoch - 1: false, 2 * epoch: true, 2*epoch + 2: true} {
		if _, err := c.nodes[0].exec.Certificate(height); (err == nil) != want {
			t.Errorf("certificate of block %d after pruning: %v", height, err)
		}
	}
}

// A certificate is there if and only if more than two thirds of the power signed
// what this node came to, whatever the others sent instead.
func TestCertificatesAtEveryShareOfWrongExtensions(t *testing.T) {
	t.Parallel()
	const validators = 4
	c := newValidators(t, validators, 100)
	d := c.domain()
	previous := make([][]byte, validators)
	random := bytes.Repeat([]byte{0xa5}, 48)
	kinds := []struct {
		name  string
		spoil func(i int, right, others []byte) []byte
		empty bool // counts as empty, not as wrong
	}{
		{"none", func(int, []byte, []byte) []byte { return nil }, true},
		{"garbage", func(int, []byte, []byte) []byte { return random }, false},
		{"short", func(_ int, right, _ []byte) []byte { return right[:47] }, false},
		{"long", func(_ int, right, _ []byte) []byte { return append(slices.Clone(right), 0) }, false},
		{"oversize", func(int, []byte, []byte) []byte { return make([]byte, 1<<20) }, false},
		{"a flipped bit", func(_ int, right, _ []byte) []byte { right = slices.Clone(right); right[9] ^= 4; return right }, false},
		{"another height's", func(i int, _, _ []byte) []byte { return previous[i] }, false},
		{"another validator's", func(_ int, _, others []byte) []byte { return others }, false},
		{"the identity", func(int, []byte, []byte) []byte { return append([]byte{0xc0}, make([]byte, 47)...) }, false},
	}
	wantEmpty, wantNone := uint64(0), uint64(0)
	nonce := uint64(0)
	for _, kind := range kinds {
		for share := range validators + 1 {
			bad := share
			bundle := chain.EncodeRecords([][]byte{accountOf(0).txAt(d, nonce, chain.KindTransfer, transfer(accountOf(1).addr, 1))})
			nonce++
			b := c.next(bundle)
			right := c.vote(t, b)
			sent := slices.Clone(right)
			for i := range bad {
				sent[i].Data = kind.spoil(i, right[i].Data, right[(i+1)%validators].Data)
			}
			c.agree(t, b, sent)
			for i := range previous {
				previous[i] = right[i].Data
			}
			name := fmt.Sprintf("%s from %d of %d", kind.name, bad, validators)
			certificate, err := c.certified(t, 0, b.Height)
			want := 3*(validators-bad) > 2*validators
			if bad == validators && kind.name == "another validator's" {
				want = true // all four signatures are there, each under another name
				bad = 0
			}
			if want != (err == nil) {
				t.Errorf("%s: %v", name, err)
			} else if want && len(certificate.Signers()) != validators-bad {
				t.Errorf("%s: signed by %v", name, certificate.Signers())
			} else if !want {
				wantNone++
			}
			if kind.empty {
				wantEmpty += uint64(bad)
			}
		}
	}
	s := c.nodes[0].exec.Stats()
	if s.Uncertified != wantNone || s.ExtensionsEmpty != wantEmpty {
		t.Errorf("%d blocks without certificate and %d empty extensions, want %d and %d", s.Uncertified, s.ExtensionsEmpty, wantNone, wantEmpty)
	}
	// What could have been a signature is checked only where it matters: where
	// the rest could make a certificate.
	if least := uint64(len(kinds) - 1); s.ExtensionsWrong < least {
		t.Errorf("%d wrong extensions, want at least %d", s.ExtensionsWrong, least)
	}
	if err := c.nodes[0].exec.HaltError(); err != nil {
		t.Error(err)
	}
}

// Strangers, second votes and votes for another block count for nothing.
func TestCertificatesOfOddVotes(t *testing.T) {
	t.Parallel()
	c := newValidators(t, 4, 100)
	b := c.next()
	right := c.vote(t, b)
	stranger := exec.VoteExtension{Validator: consensusOf(70), Data: right[3].Data}
	c.agree(t, b, []exec.VoteExtension{right[0], right[1], right[1], stranger})
	if _, err := c.certified(t, 1, b.Height); !errors.Is(err, exec.ErrNoCertificate) {
		t.Errorf("two of four made a certificate: %v", err)
	}
	b = c.next()
	right = c.vote(t, b)
	c.agree(t, b, []exec.VoteExtension{stranger, right[2], right[0], right[2], right[3]})
	if certificate, err := c.certified(t, 1, b.Height); err != nil || len(certificate.Signers()) != 3 {
		t.Errorf("three of four: %v, %v", certificate.Signers(), err)
	}
	b = c.next()
	right = c.vote(t, b)
	for i, n := range c.nodes {
		c.votes[i].set(b.Height, bytes.Repeat([]byte{1}, 32), right)
		n.decide(b)
	}
	if _, err := c.certified(t, 0, b.Height); !errors.Is(err, exec.ErrNoCertificate) {
		t.Errorf("votes for another block made a certificate: %v", err)
	}
}

// Votes that come after the block make its certificate too, and no vote costs the
// block anything.
func TestCertificatesOfLateVotes(t *testing.T) {
	t.Parallel()
	c := newValidators(t, 4, 100)
	seen := newVotes()
	n := newNode(t, &network{}, c.gen, exec.Config{Extensions: seen.extensions, CertifyDelay: 300 * time.Millisecond}, true)
	b := c.next()
	right := c.vote(t, b)
	c.agree(t, b, right[:2])
	seen.set(b.Height, b.Hash, right[:2])
	n.decide(b)
	<-seen.asked // and found two
	seen.set(b.Height, b.Hash, right[:3])
	awaitCertifier(t, n.exec)
	if certificate, err := n.exec.Certificate(b.Height); err != nil || len(certificate.Signers()) != 3 {
		t.Errorf("certificate with a late vote: %v, %v", certificate.Signers(), err)
	}
	if _, err := c.certified(t, 0, b.Height); !errors.Is(err, exec.ErrNoCertificate) {
		t.Errorf("two votes made a certificate: %v", err)
	}
}

// A node that stopped before it made the certificates of its last blocks makes them
// when it is back, even if consensus takes a while to start.
func TestCertificatesAfterARestart(t *testing.T) {
	t.Parallel()
	c := newValidators(t, 4, 100)
	late := newVotes()
	late.err = errors.New("chain is not running")
	cfg := exec.Config{BLS: blsOf(0), Extensions: late.extensions, CertifyDelay: 20 * time.Millisecond}
	n := newNode(t, &network{}, c.gen, cfg, false) // without Run nothing is certified
	for range 3 {
		b := c.next()
		right := c.vote(t, b)
		c.agree(t, b, right)
		n.decide(b)
		late.set(b.Height, b.Hash, right)
	}
	n.open(cfg)
	if got := n.exec.Uncertified(); got != 3 {
		t.Fatalf("%d blocks wait for a certificate after the restart, want 3", got)
	}
	if _, err := n.exec.Certificate(2); !errors.Is(err, exec.ErrNoCertificate) {
		t.Errorf("certificate that is to be made: %v", err)
	}
	n.run()
	<-late.asked
	late.mu.Lock()
	late.err = nil
	late.mu.Unlock()
	awaitCertifier(t, n.exec)
	for height := uint64(1); height <= 3; height++ {
		want, err := c.certified(t, 1, height)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := n.exec.Certificate(height); err != nil || !bytes.Equal(got.Encode(), want.Encode()) {
			t.Errorf("block %d: certificate after a restart: %+v, %v", height, got.Checkpoint, err)
		}
	}
	if s := n.exec.Stats(); s.Certificates != 3 {
		t.Errorf("%d certificates were made without being asked for, want 3", s.Certificates)
	}
	n.open(cfg)
	if got := n.exec.Uncertified(); got != 0 {
		t.Errorf("%d blocks wait for a certificate although all have one", got)
	}
	if again, err := n.exec.LatestCertificate(); err != nil || again.Checkpoint.Height != 3 {
		t.Errorf("latest certificate after a restart: %+v, %v", again.Checkpoint, err)
	}
}

// A node that gets blocks faster than it certifies them forgets the oldest, and
// goes on.
func TestTooManyBlocksToCertify(t *testing.T) {
	t.Parallel()
	c := newValidators(t, 1, 1000)
	seen := newVotes()
	n := newNode(t, &network{}, c.gen, exec.Config{BLS: blsOf(0), Extensions: seen.extensions, CertifyDelay: time.Millisecond}, false)
	const blocks = exec.MaxUncertified + 7
	for range blocks {
		b := c.next()
		right := c.vote(t, b)
		c.agree(t, b, right)
		seen.set(b.Height, b.Hash, right)
		n.decide(b)
	}
	if n.exec.Uncertified() != exec.MaxUncertified || n.exec.Stats().Uncertified != blocks-exec.MaxUncertified {
		t.Errorf("%d blocks wait, %d were given up", n.exec.Uncertified(), n.exec.Stats().Uncertified)
	}
	n.run()
	awaitCertifier(t, n.exec)
	if s := n.exec.Stats(); s.Certificates != exec.MaxUncertified || s.CertificateHeight != blocks {
		t.Errorf("%d certificates up to %d", s.Certificates, s.CertificateHeight)
	}
}

// Extend waits for the block's execution, signs the same state whatever came
// before, and signs nothing of a block that cannot be executed now.
func TestExtendSignsTheStateAfterTheBlock(t *testing.T) {
	t.Parallel()
	c := newValidators(t, 2, 100)
	bundle := func(to int, amount ledger.Amount) []byte {
		return chain.EncodeRecords([][]byte{accountOf(0).txAt(c.domain(), 0, chain.KindTransfer, transfer(accountOf(to).addr, amount))})
	}
	b, other := c.next(bundle(1, 5)), c.next(bundle(2, 7))
	plain, err := c.nodes[0].exec.Extend(b) // never accepted
	if err != nil || len(plain) != 48 {
		t.Fatalf("Extend = %x, %v", plain, err)
	}
	odd, err := c.nodes[0].exec.Extend(other)
	if err != nil || bytes.Equal(odd, plain) {
		t.Errorf("two blocks have one extension: %x, %v", odd, err)
	}
	again, err := c.nodes[0].exec.Extend(b)
	if err != nil || !bytes.Equal(again, plain) {
		t.Errorf("the extension became %x, %v; was %x", again, err, plain)
	}
	later := b
	later.Height = 9
	if extension, err := c.nodes[0].exec.Extend(later); err == nil {
		t.Errorf("an extension of a block far ahead: %x", extension)
	}
	out := c.nodes[0].decide(other)
	if second := c.nodes[1].decide(other); !bytes.Equal(out.AppHash, second.AppHash) {
		t.Errorf("app hashes %x and %x", out.AppHash, second.AppHash)
	}
}

// Certificates go back as far as receipts.
func TestOldCertificatesGo(t *testing.T) {
	t.Parallel()
	c := newValidators(t, 1, 1000)
	seen := newVotes()
	cfg := exec.Config{BLS: blsOf(0), Extensions: seen.extensions, CertifyDelay: time.Millisecond, KeepReceipts: 10}
	n := newNode(t, &network{}, c.gen, cfg, true)
	const blocks = 100
	for range blocks {
		b := c.next()
		right := c.vote(t, b)
		c.agree(t, b, right)
		seen.set(b.Height, b.Hash, right)
		n.decide(b)
		awaitCertifier(t, n.exec)
	}
	for height, want := range map[uint64]bool{1: false, 20: false, 60: false, 95: true, blocks: true} {
		if _, err := n.exec.Certificate(height); (err == nil) != want {
			t.Errorf("certificate of block %d: %v", height, err)
		}
	}
}

// A node that fetches the blocks, and never executes one ahead, comes to the same
// states and to the same certificates as those that voted, through epochs, seals,
// votes and elections.
func TestBlocksOfValidatorsReplay(t *testing.T) {
	t.Parallel()
	const epoch = 10
	c := newValidators(t, 4, epoch)
	d := c.domain()
	seen := newVotes()
	n := newNode(t, &network{}, c.gen, exec.Config{Extensions: seen.extensions, CertifyDelay: time.Millisecond}, false)
	nonce := uint64(0)
	for height := uint64(1); height <= 3*epoch+1; height++ {
		var txs [][]byte
		if height%3 != 0 {
			txs = append(txs, chain.EncodeRecords([][]byte{accountOf(0).txAt(d, nonce, chain.KindTransfer, transfer(accountOf(1).addr, 1))}))
			nonce++
		}
		b := c.next(txs...)
		rejected := c.next(chain.EncodeTick(height)) // by the same proposer, in a round that failed
		for _, voter := range c.nodes {
			if err := voter.exec.Accept(rejected); err != nil {
				t.Fatal(err)
			}
		}
		right := c.vote(t, b)
		out := c.agree(t, b, right)
		seen.set(height, b.Hash, right)
		if late := n.decide(b); !bytes.Equal(late.AppHash, out.AppHash) || len(late.Updates) != len(out.Updates) {
			t.Fatalf("block %d: app hash %x with %d updates, the validators have %x with %d",
				height, late.AppHash, len(late.Updates), out.AppHash, len(out.Updates))
		}
	}
	if s := n.exec.Stats(); s.Ahead != 0 {
		t.Errorf("%d blocks were executed ahead", s.Ahead)
	}
	n.run()
	awaitCertifier(t, n.exec)
	for height := uint64(1); height <= 3*epoch+1; height++ {
		want, err := c.certified(t, 2, height)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := n.exec.Certificate(height); err != nil || !bytes.Equal(got.Encode(), want.Encode()) {
			t.Errorf("block %d: certificate %+v, %v", height, got.Checkpoint, err)
		}
	}
}
