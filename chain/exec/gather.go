package exec

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/cert"
)

// The votes by which a block was committed may carry too few correct signatures: some
// members sent none, and others came to the block only when it was decided. A shard whose
// block has no certificate could never be anchored again, and no shard could follow main's
// committees beyond two such blocks. So a node that cannot make a certificate of the votes
// asks its peers, which answer with the certificate, or with the signatures that they have
// and it lacks: members sign what they committed (latesign.go). Those that hold are put
// together with the ones among the votes, and handed on to others that ask, so that it does
// not matter who is connected to whom.
//
// Nothing that comes is believed: a signature counts when it is verified against the
// checkpoint that this node came to itself, and a certificate likewise. Whoever sends
// another is not heard for a while (consensus/comet), so that it costs one verification.
const (
	// maxWanted is how many blocks' signatures are asked for. Those that were asked for most
	// often give way to others, until somebody asks for their certificates.
	maxWanted = 64
	// wantedTogether is of how many of them peers are asked at once, each patientEvery
	// CertifyDelays: no more than peers answer.
	wantedTogether = 16
	// wantedRest is how long peers are not asked again at most, in such steps: one more
	// each time.
	wantedRest = 20
	// wantedTries is how often peers are asked: for an hour and more. After that the block
	// waits for somebody to ask for its certificate.
	wantedTries = 100
)

// gathering keeps the blocks whose certificates lack signatures. It is safe for concurrent
// use.
type gathering struct {
	wake chan struct{} // capacity 1: something came

	mu     sync.Mutex
	wanted map[uint64]*wanted // by height
}

// wanted is a block whose certificate lacks signatures.
type wanted struct {
	checkpoint cert.Checkpoint // with the round in which it was decided
	el         *electorate     // nil as long as it is not known, or the round is not
	shares     map[int]bls.Signature
	wrong      map[int]string // of members whose votes carried it
	came       bool           // something, since it was counted
	asked      int
	rest       int // steps until peers are asked again
}

func newGathering() *gathering {
	return &gathering{wake: make(chan struct{}, 1), wanted: make(map[uint64]*wanted)}
}

// want takes a block whose votes make no certificate.
func (e *Executor) want(c *cert.Checkpoint) {
	if e.cfg.Ask == nil || e.cfg.CommitRound == nil {
		return
	}
	g := e.lacking
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.wanted[c.Height] == nil {
		if len(g.wanted) >= maxWanted {
			g.giveWay(e.endsEpoch)
		}
		g.wanted[c.Height] = &wanted{checkpoint: *c, shares: map[int]bls.Signature{}, wrong: map[int]string{}, came: true}
		signal(g.wake)
	}
}

// giveWay forgets the block that peers were asked about most often: one that is worth
// more than others only if there is no other.
func (g *gathering) giveWay(worth func(height uint64) bool) {
	first := slices.MaxFunc(slices.Sorted(maps.Keys(g.wanted)), func(a, b uint64) int {
		if x, y := worth(a), worth(b); x != y {
			if x {
				return -1
			}
			return 1
		}
		return cmp.Compare(g.wanted[a].asked, g.wanted[b].asked)
	})
	delete(g.wanted, first)
}

// of returns a copy of what is wanted at a height, nil if nothing is.
func (g *gathering) of(height uint64) *wanted {
	g.mu.Lock()
	defer g.mu.Unlock()
	w := g.wanted[height]
	if w == nil {
		return nil
	}
	c := *w
	c.shares, c.wrong = maps.Clone(w.shares), maps.Clone(w.wrong)
	return &c
}

// right returns the signatures of a checkpoint that hold, by member.
func (g *gathering) right(c *cert.Checkpoint) (shares []cert.Vote) {
	if w := g.of(c.Height); w != nil && w.el != nil && w.checkpoint == *c {
		shares = w.votes()
	}
	return shares
}

func (w *wanted) votes() (votes []cert.Vote) {
	for _, member := range slices.Sorted(maps.Keys(w.shares)) {
		votes = append(votes, cert.Vote{Member: member, Signature: w.shares[member]})
	}
	return votes
}

// forget takes a block out.
func (g *gathering) forget(height uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.wanted, height)
}

