package exec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tributary-network/tributary/consensus/cert"
)

const (
	// maxUncertified is how many of the last blocks wait for their certificate. A
	// node that fetches blocks faster than it certifies them leaves out old ones.
	maxUncertified = 64
	// certifyTries is how often the votes for a block are looked at, CertifyDelay
	// apart, while they do not make a certificate; certifyWaits is how often they are
	// asked for in vain, since consensus may still be starting.
	certifyTries = 10
	certifyWaits = 400
	// certifyPruneEvery is after how many certificates old ones are deleted: those of
	// blocks whose receipts are not kept either (Config.KeepReceipts).
	certifyPruneEvery = 32
	// DefaultCertifyDelay is the default of Config.CertifyDelay.
	DefaultCertifyDelay = 150 * time.Millisecond
)

// certifier assembles the certificates of committed blocks, away from the blocks'
// way. Nothing waits for it and nothing depends on it: a block without a
// certificate is as final as one with. What becomes of wrong extensions:
//
//   - A certificate is made if and only if members with more than two thirds of the
//     power have signed the checkpoint that this node came to itself, as far as this
//     node has seen their votes: those it committed the block with, which are
//     stored, and those that came in the second after. All others are left out,
//     whatever they are: another block's or another state's signature, garbage,
//     somebody else's signature, nothing at all.
//   - The two blocks that end an epoch are tried again for longer, and when they are
//     asked for: see handoverlate.go.
//   - Without one the block has none on this node, unless somebody asks for it when there
//     are votes enough: see certasked.go. The header of the next block and
//     its commit prove the same state (ErrNoCertificate).
//   - A node whose own state differs would assemble nothing at all, but it does not
//     come to that: consensus halts it at the next header.
type certifier struct {
	latest atomic.Uint64 // height of the newest certificate, 0 if there is none
	kept   atomic.Uint64 // certificates of lower blocks were deleted
	wake   chan struct{} // capacity 1: waiting was added to

	mu      sync.Mutex
	waiting []*uncertified // ascending by height
}

// uncertified is a committed block without a certificate.
type uncertified struct {
	checkpoint cert.Checkpoint
	tries      int // at which there were votes
	waits      int // at which there were none
	votes      int // of the last try, which need not be tried again
	empty      int // votes without a signature, at the last try
	wrong      int // votes with a wrong one
}

func newCertifier() *certifier { return &certifier{wake: make(chan struct{}, 1)} }

// add takes a committed block. It returns the older ones that were dropped for it.
func (c *certifier) add(checkpoint *cert.Checkpoint) (dropped []*uncertified) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = append(c.waiting, &uncertified{checkpoint: *checkpoint})
	for len(c.waiting) > maxUncertified {
		dropped = append(dropped, c.waiting[0])
		c.waiting[0] = nil
		c.waiting = c.waiting[1:]
	}
	signal(c.wake)
	return dropped
}

// list returns the blocks that wait, newest first: of those that are too many, the
// newest matter most.
func (c *certifier) list() []*uncertified {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]*uncertified, len(c.waiting))
	for i, u := range c.waiting {
		list[len(list)-1-i] = u
	}
	return list
}

// remove takes a block out, and reports whether more wait.
func (c *certifier) remove(u *uncertified) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.waiting {
		if c.waiting[i] == u {
			c.waiting = append(c.waiting[:i], c.waiting[i+1:]...)
			return
		}
	}
}

func (c *certifier) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.waiting)
}

// uncertifiedBlock hands the block that is now the head to the certifier.
func (e *Executor) uncertifiedBlock(p *prepared) {
	if p.checkpoint == nil || e.cfg.Extensions == nil {
		return
	}
	dropped := e.certifier.add(p.checkpoint)
	e.stats.uncertified.Add(uint64(len(dropped)))
	for _, u := range dropped {
		e.uncertifiedElection(u)
	}
}

// uncertifiedElection goes on trying to certify a block if it ends an epoch.
func (e *Executor) uncertifiedElection(u *uncertified) {
	if e.params.Staking.EpochBlock(u.checkpoint.Height) {
		e.patience.add(u)
	}
}

