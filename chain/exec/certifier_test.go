package exec_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
)

// Blocks that are certified together get the certificates that they get one by one, and
// a wrong signature among many is found and costs no other block anything.
func TestBlocksAreCertifiedTogether(t *testing.T) {
	t.Parallel()
	const blocks, forged, lost = 7, 3, 5
	c := newValidators(t, 4, 1000)
	seen := newVotes()
	n := newNode(t, &network{}, c.gen, exec.Config{Extensions: seen.extensions, CertifyDelay: time.Millisecond}, false)
	for height := uint64(1); height <= blocks; height++ {
		b := c.next()
		right := c.vote(t, b)
		sent := slices.Clone(right)
		switch height {
		case forged:
			sent[2].Data = sent[1].Data
		case lost:
			sent[0].Data, sent[3].Data = sent[1].Data, sent[1].Data
		}
		c.agree(t, b, sent)
		n.decide(b)
		seen.set(height, b.Hash, sent)
	}
	n.run() // all of them wait
	awaitCertifier(t, n.exec)
	for height := uint64(1); height <= blocks; height++ {
		want, wantErr := c.certified(t, 1, height)
		got, err := n.exec.Certificate(height)
		if height == lost {
			if !errors.Is(err, exec.ErrNoCertificate) || !errors.Is(wantErr, exec.ErrNoCertificate) {
				t.Errorf("block %d without enough right signatures: %v, one by one %v", height, err, wantErr)
			}
			continue
		}
		if err != nil || wantErr != nil || !bytes.Equal(got.Encode(), want.Encode()) {
			t.Errorf("block %d: signed by %v, %v; one by one by %v, %v", height, got.Signers(), err, want.Signers(), wantErr)
		}
	}
	s := n.exec.Stats()
	if s.Certificates != blocks-1 || s.CertificateHeight != blocks || s.Uncertified != 1 || s.ExtensionsWrong != 3 {
		t.Errorf("%d certificates up to %d, %d not made, %d wrong signatures", s.Certificates, s.CertificateHeight, s.Uncertified, s.ExtensionsWrong)
	}
}

// noHandovers is a store in which no certificate of a block that ends an epoch can be
// kept with the hand-over that it is of.
type noHandovers struct{ kv.Store }

func (s noHandovers) NewBatch() kv.Batch { return noHandoverBatch{s.Store.NewBatch()} }

type noHandoverBatch struct{ kv.Batch }

var errNoHandover = errors.New("no hand-over is stored")

func (b noHandoverBatch) Set(key, value []byte) error {
	const length = 17 // of a hand-over's key, which begins with what it is
	if bytes.Contains(key, []byte("handovers")) && len(key) > length && key[len(key)-length] == 'c' {
		return errNoHandover
	}
	return b.Batch.Set(key, value)
}

// What fails for one block that is certified with others is no other's.
func TestOneBlockFailsOfThoseCertifiedTogether(t *testing.T) {
	t.Parallel()
	const epoch = 16 // its last two blocks fail
	c := newValidators(t, 4, epoch)
	seen := newVotes()
	n := &node{t: t, net: &network{}, store: noHandovers{memkv.New()}, gen: c.gen, arrived: make(chan struct{}, 1)}
	n.open(exec.Config{Extensions: seen.extensions, CertifyDelay: time.Millisecond})
	if _, err := n.exec.InitChain(c.gen.Encode()); err != nil {
		t.Fatal(err)
	}
	for n.height() < epoch {
		b := c.next()
		right := c.vote(t, b)
		c.agree(t, b, right)
		seen.set(b.Height, b.Hash, right)
		n.decide(b)
	}
	n.run() // all of them wait
	awaitCertifier(t, n.exec)
	for height := uint64(1); height <= epoch; height++ {
		if _, err := n.exec.CertificateStored(height); err != nil {
			t.Errorf("block %d: %v", height, err)
		}
	}
	if s := n.exec.Stats(); s.Certificates != epoch-2 || s.Uncertified != 2 || s.CertificateHeight != epoch {
		t.Errorf("%d certificates up to %d, %d not made", s.Certificates, s.CertificateHeight, s.Uncertified)
	}
}

// The first block after a rest is certified at once, those that follow it soon are when
// enough of them wait, and those that end an epoch do not wait.
func TestBlocksWaitForEachOther(t *testing.T) {
	t.Parallel()
	const epoch = 16
	c := newValidators(t, 4, epoch)
	seen := newVotes()
	// As good as for ever: what is certified is so for another reason.
	n := newNode(t, &network{}, c.gen, exec.Config{Extensions: seen.extensions, CertifyDelay: time.Hour}, true)
	reach := func(height uint64) {
		for n.height() < height {
			b := c.next()
			right := c.vote(t, b)
			c.agree(t, b, right)
			seen.set(b.Height, b.Hash, right)
			n.decide(b)
		}
	}
	const together = exec.CertifyTogether
	for _, row := range []struct {
		name   string
		height uint64
		all    bool
	}{
		{"the first", 1, true},
		{"too few", together, false},
		{"enough", together + 1, true},
		{"the last before the election", epoch - 2, false},
		{"the election", epoch - 1, true},
		{"the end of the epoch", epoch, true},
		{"the next epoch", epoch + 1, false},
	} {
		reach(row.height)
		if !row.all {
			if _, err := n.exec.Certificate(row.height); !errors.Is(err, exec.ErrNoCertificate) {
				t.Errorf("%s: block %d did not wait: %v", row.name, row.height, err)
			}
			continue
		}
		awaitCertifier(t, n.exec)
		if latest, err := n.exec.LatestCertificate(); err != nil || latest.Checkpoint.Height != row.height {
			t.Errorf("%s: the newest certificate is of block %d, %v", row.name, latest.Checkpoint.Height, err)
		}
	}
	if s := n.exec.Stats(); s.Certificates != epoch || s.Uncertified != 0 {
		t.Errorf("%d certificates, %d not made", s.Certificates, s.Uncertified)
	}
}

// What is signed while a block is voted on is what is signed when the vote is cast, in
// every round.
func TestExtensionsSignedAhead(t *testing.T) {
	t.Parallel()
	c := newValidators(t, 2, 1000)
	slow := newNode(t, &network{}, c.gen, exec.Config{BLS: blsOf(0)}, false) // does nothing ahead
	met := map[string]bool{}
	for height := uint64(1); height <= 3; height++ {
		b := c.next()
		if err := c.nodes[0].exec.Accept(b); err != nil {
			t.Fatal(err)
		}
		if !c.nodes[0].exec.WaitAhead(b) || !c.nodes[0].exec.SignedAhead(b) || slow.exec.SignedAhead(b) {
			t.Errorf("block %d is not signed ahead, or by who does nothing ahead", height)
		}
		right := c.vote(t, b)
		for _, round := range []uint32{0, 2, 0, 1} {
			b.Round = round
			want, err := slow.exec.Extend(b)
			if err != nil || len(want) == 0 {
				t.Fatalf("block %d, round %d: %x, %v", height, round, want, err)
			}
			got, err := c.nodes[0].exec.Extend(b)
			if err != nil || !bytes.Equal(got, want) || round == 0 && !bytes.Equal(got, right[0].Data) {
				t.Errorf("block %d, round %d: signed ahead %x, %v; else %x", height, round, got, err, want)
			}
			met[string(want)] = true
			clear(got) // is the caller's
		}
		b.Round = 0
		c.agree(t, b, right)
		slow.decide(b)
	}
	if len(met) != 9 {
		t.Errorf("%d signatures of 3 blocks in 3 rounds", len(met))
	}
}
