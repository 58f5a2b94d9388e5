package exec

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/consensus/cert"
)

// A certificate is made a little after its block and not with it. A process that is
// killed in between, and a node that gets blocks faster than it certifies them, leave
// blocks without. What they need is there all the same: consensus keeps the votes of
// each block that it keeps with their extensions, and the index the checkpoint of each
// block that is not certified. So the last blocks are tried again after a start, and all
// others when somebody asks for their certificates.

// UncertifiedError says that this node has no certificate of a block. It is
// ErrNoCertificate.
type UncertifiedError struct {
	Height uint64
	// Making says that it is being made: too few votes may have come yet.
	Making bool
	// Next is the height of the next block that has one here, whose state follows from
	// that of this block; 0 if there is none.
	Next uint64
	// Cause is why it could not be made when it was asked for, nil if the votes that are
	// here carry too few correct signatures, or are no longer here.
	Cause error
}

// Error says of which block there is none.
func (u *UncertifiedError) Error() string {
	text := fmt.Sprintf("%v of block %d", ErrNoCertificate, u.Height)
	if u.Cause != nil {
		text += ": " + u.Cause.Error()
	}
	return text
}

// Is makes errors.Is(err, ErrNoCertificate) true.
func (u *UncertifiedError) Is(target error) bool { return target == ErrNoCertificate }

// Unwrap returns the cause.
func (u *UncertifiedError) Unwrap() error { return u.Cause }

// Certificate returns the certificate of the block at height: the committee's
// signature of the state after it. If there is none it tries to make one of the votes
// that this node has, which takes some milliseconds, and fails with an
// *UncertifiedError, which is ErrNoCertificate, if these do not suffice. Then it asks
// peers for what is lacking (Config.Ask), so that there may be one in some seconds.
// staking.ReadCommittee has the committee that it verifies with. It is safe for
// concurrent use.
func (e *Executor) Certificate(height uint64) (cert.Certificate, error) {
	certificate, err := e.certificates.get(height)
	if !errors.Is(err, ErrNoCertificate) {
		return certificate, err
	}
	none := &UncertifiedError{Height: height, Making: e.certifier.waitsFor(height)}
	if !none.Making {
		var done bool
		if done, none.Cause = e.certifyAsked(height); done {
			return e.certificates.get(height)
		}
	}
	if none.Next, err = e.certificates.after(height); err != nil {
		return cert.Certificate{}, err
	}
	return cert.Certificate{}, none
}

// certifyAsked tries to make the certificate of a block that somebody asks for. Who
// asks in vain costs little as long as there are no other votes.
func (e *Executor) certifyAsked(height uint64) (done bool, err error) {
	if e.cfg.Extensions == nil || height < e.KeptFrom() || height < e.certifier.kept.Load() {
		return false, nil
	}
	checkpoint, err := e.checkpointAt(height)
	if checkpoint == nil || err != nil {
		return false, err
	}
	return e.certifyNow(checkpoint)
}

// certifyNow tries to certify a block for somebody who waits.
func (e *Executor) certifyNow(checkpoint *cert.Checkpoint) (done bool, err error) {
	p := &e.patience
	p.asking.Lock()
	defer p.asking.Unlock()
	u := p.of(checkpoint)
	e.tryCertify(u)
	if u.done {
		delete(p.asked, checkpoint.Height)
	} else {
		e.want(checkpoint)
	}
	return u.done, u.err
}

// waitsFor reports whether the block at height is among those that wait.
func (c *certifier) waitsFor(height uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, u := range c.waiting {
		if u.checkpoint.Height == height {
			return true
		}
	}
	return false
}

// after returns the height of the lowest certificate above height, 0 if there is none.
func (c certificates) after(height uint64) (next uint64, err error) {
	err = walk(c.store.Iterate(certificateKey(height+1), nil, false), func(key, _ []byte) bool {
		if len(key) == 8 {
			next = binary.BigEndian.Uint64(key)
		}
		return false
	})
	if err != nil {
		return 0, fmt.Errorf("look for a certificate above block %d: %w", height, err)
	}
	return next, nil
}

// checkpointAt returns what is to be certified of the block at height, or nil if it is
// certified, pruned, or was never executed here.
func (e *Executor) checkpointAt(height uint64) (*cert.Checkpoint, error) {
	raw, err := e.index.Get(keyOf(idxCheckpoint, nil, height))
	if err != nil || raw == nil {
		return nil, err
	}
	return decodeCheckpoint(raw, height)
}

// decodeCheckpoint reads a stored checkpoint, which must be that of the block at height.
func decodeCheckpoint(raw []byte, height uint64) (*cert.Checkpoint, error) {
	checkpoint, err := cert.DecodeCheckpoint(raw)
	if err == nil && checkpoint.Height != height {
		err = fmt.Errorf("it is of block %d", checkpoint.Height)
	}
	if err != nil {
		return nil, fmt.Errorf("read the checkpoint of block %d: %w", height, err)
	}
	return &checkpoint, nil
}

// indexCheckpoint is the index entry of the block's checkpoint. That of a block which
// is certified, and not tried any more, goes.
func (e *Executor) indexCheckpoint(p *prepared) ([]chain.Change, error) {
	if p.checkpoint == nil {
		return nil, nil
	}
	height := p.block.Height
	changes := []chain.Change{{Key: keyOf(idxCheckpoint, nil, height), Value: p.checkpoint.Encode()}}
	if height > maxUncertified {
		old := height - maxUncertified
		certified, err := e.certificates.has(old)
		if err != nil {
			return nil, err
		}
		if certified {
			changes = append(changes, chain.Change{Key: keyOf(idxCheckpoint, nil, old)})
		}
	}
	return changes, nil
}

// has reports whether there is a certificate of the block at height.
func (c certificates) has(height uint64) (bool, error) {
	raw, err := c.store.Get(certificateKey(height))
	if err != nil {
		return false, fmt.Errorf("read the certificate of block %d: %w", height, err)
	}
	return raw != nil, nil
}

// loadUncertified lets the last blocks that have no certificate be tried again.
func (e *Executor) loadUncertified() error {
	head := e.head.Load().height
	for height := head - min(head, maxUncertified) + 1; height <= head; height++ {
		certified, err := e.certificates.has(height)
		if err != nil {
			return err
		}
		if certified {
			continue
		}
		checkpoint, err := e.checkpointAt(height)
		if err != nil {
			return err
		}
		if checkpoint != nil {
			e.certifier.add(checkpoint)
		}
	}
	return nil
}