// certify assembles certificates until ctx ends, and then returns why.
func (e *Executor) certify(ctx context.Context) error {
	if e.cfg.Extensions == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	timer := time.NewTimer(e.cfg.CertifyDelay)
	defer timer.Stop()
	patient := time.NewTicker(patientEvery * e.cfg.CertifyDelay)
	defer patient.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-e.certifier.wake:
		case <-timer.C:
		case <-patient.C:
			e.certifyPatiently(ctx)
		}
		// Whoever is elected votes from the block after the next on: their keys are
		// decoded by then.
		if _, err := e.electorateOf(e.head.Load().height + 2); err != nil {
			e.log.WarnContext(ctx, "the next committee is not known", slog.Any("err", err))
		}
		for _, u := range e.certifier.list() {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			e.certifyBlock(ctx, u)
		}
		if e.certifier.len() > 0 {
			timer.Reset(e.cfg.CertifyDelay)
		}
	}
}

// certifyBlock tries to make the certificate of a block, and takes the block out
// when it has one or was tried often enough.
func (e *Executor) certifyBlock(ctx context.Context, u *uncertified) {
	height := u.checkpoint.Height
	done, err := e.tryCertify(u)
	switch {
	case err != nil:
		e.log.WarnContext(ctx, "certificate not made", slog.Uint64("height", height), slog.Any("err", err))
	case !done && u.tries < certifyTries && u.waits < certifyWaits:
		return
	case !done:
		e.log.InfoContext(ctx, "block without a certificate: too few correct signatures among the votes seen here",
			slog.Uint64("height", height), slog.Int("votes", u.votes), slog.Int("wrong", u.wrong), slog.Int("empty", u.empty))
	}
	if !done || err != nil {
		e.stats.uncertified.Add(1)
		e.uncertifiedElection(u)
	}
	e.stats.extensionsEmpty.Add(uint64(u.empty))
	e.stats.extensionsWrong.Add(uint64(u.wrong))
	e.certifier.remove(u)
}

// tryCertify makes the certificate of a block if the votes seen so far allow it.
// What fails here concerns nobody but who asks for certificates.
func (e *Executor) tryCertify(u *uncertified) (done bool, err error) {
	defer contain("certify a block", &err)
	height := u.checkpoint.Height
	hash, extensions, err := e.cfg.Extensions(height)
	if err != nil {
		// The votes are stored before the block is executed, but a chain that is
		// starting or stopping does not hand them out.
		u.waits++
		return false, nil
	}
	if !bytes.Equal(hash, u.checkpoint.BlockHash[:]) {
		return false, fmt.Errorf("the votes of block %d are for %x, it was %s", height, hash, u.checkpoint.BlockHash)
	}
	u.tries++
	if len(extensions) == u.votes && u.tries > 1 {
		return false, nil
	}
	u.votes = len(extensions)
	el, err := e.electorateKnown(height)
	if err != nil || el == nil {
		return false, err
	}
	votes, empty, wrong := el.votesOf(extensions)
	checkpoint := u.checkpoint
	if len(extensions) > 0 {
		checkpoint.Round = extensions[0].Round
	}
	certificate, bad, err := cert.Assemble(checkpoint, &el.committee, el.keys, votes)
	u.empty, u.wrong = empty, wrong+len(bad)
	switch {
	case errors.Is(err, cert.ErrTooLittlePower):
		return false, nil
	case err != nil:
		return false, err
	}
	if err := errors.Join(e.certificates.put(&certificate), e.certifyElection(&certificate)); err != nil {
		return false, err
	}
	if made := e.stats.certificates.Add(1); made%certifyPruneEvery == 0 {
		if _, err := e.PruneCertificates(e.KeptFrom(), 2*certifyPruneEvery); err != nil {
			return false, err
		}
	}
	for {
		latest := e.certifier.latest.Load()
		if height <= latest || e.certifier.latest.CompareAndSwap(latest, height) {
			return true, nil
		}
	}
}

// loadCertifier finds the newest certificate, and the last blocks that have none.
func (e *Executor) loadCertifier() error {
	latest, err := e.certificates.latest()
	if err != nil {
		return fmt.Errorf("find the newest certificate: %w", err)
	}
	e.certifier.latest.Store(latest)
	if e.cfg.Extensions == nil {
		return nil
	}
	if err := e.loadPatience(); err != nil {
		return err
	}
	return e.loadUncertified()
}
