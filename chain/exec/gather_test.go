package exec_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/cert"
)

// lateNet is four validators that agree on what the test says, and a node that asks, of
// validator 0. Of the blocks it makes nobody sees signatures but those of 1.
type lateNet struct {
	*validators
	asker *node
	seen  *votes
	asked [][]byte // questions
	round atomic.Uint32
}

// newLateNet makes blocks up to a height.
func newLateNet(t *testing.T, height uint64) *lateNet {
	t.Helper()
	l := &lateNet{validators: newValidators(t, 4, 1_000), seen: newVotes()}
	for i, n := range l.nodes {
		n.open(l.config(i, l.votes[i]))
	}
	l.asker = newNode(t, &network{}, l.gen, l.config(0, l.seen), false)
	for range height {
		b := l.next()
		extensions := l.vote(t, b)[1:2]
		l.agree(t, b, extensions)
		l.seen.set(b.Height, b.Hash, extensions)
		l.asker.decide(b)
	}
	return l
}

// config is what member i runs with, which signs late.
func (l *lateNet) config(i int, v *votes) exec.Config {
	return exec.Config{
		BLS: blsOf(i), Extensions: v.extensions, CertifyDelay: time.Hour,
		CommitRound: func(height uint64) ([]byte, uint32, error) {
			hash, _, err := v.extensions(height)
			if err == nil && hash == nil {
				err = errors.New("no such block")
			}
			return hash, l.round.Load(), err
		},
		Ask: func(question []byte) { l.asked = append(l.asked, bytes.Clone(question)) },
	}
}

// ask has the asker count what it has of a block and ask for the rest.
func (l *lateNet) ask(t *testing.T, height uint64) (question []byte) {
	t.Helper()
	for range 20 {
		l.asker.exec.CertifyBlock(height) // its votes do not suffice
	}
	l.asked = nil
	for range 2 * exec.WantedRest {
		l.asker.exec.Gather(true)
		for _, q := range l.asked {
			if binary.BigEndian.Uint64(q) == height {
				return q
			}
		}
	}
	t.Fatalf("block %d is not asked for", height)
	return nil
}

// A node gets its certificate of the signatures of two peers beside its own, and a third
// node gets it from that one.
func TestSignaturesAreGathered(t *testing.T) {
	t.Parallel()
	l := newLateNet(t, 3)
	for _, round := range []uint32{0, 7} { // in which the votes were not, or as the next block says
		height := uint64(2)
		if round == 7 {
			height = 3
		}
		l.round.Store(round)
		if _, err := l.asker.exec.Certificate(height); !errors.Is(err, exec.ErrNoCertificate) {
			t.Fatalf("with one vote: %v", err)
		}
		question := l.ask(t, height)
		for i := 1; i < 4; i++ {
			answer := l.nodes[i].exec.Answer(question)
			if i == 1 && round == 0 {
				if answer != nil { // its signature came with its vote
					t.Errorf("member 1 repeats what is there: %x", answer)
				}
				continue
			}
			if err := l.asker.exec.Answered(answer); err != nil {
				t.Fatalf("answer of member %d: %v", i, err)
			}
			if err := l.asker.exec.Answered(answer); err != nil {
				t.Errorf("the same again: %v", err)
			}
		}
		l.asker.exec.Gather(false)
		certificate, err := l.asker.exec.CertificateStored(height)
		if err != nil || certificate.Checkpoint.Round != round || len(certificate.Signers()) != 4 {
			t.Fatalf("block %d: %v in round %d, %v", height, certificate.Signers(), certificate.Checkpoint.Round, err)
		}
		com := l.gen.Committee()
		keys, err := com.Keys()
		if err != nil {
			t.Fatal(err)
		}
		if err := certificate.Verify(l.domain().Network, l.domain().Chain, &com, keys); err != nil {
			t.Error(err)
		}
		if answer := l.asker.exec.Answer(question); !bytes.Equal(answer, append([]byte("c"), certificate.Encode()...)) {
			t.Errorf("who has the certificate answers %x", answer)
		}
		if err := l.asker.exec.Answered(append([]byte("c"), certificate.Encode()...)); err != nil {
			t.Errorf("a certificate that nobody waits for: %v", err)
		}
	}
	l.round.Store(0)
	l.ask(t, 1)
	certificate := l.certificate(t, 1, 0)
	if err := l.asker.exec.Answered(append([]byte("c"), certificate.Encode()...)); err != nil {
		t.Fatal(err)
	}
	if got, err := l.asker.exec.CertificateStored(1); err != nil || !slices.Equal(got.Signers(), certificate.Signers()) {
		t.Errorf("block 1: %v, %v", got.Signers(), err)
	}
}

