package exec

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
)

const (
	// maxUncertified is how many of the last blocks wait for their certificate. A
	// node that fetches blocks faster than it certifies them leaves out old ones.
	maxUncertified = 64
	// certifyTries is how often the votes for a block are looked at while they do not
	// make a certificate: CertifyDelay apart, sooner where other blocks cannot wait;
	// certifyWaits is how often they are asked for in vain, since consensus may still be
	// starting.
	certifyTries = 10
	certifyWaits = 120
	// certifyTogether is of how many blocks the votes are checked at once, at most.
	certifyTogether = 8
	// certifyPruneEvery is after how many certificates old ones are deleted: those of
	// blocks whose receipts are not kept either (Config.KeepReceipts).
	certifyPruneEvery = 32
	// DefaultCertifyDelay is the default of Config.CertifyDelay.
	DefaultCertifyDelay = 500 * time.Millisecond
)

// certifier assembles the certificates of committed blocks, away from the blocks'
// way. Nothing waits for it and nothing depends on it: a block without a
// certificate is as final as one with.
//
// To check the votes for several blocks at once costs little more than to check those
// for one. So the votes for a block are looked at as soon as it is committed, unless
// that was done for another in the last CertifyDelay: then it waits for the rest of
// that time, or until certifyTogether blocks wait. A slow chain has its certificates at
// once and a fast one does not lose half its time to them. Blocks for whose certificates
// others wait are certified at once: those that end an epoch, since a committee is handed
// over by them, those with messages, and those by whose states rows are proved.
//
// What becomes of wrong extensions:
//
//   - A certificate is made if and only if members with more than two thirds of the
//     power have signed the checkpoint that this node came to itself, as far as this
//     node has seen their signatures: with the votes that it committed the block with,
//     which are stored, and those that came in the seconds after, and those that it asked
//     its peers for when these were too few (gather.go). All others are left out,
//     whatever they are: another block's or another state's signature, garbage,
//     somebody else's signature, nothing at all.
//   - The two blocks that end an epoch are tried again for longer, and when they are
//     asked for: see handoverlate.go.
//   - Without one the block has none on this node until peers gave it signatures enough,
//     or somebody asks for it when there are votes enough: see certasked.go. The header of
//     the next block and its commit prove the same state (ErrNoCertificate). It has none
//     for good only if members with a third of the power never sign it.
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

	// Of the last try.
	votes int   // which need not be tried again
	empty int   // votes without a signature
	wrong int   // votes with a wrong one
	done  bool  // the certificate is made
	err   error // why it cannot be made
}

// fresh reports whether u was never tried.
func (u *uncertified) fresh() bool { return u.tries+u.waits == 0 }

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

// remove takes a block out.
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
	if e.endsEpoch(u.checkpoint.Height) {
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
	resting := false // until timer fires
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-e.certifier.wake:
			if resting && !e.pressing() {
				continue
			}
		case <-timer.C:
		case <-patient.C:
			e.certifyPatiently(ctx)
			e.gatherSignatures(ctx, true)
			continue
		case <-e.lacking.wake:
			e.gatherSignatures(ctx, false)
			continue
		}
		// Whoever is elected votes from the block after the next on: their keys are
		// decoded by then.
		if _, err := e.electorateOf(e.head.Load().height + 2); err != nil {
			e.log.WarnContext(ctx, "the next committee is not known", slog.Any("err", err))
		}
		list := e.certifier.list()
		for blocks := range slices.Chunk(list, certifyTogether) {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			e.certifyBlocks(ctx, blocks)
		}
		if resting = len(list) > 0; resting {
			timer.Reset(e.cfg.CertifyDelay)
		}
	}
}

// endsEpoch reports whether the block at height is one of the two that end an epoch, and
// hand over to the next committee, of a chain that elects its own.
func (e *Executor) endsEpoch(height uint64) bool {
	return e.traits.Staking != nil && e.traits.Staking.EpochBlock(height)
}

// pressing reports whether there are blocks to certify before the rest is over.
func (e *Executor) pressing() bool {
	fresh := 0
	for _, u := range e.certifier.list() {
		if !u.fresh() {
			continue
		}
		if fresh++; fresh >= certifyTogether || e.endsEpoch(u.checkpoint.Height) || e.awaited(&u.checkpoint) {
			return true
		}
	}
	return false
}

// awaited reports whether other chains wait for the certificate of a block: it has
// something for them, or rows are proved by its state.
func (e *Executor) awaited(c *cert.Checkpoint) bool {
	return !c.OutboxRoot.IsZero() || e.proofs.waiting(c.Height)
}