// add adds signatures that hold, of a checkpoint with its round, and which votes do not.
func (g *gathering) add(c *cert.Checkpoint, el *electorate, right []cert.Vote, wrong map[int]string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	w := g.wanted[c.Height]
	if w == nil || withoutRound(w.checkpoint) != withoutRound(*c) {
		return
	}
	if w.el == nil || w.checkpoint.Round != c.Round { // the next block says which it is
		w.checkpoint, w.el = *c, el
		clear(w.shares)
		clear(w.wrong)
	}
	for _, v := range right {
		w.shares[v.Member] = v.Signature
	}
	maps.Copy(w.wrong, wrong)
}

// due returns which blocks to count: those of which something came and, at a step, those
// that peers are to be asked about.
func (g *gathering) due(step bool) (count, ask []uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, height := range slices.Sorted(maps.Keys(g.wanted)) {
		w := g.wanted[height]
		if step && w.rest > 0 {
			w.rest--
		}
		asks := step && w.rest == 0 && len(ask) < wantedTogether
		if asks {
			ask = append(ask, height)
			w.asked++
			w.rest = min(w.asked, wantedRest)
		}
		if asks || w.came {
			count = append(count, height)
			w.came = false
		}
		if w.asked > wantedTries {
			delete(g.wanted, height)
		}
	}
	return count, ask
}

// gatherSignatures makes the certificates that lacked signatures, and at each step asks
// peers for what is still lacking.
func (e *Executor) gatherSignatures(ctx context.Context, step bool) {
	count, ask := e.lacking.due(step)
	for _, height := range count {
		switch done, err := e.countWanted(height); {
		case err != nil:
			e.log.WarnContext(ctx, "certificate not made", slog.Uint64("height", height), slog.Any("err", err))
		case done:
			e.lacking.forget(height)
			e.log.InfoContext(ctx, "certificate made late", slog.Uint64("height", height))
			if err := e.wantNext(height); err != nil {
				e.log.WarnContext(ctx, "look for blocks without a certificate", slog.Any("err", err))
			}
		}
	}
	for _, height := range ask {
		if w := e.lacking.of(height); w != nil {
			e.cfg.Ask(encodeQuestion(height, w.have()))
		}
	}
}

// wantNext wants those without a certificate among the blocks after one that has its
// certificate now: where one member was away for long there are many, and whoever needs
// them asks for the first only.
func (e *Executor) wantNext(height uint64) error {
	for next := height + 1; next <= height+wantedTogether; next++ {
		certified, err := e.certificates.has(next)
		if err != nil {
			return err
		}
		if certified || e.certifier.waitsFor(next) {
			continue
		}
		checkpoint, err := e.checkpointAt(next)
		if err != nil || checkpoint == nil {
			return err
		}
		e.want(checkpoint)
	}
	return nil
}

// have says whose signatures are there, as a bitmap.
func (w *wanted) have() []byte {
	var have []byte
	for member := range w.shares {
		for len(have) <= member/8 {
			have = append(have, 0)
		}
		have[member/8] |= 1 << (member % 8)
	}
	return have
}

// countWanted makes the certificate of a block of the signatures that are there by now:
// those that others gave, those among the votes, and this node's own.
func (e *Executor) countWanted(height uint64) (done bool, err error) {
	defer contain("count signatures", &err)
	w := e.lacking.of(height)
	if w == nil {
		return false, nil
	}
	if kept, err := e.certificateKept(height); err != nil || kept != nil {
		return kept != nil, err
	}
	c := w.checkpoint
	if !e.decided(&c) {
		return false, nil // a peer may have the certificate
	}
	el, err := e.electorateKnown(&c)
	if err != nil || el == nil {
		return false, err
	}
	if w.checkpoint.Round != c.Round {
		w.shares, w.wrong = nil, nil
	}
	right, wrong := e.countVotes(w, &c, el)
	if own := e.signLate(&c, el); own.ok {
		right = append(right, cert.Vote{Member: own.member, Signature: own.signature})
	}
	e.lacking.add(&c, el, right, wrong)
	votes := e.lacking.right(&c)
	var power uint64
	for _, v := range votes {
		power += el.committee.Members[v.Member].Power
	}
	if power < el.committee.Quorum() {
		return false, nil
	}
	u := &uncertified{checkpoint: c}
	if err := e.certifyBallots([]*uncertified{u}, []cert.Ballot{{Checkpoint: c, Committee: &el.committee, Keys: el.keys, Votes: votes}}); err != nil {
		return false, err
	}
	return u.done, u.err
}