// certificate makes the certificate of a block with the keys of members 1 to 3.
func (l *lateNet) certificate(t *testing.T, height uint64, round uint32) cert.Certificate {
	t.Helper()
	c, err := l.nodes[1].exec.CheckpointAt(height)
	if err != nil || c == nil {
		t.Fatalf("checkpoint of block %d: %v, %v", height, c, err)
	}
	c.Round = round
	com := l.gen.Committee()
	keys, err := com.Keys()
	if err != nil {
		t.Fatal(err)
	}
	var list []cert.Vote
	for i := 1; i < 4; i++ {
		at, ok := com.FindAddress(consensusOf(i))
		if !ok {
			t.Fatalf("member %d is in no committee", i)
		}
		list = append(list, cert.Vote{Member: at, Signature: blsOf(i).Sign(c.Message())})
	}
	certificate, _, err := cert.Assemble(*c, &com, keys, list)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

// What is wrong in an answer is told, and does not count.
func TestWrongAnswersAboutSignatures(t *testing.T) {
	t.Parallel()
	l := newLateNet(t, 2)
	question := l.ask(t, 2)
	right := l.nodes[2].exec.Answer(question)
	const first = 1 + 8 + 4 + 2 // byte of the first share
	change := func(at int, b ...byte) []byte { return slices.Replace(slices.Clone(right), at, at+len(b), b...) }
	other := l.nodes[2].exec.Answer(slices.Replace(slices.Clone(question), 7, 8, 1)) // block 1
	com := l.gen.Committee()
	third, _ := com.FindAddress(consensusOf(3))
	certificate := l.certificate(t, 2, 0)
	state, forged, ofRound := certificate, certificate, l.certificate(t, 2, 5)
	state.Checkpoint.StateRoot[0] ^= 1
	forged.Signature = ofRound.Signature
	encoded := func(c *cert.Certificate) []byte { return append([]byte("c"), c.Encode()...) }
	for _, row := range []struct {
		name   string
		answer []byte
		wrong  bool
	}{
		{"nothing", nil, true},
		{"no kind", change(0, 'x'), true},
		{"short", right[:len(right)-1], true},
		{"long", append(slices.Clone(right), 0), true},
		{"no signatures", change(13, 0, 0), true},
		{"too many signatures", change(13, 0, 17), true},
		{"no member", change(first, 0, 4), true},
		{"another member", change(first, 0, byte(third)), true},
		{"garbage", change(first+2, make([]byte, bls.SignatureSize)...), true},
		{"a signature of another block", append(slices.Clone(right[:first]), other[first:]...), true},
		{"another block", other, false}, // which nobody waits for
		{"a block that is not there", change(1, 1), false},
		{"another round", change(9, 1), false},
		{"no certificate", []byte("c"), true},
		{"a certificate of another state", encoded(&state), true},
		{"a certificate of other signatures", encoded(&forged), true},
	} {
		if err := l.asker.exec.Answered(row.answer); (err != nil) != row.wrong {
			t.Errorf("%s: %v", row.name, err)
		}
		l.asker.exec.Gather(false)
	}
	if _, err := l.asker.exec.CertificateStored(2); err == nil {
		t.Fatal("a certificate was made of wrong answers")
	}
	if have := l.ask(t, 2); !bytes.Equal(have, question) {
		t.Errorf("after wrong answers it has %x, had %x", have, question)
	}
	if err := l.asker.exec.Answered(encoded(&ofRound)); err != nil {
		t.Errorf("a certificate of another round, which holds: %v", err)
	}
}

// Who does not know, or must not sign, answers nothing.
func TestWhoSignsLate(t *testing.T) {
	t.Parallel()
	l := newLateNet(t, 2)
	question := l.ask(t, 2)
	for _, row := range []struct {
		name     string
		question []byte
	}{
		{"nothing", nil},
		{"short", question[:7]},
		{"long", append(slices.Clone(question), 1)},
		{"no block", slices.Replace(slices.Clone(question), 7, 8, 0)},
		{"a block to come", slices.Replace(slices.Clone(question), 7, 8, 3)},
	} {
		if answer := l.nodes[2].exec.Answer(row.question); answer != nil {
			t.Errorf("%s is answered: %x", row.name, answer)
		}
	}
	first := l.nodes[2].exec.Answer(question)
	l.nodes[2].open(l.config(2, l.votes[2]))
	if again := l.nodes[2].exec.Answer(question); first == nil || !bytes.Equal(first, again) {
		t.Errorf("after a restart it answers %x, before %x", again, first)
	}
	for _, row := range []struct {
		name   string
		change func(c *exec.Config)
	}{
		{"no member", func(c *exec.Config) { c.BLS = blsOf(9) }},
		{"no key", func(c *exec.Config) { c.BLS = nil }},
		{"no word about rounds", func(c *exec.Config) { c.CommitRound = nil }},
		{"another block was decided", func(c *exec.Config) {
			c.CommitRound = func(uint64) ([]byte, uint32, error) { return make([]byte, 32), 0, nil }
		}},
		{"its vote had the signature of another state", func(c *exec.Config) {
			c.Extensions = func(height uint64) ([]byte, []exec.VoteExtension, error) {
				hash, list, err := l.votes[2].extensions(height)
				wrong := blsOf(2).Sign([]byte("another state"))
				return hash, append(slices.Clone(list), exec.VoteExtension{Validator: consensusOf(2), Data: wrong[:]}), err
			}
		}},
	} {
		cfg := l.config(2, l.votes[2])
		row.change(&cfg)
		l.nodes[2].open(cfg)
		if answer := l.nodes[2].exec.Answer(question); answer != nil {
			t.Errorf("%s: answered %x", row.name, answer)
		}
	}
	// What it remembers to have signed is not contradicted.
	l.nodes[2].open(l.config(2, l.votes[2]))
	c, err := l.nodes[2].exec.CheckpointAt(2)
	if err != nil {
		t.Fatal(err)
	}
	c.StateRoot[0] ^= 1
	l.nodes[2].exec.NoteSent(c)
	if answer := l.nodes[2].exec.Answer(question); answer != nil {
		t.Errorf("it signed another state with its vote: answered %x", answer)
	}
}

// Who asks for the certificate of one of many blocks without has the node ask for those of
// the blocks after it, too.
func TestGapsAreFilled(t *testing.T) {
	t.Parallel()
	const old = 6
	l := newLateNet(t, exec.MaxUncertified+old)
	l.asker.open(l.config(0, l.seen)) // of the oldest it has given up
	fill := func() (heights []uint64) {
		l.asked = nil
		l.asker.exec.Gather(true)
		for _, question := range l.asked {
			heights = append(heights, binary.BigEndian.Uint64(question))
			for _, n := range l.nodes[2:] {
				if answer := n.exec.Answer(question); answer != nil {
					if err := l.asker.exec.Answered(answer); err != nil {
						t.Error(err)
					}
				}
			}
		}
		l.asker.exec.Gather(false)
		return heights
	}
	if _, err := l.asker.exec.Certificate(2); !errors.Is(err, exec.ErrNoCertificate) {
		t.Fatalf("with one vote: %v", err)
	}
	if asked := fill(); !slices.Equal(asked, []uint64{2}) {
		t.Errorf("it asks for blocks %d", asked)
	}
	if asked := fill(); !slices.Equal(asked, []uint64{3, 4, 5, 6}) {
		t.Errorf("then it asks for blocks %d", asked)
	}
	for height := uint64(2); height <= old; height++ {
		if _, err := l.asker.exec.CertificateStored(height); err != nil {
			t.Errorf("block %d: %v", height, err)
		}
	}
	if asked := fill(); len(asked) > 0 {
		t.Errorf("it goes on to ask for blocks %d", asked)
	}
}