// certifyBlocks tries to make the certificates of blocks, and takes those out that have
// one or were tried often enough.
func (e *Executor) certifyBlocks(ctx context.Context, blocks []*uncertified) {
	e.tryCertify(blocks...)
	for _, u := range blocks {
		height := u.checkpoint.Height
		switch {
		case u.err != nil:
			e.log.WarnContext(ctx, "certificate not made", slog.Uint64("height", height), slog.Any("err", u.err))
		case !u.done && u.tries < certifyTries && u.waits < certifyWaits:
			continue
		case !u.done:
			e.log.InfoContext(ctx, "block without a certificate: too few correct signatures among the votes seen here",
				slog.Uint64("height", height), slog.Int("votes", u.votes), slog.Int("wrong", u.wrong), slog.Int("empty", u.empty))
		}
		if !u.done {
			e.stats.uncertified.Add(1)
			e.uncertifiedElection(u)
			e.want(&u.checkpoint)
		}
		e.stats.extensionsEmpty.Add(uint64(u.empty))
		e.stats.extensionsWrong.Add(uint64(u.wrong))
		e.certifier.remove(u)
	}
}

// tryCertify makes the certificates of blocks as far as the votes seen for each allow
// it, and says in done and err of each what became of it. What fails here concerns
// nobody but who asks for certificates.
func (e *Executor) tryCertify(blocks ...*uncertified) {
	var ballots []cert.Ballot
	var counted []*uncertified
	for _, u := range blocks {
		var ballot *cert.Ballot
		if ballot, u.err = e.ballot(u); ballot != nil && u.err == nil {
			ballots, counted = append(ballots, *ballot), append(counted, u)
		}
	}
	if len(ballots) == 0 {
		return
	}
	if err := e.certifyBallots(counted, ballots); err != nil {
		for _, u := range counted {
			u.done, u.err = false, err
		}
	}
}

// ballot returns what is to be counted for u, or nil if that is the same as before.
func (e *Executor) ballot(u *uncertified) (ballot *cert.Ballot, err error) {
	defer contain("read the votes for a block", &err)
	height := u.checkpoint.Height
	hash, extensions, err := e.cfg.Extensions(height)
	if err != nil {
		// The votes are stored before the block is executed, but a chain that is
		// starting or stopping does not hand them out.
		u.waits++
		return nil, nil
	}
	if !bytes.Equal(hash, u.checkpoint.BlockHash[:]) {
		return nil, fmt.Errorf("the votes of block %d are for %x, it was %s", height, hash, u.checkpoint.BlockHash)
	}
	u.tries++
	if len(extensions) == u.votes && u.tries > 1 {
		return nil, nil
	}
	u.votes = len(extensions)
	el, err := e.electorateKnown(&u.checkpoint)
	if err != nil || el == nil {
		return nil, err
	}
	ballot = &cert.Ballot{Checkpoint: u.checkpoint, Committee: &el.committee, Keys: el.keys}
	if len(extensions) > 0 {
		ballot.Checkpoint.Round = extensions[0].Round
	}
	ballot.Votes, u.empty, u.wrong = el.votesOf(extensions)
	return ballot, nil
}

// certifyBallots counts ballots, each of the block at its place, and keeps the
// certificates. An error concerns all of them: none is kept. What fails for one block
// after that is its own.
func (e *Executor) certifyBallots(blocks []*uncertified, ballots []cert.Ballot) (err error) {
	defer contain("certify blocks", &err)
	assembled := cert.AssembleEach(rand.Read, ballots)
	var made []*cert.Certificate
	var of []*uncertified
	for i, u := range blocks {
		one := &assembled[i]
		u.wrong += len(one.Bad)
		switch {
		case one.Err == nil:
			u.done, made, of = true, append(made, &one.Certificate), append(of, u)
		case !errors.Is(one.Err, cert.ErrTooLittlePower):
			u.err = one.Err
		}
	}
	if err := e.certificates.put(made...); err != nil {
		return err
	}
	for i, certificate := range made {
		if err := e.certified(certificate); err != nil {
			of[i].done, of[i].err = false, err
		}
	}
	return nil
}

// keepCertificate keeps a certificate that another node made and that holds.
func (e *Executor) keepCertificate(certificate *cert.Certificate) error {
	if err := e.certificates.put(certificate); err != nil {
		return err
	}
	return e.certified(certificate)
}

// certified does what follows when a certificate is stored.
func (e *Executor) certified(certificate *cert.Certificate) (err error) {
	defer contain("keep what a certificate proves", &err)
	if e.cfg.Heads != nil && certificate.Checkpoint.Chain == ledger.MainChain {
		e.cfg.Heads.add(headName(certificate, certificate.Checkpoint.CommitteeHash))
	}
	height := certificate.Checkpoint.Height
	for latest := e.certifier.latest.Load(); height > latest; latest = e.certifier.latest.Load() {
		if e.certifier.latest.CompareAndSwap(latest, height) {
			break
		}
	}
	if err := errors.Join(e.certifyElection(certificate), e.certifyProofs(certificate)); err != nil {
		return err
	}
	e.proofs.announce()
	if made := e.stats.certificates.Add(1); made%certifyPruneEvery == 0 {
		_, err = e.PruneCertificates(e.KeptFrom(), 2*certifyPruneEvery)
	}
	return err
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
