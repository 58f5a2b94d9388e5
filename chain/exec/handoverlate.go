package exec

import (
	"context"
	"log/slog"
	"sync"

	"github.com/tributary-network/tributary/consensus/cert"
)

// The certificates of the two blocks that end an epoch are worth more than others: one
// of them hands over to the next committee, and no later block can. So when they are not
// made in the first moments, they are tried again for as long as votes may come, and
// after that whenever somebody asks for the hand-over; and peers are asked for signatures,
// as of other blocks (gather.go).
const (
	// patientEvery is after how many CertifyDelays they are tried again.
	patientEvery = 6
	// patientBlocks is for how many blocks: votes that came late are kept for no more
	// (consensus/comet).
	patientBlocks = 16
	// maxPatient is how many blocks are tried again; older ones give way.
	maxPatient = 16
	// maxAsked is of how many blocks it is remembered that their votes do not suffice.
	maxAsked = 64
)

// patience keeps the blocks that end an epoch and are not certified. It is safe for
// concurrent use.
type patience struct {
	mu      sync.Mutex
	waiting []*uncertified // ascending by height

	asking sync.Mutex              // held while a certificate is made for somebody who asks
	asked  map[uint64]*uncertified // by height
}

// add takes a block that was tried often enough.
func (p *patience) add(u *uncertified) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = append(p.waiting, &uncertified{checkpoint: u.checkpoint})
	if len(p.waiting) > maxPatient {
		p.waiting = append([]*uncertified(nil), p.waiting[1:]...)
	}
}

// take returns the blocks that wait, and forgets them.
func (p *patience) take() []*uncertified {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.waiting
	p.waiting = nil
	return list
}

// put puts back those that go on waiting.
func (p *patience) put(list []*uncertified) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = append(list, p.waiting...)
}

// of returns what is remembered of a block whose certificate was asked for. p.asking is
// held.
func (p *patience) of(checkpoint *cert.Checkpoint) *uncertified {
	u := p.asked[checkpoint.Height]
	if u == nil {
		if len(p.asked) >= maxAsked || p.asked == nil {
			p.asked = make(map[uint64]*uncertified)
		}
		u = &uncertified{checkpoint: *checkpoint}
		p.asked[checkpoint.Height] = u
	}
	return u
}

// loadPatience finds the blocks that ended the last epoch and are not certified.
func (e *Executor) loadPatience() error {
	if e.traits.Staking == nil {
		return nil
	}
	epoch := e.traits.Staking.Epoch(e.head.Load().height + 2) // of the committee elected last
	if epoch == 0 {
		return nil
	}
	heights := e.handoverHeights(epoch)
	for _, height := range heights {
		if h, err := e.handoverAt(epoch, height); h != nil || err != nil {
			return err
		}
	}
	for _, height := range heights {
		checkpoint, err := e.handoverCheckpoint(epoch, height)
		if err != nil {
			return err
		}
		if checkpoint != nil {
			e.patience.add(&uncertified{checkpoint: *checkpoint})
		}
	}
	return nil
}

// handoverCheckpoint returns what the committee signs of the block at height, which
// proves the committee of an epoch, or nil if this node does not know.
func (e *Executor) handoverCheckpoint(epoch, height uint64) (*cert.Checkpoint, error) {
	raw, err := e.handovers().store.Get(handoverKey(handoverCheckpoint, epoch, height))
	if err != nil || raw == nil {
		return nil, err
	}
	return decodeCheckpoint(raw, height)
}

// certifyPatiently tries the blocks that end epochs again.
func (e *Executor) certifyPatiently(ctx context.Context) {
	head := e.head.Load().height
	var left []*uncertified
	for _, u := range e.patience.take() {
		height := u.checkpoint.Height
		if kept, err := e.certificateKept(height); err == nil && kept != nil {
			continue // of signatures that peers gave
		}
		e.tryCertify(u)
		switch {
		case u.err != nil:
			e.log.WarnContext(ctx, "certificate not made", slog.Uint64("height", height), slog.Any("err", u.err))
		case u.done:
			e.log.InfoContext(ctx, "certificate made late", slog.Uint64("height", height))
		case head <= height+patientBlocks:
			left = append(left, u)
		default:
			e.log.WarnContext(ctx, "this node cannot hand over to the next committee by this block: too few correct signatures among the votes it saw",
				slog.Uint64("height", height), slog.Int("votes", u.votes), slog.Int("wrong", u.wrong), slog.Int("empty", u.empty))
		}
	}
	e.patience.put(left)
}

// certifyLate tries to certify the block at height, which proves the committee of an
// epoch, of the votes that this node has. One that asks in vain costs little as long as
// there are no other votes.
func (e *Executor) certifyLate(epoch, height uint64) (done bool, err error) {
	if e.cfg.Extensions == nil {
		return false, nil
	}
	checkpoint, err := e.handoverCheckpoint(epoch, height)
	if checkpoint == nil || err != nil {
		return false, err
	}
	return e.certifyNow(checkpoint)
}