// countVotes sorts the signatures that came with votes in a block's round and were not
// looked at before.
func (e *Executor) countVotes(w *wanted, c *cert.Checkpoint, el *electorate) (right []cert.Vote, wrong map[int]string) {
	hash, extensions, err := e.cfg.Extensions(c.Height)
	if err != nil || len(extensions) == 0 || extensions[0].Round != c.Round || string(hash) != string(c.BlockHash[:]) {
		return nil, nil // the votes are of another round, or not kept
	}
	votes, _, _ := el.votesOf(extensions)
	votes = slices.DeleteFunc(votes, func(v cert.Vote) bool {
		_, known := w.shares[v.Member]
		return known || w.wrong[v.Member] == string(v.Signature[:])
	})
	if len(votes) == 0 {
		return nil, nil
	}
	keys, signatures := make([]*bls.Key, len(votes)), make([]bls.Signature, len(votes))
	for i, v := range votes {
		keys[i], signatures[i] = el.keys[v.Member], v.Signature
	}
	_, bad, _ := bls.AggregateSame(keys, c.Message(), signatures) // bad lists them whatever it errs with
	wrong = make(map[int]string, len(bad))
	for i, v := range votes {
		if slices.Contains(bad, i) {
			wrong[v.Member] = string(v.Signature[:])
		} else {
			right = append(right, v)
		}
	}
	return right, wrong
}

// Answered takes what another node answered (Answer). An error means that no honest node
// says so. What comes too late, or of another round than this node knows of, is passed
// over. It is safe for concurrent use.
func (e *Executor) Answered(answer []byte) (err error) {
	defer contain("take an answer about signatures", &err)
	if len(answer) == 0 {
		return errWrongAnswer
	}
	switch answer[0] {
	case answerCertificate:
		return e.takeCertificate(answer[1:])
	case answerSignatures:
		return e.takeShares(answer[1:])
	}
	return fmt.Errorf("%w: kind %d", errWrongAnswer, answer[0])
}

// takeShares takes signatures, and stops at the first that does not hold.
func (e *Executor) takeShares(raw []byte) error {
	height, round, shares, err := decodeShares(raw)
	if err != nil {
		return err
	}
	w := e.lacking.of(height)
	if w == nil || w.el == nil || w.checkpoint.Round != round {
		return nil
	}
	message := w.checkpoint.Message()
	for i, v := range shares {
		if v.Member >= len(w.el.keys) {
			return fmt.Errorf("%w: block %d: member %d of %d", errWrongAnswer, height, v.Member, len(w.el.keys))
		}
		if _, known := w.shares[v.Member]; known {
			continue
		}
		if !w.el.keys[v.Member].Verify(message, v.Signature) {
			return fmt.Errorf("%w: block %d: signature of member %d", errWrongAnswer, height, v.Member)
		}
		e.lacking.add(&w.checkpoint, w.el, shares[i:i+1], nil)
		e.lacking.arrived(height)
	}
	return nil
}

// arrived has a block counted again.
func (g *gathering) arrived(height uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if w := g.wanted[height]; w != nil {
		w.came = true
		signal(g.wake)
	}
}

// takeCertificate takes a certificate that another node made.
func (e *Executor) takeCertificate(raw []byte) error {
	certificate, err := cert.Decode(raw)
	if err != nil {
		return err
	}
	c := &certificate.Checkpoint
	w := e.lacking.of(c.Height)
	if w == nil {
		return nil
	}
	if withoutRound(*c) != withoutRound(w.checkpoint) {
		return fmt.Errorf("%w: certificate of another state after block %d", errWrongAnswer, c.Height)
	}
	el, err := e.electorateKnown(c)
	if err != nil || el == nil {
		return nil //nolint:nilerr // it is not the peer's fault
	}
	if err := certificate.Verify(e.traits.Chain.Network, e.traits.Chain.Chain, &el.committee, el.keys); err != nil {
		return fmt.Errorf("%w: block %d: %w", errWrongAnswer, c.Height, err)
	}
	if err := e.keepCertificate(&certificate); err != nil {
		return nil //nolint:nilerr // nor this; it is asked for again
	}
	e.lacking.arrived(c.Height) // forgets it
	return nil
}
