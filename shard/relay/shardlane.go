package relay

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
)

// shardLane brings a shard what it lacks. One goroutine owns it.
type shardLane struct {
	r     *Relay
	id    shard.ID
	pairs map[ledger.ChainID]*pair
	epoch task
	beat  task
	notes notes
}

// pair is what a chain has for the lane's shard.
type pair struct {
	task

	asking  task // of a shard elsewhere: to find out what it wants
	stock   *stock
	history history
	rescued uint64 // height of the source when links were last looked at for what is missing
}

// task is something that is this node's turn at some time, and is not sent twice.
type task struct {
	patience
	hold

	last   uint64   // names what was sent last
	nonces []uint64 // of the records in which it went to main
}

// ready reports whether it is this node's turn to send what has a name and waits, and
// otherwise when to look again. height is of main, at of the chain that it is sent to.
func (t *task) ready(r *Relay, what, turn, height, at uint64) (ok bool, again time.Duration) {
	now := r.cfg.Now()
	if t.what != 0 && t.what == t.last {
		t.what = what // what this node sent has gone on, so it stays in charge until nothing waits
	}
	if t.waited(what, height, now, r.cfg.Block) < turn {
		return false, t.left(turn, now, r.cfg.Block)
	}
	ok, again = t.free(at, t.last != what, now)
	if !ok {
		return false, again
	}
	if t.last == what {
		r.counters.Late.Add(1)
	}
	return true, never
}

// done notes that what has a name was sent, and returns when to look whether it came.
func (t *task) done(r *Relay, what, at uint64) time.Duration {
	t.last = what
	now := r.cfg.Now()
	t.sent(at, now, r.cfg.Jitter())
	return t.until.Sub(now)
}

// scene is what a round of a shard's lane works with.
type scene struct {
	facts

	span    anchor.State // of the shard
	own     *committee.Committee
	quiet   bool   // a shard of this node has been quiet for so long that all idle ones make a block
	news    uint64 // the running epoch, or that in which the shard is replaced, whichever is first
	behind  bool   // the shard has to know it
	orders  map[ledger.ChainID][][committee.AddressSize]byte
	serving []byte // the committee of that epoch, for its record
	sources map[ledger.ChainID]Chain
	local   Shard // nil: the shard is elsewhere
	survey  Survey
}

func (l *shardLane) round(ctx context.Context) time.Duration {
	s, ok := l.look()
	if !ok || s.local == nil && (l.r.cfg.Remote == nil || s.span.Finished()) {
		return never // it ran here until now, or nobody runs it any more
	}
	links, counts := l.read(&s)
	again := never
	if s.local == nil {
		if ok, again = l.worth(&s); !ok {
			return again
		}
	}
	if err := l.ask(ctx, &s, links); err != nil {
		l.notes.failed(l.r, "a shard does not answer", l.id, err)
		return again
	}
	if s.local != nil {
		again = sooner(l.tellEpoch(ctx, &s), l.heartbeat(ctx, &s))
	}
	ways := make(map[link.Link]Way, len(links))
	for i, w := range links {
		ways[w] = s.survey.Ways[i]
	}
	for _, src := range slices.Sorted(maps.Keys(l.pairs)) {
		again = sooner(again, l.carry(ctx, &s, src, counts[src], ways))
	}
	return again
}

// look reads main, and says from where something may come.
func (l *shardLane) look() (s scene, ok bool) {
	hosted := l.r.shards()
	s.local = hosted[l.id]
	s.sources = make(map[ledger.ChainID]Chain)
	for id, c := range hosted {
		if id != l.id {
			s.sources[id] = c
		}
	}
	if s.local != nil {
		s.sources[ledger.MainChain] = l.r.cfg.Main
	}
	err := l.r.cfg.Main.Read(func(v chain.View, height uint64) (err error) {
		if s.facts, ok, err = readFacts(v, height); !ok || err != nil {
			return err
		}
		if s.span, ok = anchor.Read(v, l.id); ok {
			s.places(v, l.id)
		}
		return nil
	})
	if err != nil {
		l.notes.failed(l.r, "main cannot be read", l.id, err)
		return s, false
	}
	return s, ok
}

// places says who carries from which source, by main's state. Sources that main does not
// know are left out.
func (s *scene) places(v chain.View, self shard.ID) {
	serving := func(id shard.ID) *committee.Committee {
		if com := s.committeeOf(v, id); com != nil {
			return com
		}
		return &committee.Committee{Epoch: s.epoch}
	}
	s.own, s.news = serving(self), s.epoch
	if s.span.Until > 0 {
		s.news = min(s.news, s.span.Until) // main may be further before the shard is told
	}
	s.serving, s.quiet = s.own.Encode(), s.silent(&s.span)
	s.orders = make(map[ledger.ChainID][][committee.AddressSize]byte)
	first, _ := spanOf(&s.span)
	for id := range s.sources {
		if id == ledger.MainChain {
			s.orders[id] = s.carriers(link.Link{Dst: first}, nil, s.own)
			continue
		}
		row, known := anchor.Read(v, id)
		if !known {
			delete(s.sources, id)
			continue
		}
		s.quiet = s.quiet || s.silent(&row)
		from, _ := spanOf(&row)
		s.orders[id] = s.carriers(link.Link{Src: from, Dst: first}, serving(id), s.own)
	}
}

