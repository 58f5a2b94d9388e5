package exec

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger/kv"
)

// ErrNoCertificate means that this node has no certificate of a block: too few of
// the votes that it saw carried a correct signature, the block was fetched rather
// than agreed on with its votes, or the certificate is pruned. Another node, or a
// later block, may have one. The header of the next block, which holds the state's
// hash, and the commit that signs it say the same at greater length.
var ErrNoCertificate = errors.New("no certificate")

// VoteExtension is what went with a validator's vote.
type VoteExtension struct {
	Validator staking.Address
	Round     uint32 // of the vote
	Data      []byte // as it came
}

// certificates keeps the certificates of blocks, by height, in a part of the
// layer's store that is in no hash. They are written when they are made, which is
// after the commit of their block, if ever.
type certificates struct{ store kv.Store }

func certificateKey(height uint64) []byte { return binary.BigEndian.AppendUint64(nil, height) }

func (c certificates) get(height uint64) (cert.Certificate, error) {
	raw, err := c.store.Get(certificateKey(height))
	if err != nil {
		return cert.Certificate{}, fmt.Errorf("read the certificate of block %d: %w", height, err)
	}
	if raw == nil {
		return cert.Certificate{}, fmt.Errorf("%w of block %d", ErrNoCertificate, height)
	}
	return cert.Decode(raw)
}

// put stores certificates, all or none.
func (c certificates) put(list ...*cert.Certificate) error {
	b := c.store.NewBatch()
	defer b.Discard()
	for _, certificate := range list {
		height := certificate.Checkpoint.Height
		if err := b.Set(certificateKey(height), certificate.Encode()); err != nil {
			return fmt.Errorf("store the certificate of block %d: %w", height, err)
		}
	}
	if err := b.Commit(false); err != nil {
		return fmt.Errorf("store %d certificates: %w", len(list), err)
	}
	return nil
}

// latest returns the height of the newest certificate, 0 if there is none.
func (c certificates) latest() (height uint64, err error) {
	it := c.store.Iterate(nil, nil, true)
	defer func() { err = errors.Join(err, it.Close()) }()
	if it.Next() && len(it.Key()) == 8 {
		return binary.BigEndian.Uint64(it.Key()), nil
	}
	return 0, it.Err()
}

// prune deletes up to limit certificates below a height, the oldest first, and
// reports whether there are more.
func (c certificates) prune(below uint64, limit int) (more bool, err error) {
	it := c.store.Iterate(nil, certificateKey(below), false)
	defer func() { err = errors.Join(err, it.Close()) }()
	b := c.store.NewBatch()
	defer b.Discard()
	for range limit {
		if !it.Next() {
			break
		}
		if err := b.Delete(it.Key()); err != nil {
			return false, fmt.Errorf("prune certificates: %w", err)
		}
	}
	more = it.Next()
	if err := errors.Join(it.Err(), b.Commit(false)); err != nil {
		return false, fmt.Errorf("prune certificates: %w", err)
	}
	return more, nil
}

// LatestCertificate returns the certificate of the highest block that has one here,
// or ErrNoCertificate.
func (e *Executor) LatestCertificate() (cert.Certificate, error) {
	height := e.certifier.latest.Load()
	if height == 0 {
		return cert.Certificate{}, ErrNoCertificate
	}
	return e.certificates.get(height)
}

// PruneCertificates deletes up to limit certificates of blocks below a height, the
// oldest first, and reports whether there are more. The newest stays.
func (e *Executor) PruneCertificates(below uint64, limit int) (more bool, err error) {
	below = min(below, e.certifier.latest.Load())
	for {
		kept := e.certifier.kept.Load()
		if below <= kept || e.certifier.kept.CompareAndSwap(kept, below) {
			return e.certificates.prune(below, limit)
		}
	}
}

// votesOf sorts extensions into what a certificate is assembled from. wrong are
// those that no member could have signed with, empty those that say nothing.
func (el *electorate) votesOf(extensions []VoteExtension) (votes []cert.Vote, empty, wrong int) {
	met := make(map[int]bool, len(extensions))
	for i := range extensions {
		x := &extensions[i]
		member, ok := el.memberOf(x.Validator[:])
		switch {
		case len(x.Data) == 0:
			empty++
		case !ok || met[member] || len(x.Data) != bls.SignatureSize:
			wrong++
		default:
			met[member] = true
			votes = append(votes, cert.Vote{Member: member, Signature: bls.Signature(x.Data)})
		}
	}
	return votes, empty, wrong
}
