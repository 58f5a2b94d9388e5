package exec_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/consensus/beacon"
)

// Each row breaks one thing of a sealed block.
func TestAcceptWantsTheProposersSeal(t *testing.T) {
	t.Parallel()
	c := newValidators(t, 4, 20)
	d, e := c.domain(), c.nodes[0].exec
	bundle := chain.EncodeRecords([][]byte{accountOf(0).transfer(d, accountOf(1).addr, 1)})
	const height, proposer = 1, 1
	signed := func(i int, message []byte) []byte {
		s := chain.Seal{Height: height, Signature: blsOf(i).Sign(message)}
		return s.Encode()
	}
	good := sealOf(&c.gen, d, proposer, height)
	flipped := bytes.Clone(good)
	flipped[20] ^= 1
	zero := (&chain.Seal{Height: height}).Encode()
	other := d
	other.Network[0] ^= 1
	stranger := consensusOf(77)
	member := consensusOf(proposer)
	for _, row := range []struct {
		name     string
		proposer []byte
		txs      [][]byte
		want     chain.Code
	}{
		{"sealed", member[:], [][]byte{good, bundle}, chain.CodeOK},
		{"sealed and nothing else", member[:], [][]byte{good}, chain.CodeOK},
		{"no seal", member[:], [][]byte{bundle}, chain.CodeInvalidValue},
		{"nothing", member[:], nil, chain.CodeInvalidValue},
		{"seal at the end", member[:], [][]byte{bundle, good}, chain.CodeInvalidValue},
		{"two seals", member[:], [][]byte{good, zero, bundle}, chain.CodeInvalidValue},
		{"the same seal twice", member[:], [][]byte{good, good}, chain.CodeInvalidValue},
		{"seal of another height", member[:], [][]byte{sealOf(&c.gen, d, proposer, height+1), bundle}, chain.CodeInvalidValue},
		{"seal of another validator", member[:], [][]byte{sealOf(&c.gen, d, 2, height), bundle}, chain.CodeBadSignature},
		{"another height is signed", member[:], [][]byte{signed(proposer, beacon.Message(d.Network, d.Chain, 0, height+1))}, chain.CodeBadSignature},
		{"another epoch is signed", member[:], [][]byte{signed(proposer, beacon.Message(d.Network, d.Chain, 1, height))}, chain.CodeBadSignature},
		{"another network is signed", member[:], [][]byte{signed(proposer, beacon.Message(other.Network, d.Chain, 0, height))}, chain.CodeBadSignature},
		{"a flipped bit", member[:], [][]byte{flipped, bundle}, chain.CodeBadSignature},
		{"no signature", member[:], [][]byte{zero, bundle}, chain.CodeBadSignature},
		{"cut", member[:], [][]byte{good[:len(good)-1], bundle}, chain.CodeMalformed},
		{"a stranger's block with a member's seal", stranger[:], [][]byte{good, bundle}, chain.CodeInvalidValue},
		{"a stranger's block without a seal", stranger[:], [][]byte{bundle}, chain.CodeOK},
		{"nobody's block", nil, [][]byte{bundle}, chain.CodeOK},
	} {
		b := blockAt(&c.gen, height, row.txs)
		b.Proposer = row.proposer
		err := e.Accept(b)
		if row.want == chain.CodeOK {
			if err != nil {
				t.Errorf("%s: %v", row.name, err)
			}
			continue
		}
		if err == nil || codeOf(t, err) != row.want {
			t.Errorf("%s: %v, want %v", row.name, err, row.want)
		}
	}
	// A seal is not for sending.
	for _, recheck := range []bool{false, true} {
		if err := e.Check(good, recheck); err == nil {
			t.Error("Check takes a seal")
		}
	}
}

// A chain without validators in its genesis has no seals.
func TestNoSealsWithoutStaking(t *testing.T) {
	t.Parallel()
	n := newNode(t, &network{}, genesisOf(2, settlement.LocalParams()), exec.Config{BLS: blsOf(0)}, true)
	if txs := n.propose(); len(txs) != 0 {
		t.Errorf("proposed %x", txs)
	}
	b := blockAt(&n.gen, 1, nil)
	if extension, err := n.exec.Extend(b); err != nil || extension != nil {
		t.Errorf("Extend = %x, %v", extension, err)
	}
	n.decide(b)
	if _, err := n.exec.LatestCertificate(); !errors.Is(err, exec.ErrNoCertificate) {
		t.Errorf("LatestCertificate: %v", err)
	}
}

// What members propose is accepted by all, at every size; whoever has no key for
// the epoch proposes what nobody accepts.
func TestProposalsAreSealed(t *testing.T) {
	t.Parallel()
	c := newValidators(t, 3, 20)
	d := c.domain()
	bundle := chain.EncodeRecords([][]byte{accountOf(0).transfer(d, accountOf(1).addr, 1)})
	for i, n := range c.nodes {
		address := consensusOf(i)
		for _, room := range []int64{chain.SealBundleSize + 6, chain.SealBundleSize + 12 + int64(len(bundle)), 1 << 20} {
			txs := n.exec.Propose(1, room, [][]byte{bundle})
			size := int64(0)
			for _, tx := range txs {
				size += int64(len(tx)) + 6
			}
			if len(txs) == 0 || !bytes.Equal(txs[0], sealOf(&c.gen, d, i, 1)) || size > room {
				t.Fatalf("node %d proposes %d transactions of %d bytes, at most %d", i, len(txs), size, room)
			}
			if room > 100 && len(txs) != 2 {
				t.Errorf("node %d leaves out a bundle that fits", i)
			}
			b := blockAt(&c.gen, 1, txs)
			b.Proposer = address[:]
			for _, voter := range c.nodes {
				if err := voter.exec.Accept(b); err != nil {
					t.Errorf("a proposal of node %d: %v", i, err)
				}
			}
		}
	}
	for _, key := range []exec.Config{{}, {BLS: blsOf(50)}} {
		n := newNode(t, &network{}, c.gen, key, true)
		if txs := n.exec.Propose(1, 1<<20, nil); len(txs) != 0 {
			t.Errorf("a node without a key of the committee proposes %x", txs)
		}
		if extension, err := n.exec.Extend(c.next()); err != nil || extension != nil {
			t.Errorf("Extend without a key of the committee = %x, %v", extension, err)
		}
	}
}

// Seals, votes and ticks of blocks without records leave the state as it is, but
// for the two blocks of an epoch that end it.
func TestSealsDoNotKeepAChainBusy(t *testing.T) {
	t.Parallel()
	const epoch = 20
	c := newValidators(t, 4, epoch)
	n := c.nodes[0]
	bundle := chain.EncodeRecords([][]byte{accountOf(0).transfer(c.domain(), accountOf(1).addr, 1)})
	_, before := n.exec.Head()
	before = bytes.Clone(before)
	for height := uint64(1); height <= 2*epoch+3; height++ {
		var txs [][]byte
		switch {
		case height == 3:
			txs = append(txs, bundle)
		case height%4 == 1:
			txs = append(txs, chain.EncodeTick(height))
		}
		b := c.next(txs...)
		out := c.agree(t, b, c.vote(t, b))
		changed := !bytes.Equal(out.AppHash, before)
		before = bytes.Clone(out.AppHash)
		if may := height == 3 || c.gen.Params.Staking.EpochBlock(height); changed && !may {
			t.Errorf("block %d without records changed the state", height)
		} else if height == 3 && !changed {
			t.Errorf("block %d with a record did not change the state", height)
		}
	}
}