// read looks at the outboxes of all sources, and returns the links whose ways decide
// what is carried, and of how many blocks of each source.
func (l *shardLane) read(s *scene) (links []link.Link, counts map[ledger.ChainID]int) {
	maps.DeleteFunc(l.pairs, func(id ledger.ChainID, _ *pair) bool { return s.sources[id] == nil })
	first, last := spanOf(&s.span)
	counts = make(map[ledger.ChainID]int)
	seen := make(map[link.Link]bool)
	for _, id := range slices.Sorted(maps.Keys(s.sources)) {
		src := s.sources[id]
		head, err := headOf(src)
		if err != nil {
			continue
		}
		p := l.pairs[id]
		if p == nil {
			p = &pair{stock: newStock(first, last, head)}
			l.pairs[id] = p
		}
		for more := true; more && err == nil; {
			more, err = p.stock.read(head, src.Outbox)
		}
		if err != nil {
			l.notes.failed(l.r, "an outbox cannot be read", id, err)
		}
		list, count := p.stock.ways(MaxWays)
		counts[id] = count
		for _, w := range list {
			if !seen[w] {
				seen[w] = true
				links = append(links, w)
			}
		}
	}
	return links, counts
}

// headOf returns the height of a chain's last block.
func headOf(c Chain) (head uint64, err error) {
	err = c.Read(func(_ chain.View, height uint64) error {
		head = height
		return nil
	})
	return head, err
}

// worth reports whether it is worth asking a shard elsewhere what it wants: something can
// be proved to it that is not known to have arrived, and it is this node's turn. If not,
// it returns when to look again.
func (l *shardLane) worth(s *scene) (ok bool, again time.Duration) {
	again = never
	for id, p := range l.pairs {
		_ = s.sources[id].Read(func(v chain.View, _ uint64) error {
			p.stock.prune(v)
			return nil
		})
		src, err := l.prove(s, id, p)
		if err != nil || len(p.stock.parcels) == 0 || p.stock.parcels[0].height > src.anchors.Tree.Size {
			p.asking.reset()
			continue
		}
		what := p.stock.parcels[0].height
		one, wait := p.asking.ready(l.r, what, l.turn(s, id), s.height, s.height)
		if one {
			ok, wait = true, p.asking.done(l.r, what, s.height)
		}
		again = sooner(again, wait)
	}
	return ok, again
}

// turn returns for how many blocks this node waits before it brings something.
func (l *shardLane) turn(s *scene, id ledger.ChainID) uint64 {
	return Turn(rankIn(s.orders[id], l.r.cfg.Self()), link.Relays, len(s.orders[id]))
}

// ask finds out what the shard has.
func (l *shardLane) ask(ctx context.Context, s *scene, links []link.Link) (err error) {
	if s.local != nil {
		return s.local.Read(func(v chain.View, height uint64) error {
			s.survey = SurveyAt(v, height, links)
			s.behind = s.survey.Epoch < s.news && s.epochMatters(v)
			return nil
		})
	}
	var ways []Way
	for part := range slices.Chunk(links, MaxWays) {
		if s.survey, err = l.r.cfg.Remote.Survey(ctx, l.id, part); err != nil {
			return err
		}
		if len(s.survey.Ways) != len(part) {
			return errShortAnswer
		}
		ways = append(ways, s.survey.Ways...)
	}
	s.survey.Ways = ways
	return nil
}

// carry brings what one source has.
func (l *shardLane) carry(ctx context.Context, s *scene, id ledger.ChainID, count int, ways map[link.Link]Way) time.Duration {
	p := l.pairs[id]
	src, err := l.prove(s, id, p)
	if err != nil || s.survey.Ended {
		return never
	}
	provable := func(h uint64) bool { return src.provable(&s.survey, h) }
	load := p.stock.plan(count, func(w link.Link) Way { return ways[w] }, provable, MaxCuts)
	l.rescue(ctx, s, id, p, &load)
	if len(load.Cuts) == 0 {
		p.reset()
		return never
	}
	what := nameOf(id, &load.Cuts[0])
	turn := l.turn(s, id)
	if s.local == nil {
		turn = 0 // it is its turn, or it would not have asked
	}
	ok, again := p.ready(l.r, what, turn, s.height, s.survey.Height)
	if !ok {
		return again
	}
	l.bring(ctx, s, id, src, load.Cuts)
	return p.done(l.r, what, s.survey.Height)
}

// prove says how blocks of a source are proved.
func (l *shardLane) prove(s *scene, id ledger.ChainID, p *pair) (*source, error) {
	c := s.sources[id]
	if id == ledger.MainChain {
		found := make(map[uint64]*cert.Certificate)
		return &source{main: func(h uint64) (cert.Certificate, bool) {
			if one, ok := found[h]; ok {
				return valueOf(one)
			}
			one, err := c.Certificate(h)
			if err != nil {
				found[h] = nil
				return one, false
			}
			found[h] = &one
			return one, true
		}}, nil
	}
	key := anchor.Key(id)
	signed, st, err := l.r.cfg.Main.Certified(key)
	if err != nil {
		return nil, err
	}
	if signed.Checkpoint.Epoch < s.survey.First {
		l.r.watch(key)
	}
	var src *source
	src, err = anchored(&signed, st, func(h, _ uint64) (anchor.Proof, bool) { return p.history.prove(c, &src.anchors, h) })
	return src, err
}

func valueOf(c *cert.Certificate) (cert.Certificate, bool) {
	if c == nil {
		return cert.Certificate{}, false
	}
	return *c, true
}

// nameOf names the first of what waits.
func nameOf(id ledger.ChainID, c *Cut) uint64 {
	return (c.Height<<16 ^ uint64(c.Begin) ^ uint64(id)<<48) + 1
}

// bring sends imports behind what they are proved with.
func (l *shardLane) bring(ctx context.Context, s *scene, id ledger.ChainID, src *source, cuts []Cut) {
	var heads []*cert.Certificate
	var list []*shardblock.Relay
	for _, cut := range cuts {
		box, ok, err := s.sources[id].Outbox(cut.Height)
		if err != nil || !ok {
			break
		}
		in := src.letter(cut.Height)
		if in.Link, err = box.Import(id, cut.Height, cut.Begin, cut.End); err != nil {
			l.notes.failed(l.r, "leaves cannot be proved", id, err)
			break
		}
		c := src.certificate(cut.Height)
		heads = append(heads, &c)
		list = append(list, &shardblock.Relay{Kind: shardblock.KindImport, Import: &in})
	}
	news, err := l.r.lead(&s.survey, heads...)
	if err != nil {
		l.notes.failed(l.r, "a shard cannot be led to a block of main", l.id, err)
		return
	}
	for _, letter := range letters(news, list...) {
		if !l.send(ctx, s, letter) {
			return
		}
	}
}

// send hands a relay in, and reports whether what comes after it may go too.
func (l *shardLane) send(ctx context.Context, s *scene, letter *shardblock.Relay) bool {
	payload := letter.Encode()
	var err error
	if s.local != nil {
		err = s.local.SubmitRelay(ctx, payload)
	} else {
		err = l.r.cfg.Remote.SubmitRelay(ctx, l.id, payload)
	}
	code, rule := chain.CodeOf(err)
	switch {
	case err == nil:
		l.count(letter, len(payload))
		return true
	case !rule:
		l.notes.failed(l.r, "a shard does not take a relay", l.id, err)
		return false
	}
	l.r.counters.Refused.Add(1)
	if code == chain.CodeNothingNew || code == chain.CodeLinkRepeat {
		return true // somebody was first
	}
	l.r.log.LogAttrs(ctx, slog.LevelDebug, "a shard refuses a relay",
		slog.Uint64("shard", uint64(l.id)), slog.String("kind", letter.Kind.String()), slog.String("code", code.String()), slog.Any("error", err))
	return false
}

func (l *shardLane) count(letter *shardblock.Relay, size int) {
	c := &l.r.counters
	c.Bytes.Add(uint64(size))
	switch letter.Kind {
	case shardblock.KindHead:
		c.Heads.Add(1)
	case shardblock.KindEpoch:
		c.Epochs.Add(1)
	case shardblock.KindImport:
		c.Imports.Add(1)
		c.Leaves.Add(uint64(len(letter.Import.Link.Leaves)))
	case shardblock.KindRelist, shardblock.KindReack:
		c.Relists.Add(1)
	}
}

// notes keep a lane from saying the same again and again.
type notes struct{ said map[string]time.Time }

// quiet is for how long the same is not said again.
const quiet = time.Minute

// failed counts a failure, and logs it unless that was done a short time ago.
func (n *notes) failed(r *Relay, what string, id ledger.ChainID, err error) {
	r.counters.Failed.Add(1)
	now := r.cfg.Now()
	if n.said == nil {
		n.said = make(map[string]time.Time)
	}
	if at, ok := n.said[what]; ok && now.Sub(at) < quiet {
		return
	}
	n.said[what] = now
	r.log.LogAttrs(context.Background(), slog.LevelInfo, "relaying failed",
		slog.String("what", what), slog.Uint64("chain", uint64(id)), slog.Any("error", err))
}
