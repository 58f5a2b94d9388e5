package relay

import (
	"context"
	"log/slog"
	"maps"
	"math"
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
	ways  sights // at the shard, if it runs here

	known   scene // of the last look at main: it holds for one height of main
	knownOf stamp
	idle    stamp     // what there was when a round found nothing to do; zero if it did
	until   time.Time // of idle: when there is something to do even so; zero for never
}

// course is how a chain goes on: a shard whose committee was drawn anew makes other blocks
// after the last one that is anchored, as another generation.
type course struct {
	hosted     uint64 // names what this node runs of it, 0 for main
	generation uint32
	resumed    uint64
}

// follow reads a source, whose last block is head, again from where it goes on in another
// way than before, as far back as who begins looks.
func (p *pair) follow(c course, head uint64) {
	if p.course == c {
		return
	}
	if p.course.hosted != 0 {
		p.stock.rewind(max(c.resumed, head-min(head, MaxBack)))
		p.history = history{}
	}
	p.course = c
}

// stamp says what a lane has looked at.
type stamp struct {
	main   uint64 // height of main
	hosted uint64 // how often what this node runs has changed
	shard  uint64 // height of the lane's shard, if it runs here
}

// pair is what a chain has for the lane's shard.
type pair struct {
	task

	sent    []letter // by this node, and not seen in a block of the destination
	asking  task     // of a shard elsewhere: to find out what it wants
	stock   *stock
	history history
	course  course // of the source, as the stock has it
	head    uint64 // height of the source in this round
	rescued uint64 // height of the source when links were last looked at for what is missing
	// rescueAt is its height from which on that is done again.
	rescueAt uint64
	calls    hold // what was asked for and not heard
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
	courses map[ledger.ChainID]course
	since   map[shard.ID]uint64
	local   Shard // nil: the shard is elsewhere
	survey  Survey
	led     int // relays of hand-overs that it was brought in this round
}

func (l *shardLane) round(ctx context.Context) time.Duration {
	s, at, ok := l.look()
	if !ok || s.local == nil && (l.r.cfg.Remote == nil || s.span.Finished()) {
		return never // it ran here until now, or nobody runs it any more
	}
	links, fresh := l.read(&s)
	if s.local != nil && len(links) == 0 && !fresh {
		if left, rests := l.rests(at); rests {
			return left
		}
	}
	l.idle = stamp{}
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
		again = sooner(again, l.carry(ctx, &s, src, ways))
	}
	if len(links) == 0 && !s.behind && !s.quiet {
		l.rest(at, again)
	}
	return again
}

// rests reports whether a lane without anything to carry has looked at the same state
// before, and after how long there is something to do.
func (l *shardLane) rests(at stamp) (left time.Duration, ok bool) {
	if l.idle == (stamp{}) || l.idle != at {
		return 0, false
	}
	if l.until.IsZero() {
		return never, true
	}
	left = l.until.Sub(l.r.cfg.Now())
	return left, left > 0
}

// rest notes that there was nothing to carry, and when to look again even so.
func (l *shardLane) rest(at stamp, again time.Duration) {
	l.idle, l.until = at, time.Time{}
	if again >= 0 {
		l.until = l.r.cfg.Now().Add(again)
	}
}

// look reads main, and says from where something may come. What main says holds as long
// as it makes no block and this node runs the same shards.
func (l *shardLane) look() (s scene, at stamp, ok bool) {
	hosted, since, version := l.r.shards()
	at.hosted = version
	err := l.r.cfg.Main.Read(func(v chain.View, height uint64) (err error) {
		at.main = height
		if l.knownOf == at {
			s, ok = l.known, true
			return nil
		}
		l.knownOf = stamp{}
		s.local, s.since = hosted[l.id], since
		s.sources = make(map[ledger.ChainID]Chain)
		for id, c := range hosted {
			if id != l.id || s.local != nil {
				s.sources[id] = c
			}
		}
		if s.local != nil {
			s.sources[ledger.MainChain] = l.r.cfg.Main
		}
		if s.facts, ok, err = readFacts(v, height); !ok || err != nil {
			return err
		}
		if s.span, ok = anchor.Read(v, l.id); ok {
			s.places(v, l.id)
			l.known, l.knownOf = s, at
		}
		return nil
	})
	if err == nil && ok && s.local != nil {
		at.shard, err = headOf(s.local)
	}
	if err != nil {
		l.notes.failed(l.r, "main cannot be read", l.id, err)
		return s, at, false
	}
	return s, at, ok
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
	s.courses = make(map[ledger.ChainID]course)
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
		s.courses[id] = course{s.since[id], row.Generation, row.Resumed}
		from, _ := spanOf(&row)
		s.orders[id] = s.carriers(link.Link{Src: from, Dst: first}, serving(id), s.own)
	}
}

// read looks at the outboxes of all sources, and returns the links whose ways decide
// what is carried. fresh says that a source was not known before.
func (l *shardLane) read(s *scene) (links []link.Link, fresh bool) {
	maps.DeleteFunc(l.pairs, func(id ledger.ChainID, _ *pair) bool { return s.sources[id] == nil })
	first, last := spanOf(&s.span)
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
			l.pairs[id], fresh = p, true
		}
		p.head = head
		p.follow(s.courses[id], head)
		for more := true; more && err == nil; {
			more, err = p.stock.read(head, src.Outbox)
		}
		if err != nil {
			l.notes.failed(l.r, "an outbox cannot be read", id, err)
		}
		for _, w := range p.stock.ways(MaxWays) {
			if !seen[w] {
				seen[w] = true
				links = append(links, w)
			}
		}
	}
	return links, fresh
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
		if len(p.stock.parcels) == 0 {
			p.asking.reset()
			continue
		}
		_ = s.sources[id].Read(func(v chain.View, _ uint64) error {
			p.stock.prune(v)
			return nil
		})
		src, err := l.prove(s, id, p)
		if err != nil || len(p.stock.parcels) == 0 || p.stock.parcels[0].height > src.anchors.Tree.Size {
			p.asking.reset()
			continue
		}
		what, size := p.stock.parcels[0].height, src.anchors.Tree.Size
		since := p.stock.waits(what, func(h uint64) bool { return h <= size }, s.height, l.r.cfg.Now())
		one, wait := p.asking.ready(l.r, what, l.turn(s, id), s.height, s.height, since)
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
			s.survey = SurveyAt(v, height, nil)
			s.survey.Ways = l.ways.at(v, s.since[l.id], height, links)
			s.behind = s.survey.Epoch < s.news && s.epochMatters(v)
			return nil
		})
	}
	var ways []Way
	for part := range slices.Chunk(links, MaxWays) {
		if s.survey, err = l.r.cfg.Remote.Survey(ctx, l.id, part); err != nil {
			return err
		}
		if !s.survey.sane(len(part)) {
			l.r.counters.Nonsense.Add(1)
			return errNonsense
		}
		ways = append(ways, s.survey.Ways...)
	}
	s.survey.Ways = ways
	return nil
}

// carry brings what one source has.
func (l *shardLane) carry(ctx context.Context, s *scene, id ledger.ChainID, ways map[link.Link]Way) time.Duration {
	p := l.pairs[id]
	if s.survey.Ended || len(p.stock.parcels) == 0 && !l.rescues(s, p, nil) {
		p.reset()
		return never
	}
	src, err := l.prove(s, id, p)
	if err != nil {
		return never
	}
	p.stock.forget(func(h uint64) bool { return src.gone(&s.survey, h) })
	provable := func(h uint64) bool { return src.provable(&s.survey, h) }
	load := p.stock.plan(func(w link.Link) (Way, bool) { way, ok := ways[w]; return way, ok }, provable, MaxCuts)
	unheard := l.rescue(ctx, s, id, p, src, &load)
	if len(load.Cuts) == 0 {
		p.reset()
		return sooner(unheard, l.seek(s, id, p, ways))
	}
	what := nameOf(id, &load.Cuts[0])
	since := p.stock.waits(load.Cuts[0].Height, provable, s.height, l.r.cfg.Now())
	turn := l.turn(s, id)
	if s.local == nil {
		turn = 0 // it is its turn, or it would not have asked
	}
	moved := p.last != what
	ok, again := p.ready(l.r, what, turn, s.height, s.survey.Height, since)
	if !ok && moved {
		return sooner(unheard, again)
	}
	if ok {
		again = p.done(l.r, what, s.survey.Height)
	}
	cuts := p.fresh(load.Cuts, ok, moved)
	taken := l.bring(ctx, s, id, p, src, cuts)
	for _, c := range cuts {
		p.sent = append(p.sent, letter{c, slices.ContainsFunc(taken, c.overlaps)})
	}
	return sooner(unheard, again)
}

// fresh returns those of cuts that are to be sent now. What this node sent waits for a block
// of the shard, and the same block may take what comes behind it, so that is sent once without
// a wait. again says that the wait is over, moved that it is because a block took some: then
// what the shard refused before is sent again, otherwise all of it.
func (p *pair) fresh(cuts []Cut, again, moved bool) (list []Cut) {
	p.sent = slices.DeleteFunc(p.sent, func(l letter) bool {
		return again && (!moved || !l.taken) || !slices.ContainsFunc(cuts, l.overlaps)
	})
	for _, c := range cuts {
		if !slices.ContainsFunc(p.sent, func(l letter) bool { return l.overlaps(c) }) {
			list = append(list, c)
		}
	}
	return list
}

// letter is a cut that was sent, and whether the shard took it in.
type letter struct {
	Cut

	taken bool
}

// seek looks for what is wanted in blocks for which a stock has no room, all of which
// waits for something.
func (l *shardLane) seek(s *scene, id ledger.ChainID, p *pair, ways map[link.Link]Way) time.Duration {
	if !p.stock.full() {
		return never
	}
	before := len(p.stock.parcels)
	err := p.stock.seek(p.head, s.sources[id].Outbox, func(w link.Link, num uint64, ack bool) bool { return wants(ways, w, num, ack) })
	if err != nil {
		l.notes.failed(l.r, "an outbox cannot be read", id, err)
	}
	if len(p.stock.parcels) > before {
		return 0
	}
	return never
}

// wants reports whether a leaf is what a way waits for.
func wants(ways map[link.Link]Way, w link.Link, num uint64, ack bool) bool {
	way, ok := ways[w]
	switch {
	case !ok:
		return false
	case ack:
		return num > way.Out.Acked && num <= way.Out.Next
	default:
		return num == way.In.Next
	}
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
	return anchored(&signed, st, c, &p.history)
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

// bring sends imports of what a pair has, each with the block of main against which it is proved,
// behind the hand-overs that lead to these, and returns those that the shard took in.
func (l *shardLane) bring(ctx context.Context, s *scene, id ledger.ChainID, p *pair, src *source, cuts []Cut) (taken []Cut) {
	if len(cuts) == 0 {
		return nil
	}
	var heads []*cert.Certificate
	var list []*shardblock.Relay
	for _, cut := range cuts {
		box, ok, err := s.sources[id].Outbox(cut.Height)
		if err == nil && !ok {
			p.stock.lose(cut.Height)
			p.rescued, p.rescueAt = 0, 0
		}
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
		list = append(list, &shardblock.Relay{Kind: shardblock.KindImport, News: shardblock.News{Heads: s.survey.heads(&c)}, Import: &in})
	}
	n, large := l.sendBehind(ctx, s, heads, list...)
	taken = slices.Clone(cuts[:n])
	if large {
		taken = append(taken, l.bring(ctx, s, id, p, src, halved(cuts[n:]))...)
	}
	return taken
}

// halved returns cuts with the first one, which is too heavy at once for a block of the
// shard, in two; nil if it cannot be.
func halved(cuts []Cut) []Cut {
	first, rest := cuts[0], cuts[0]
	if first.End-first.Begin < 2 {
		return nil
	}
	first.End = first.Begin + (first.End-first.Begin)/2
	rest.Begin = first.End
	return slices.Concat([]Cut{first, rest}, cuts[1:])
}

// sendBehind sends relays behind the hand-overs that lead to blocks of main, until one is
// not taken, and none if there are more hand-overs than the shard is brought in a round. It
// returns how many of list are taken, and whether the next one is too large.
func (l *shardLane) sendBehind(ctx context.Context, s *scene, heads []*cert.Certificate, list ...*shardblock.Relay) (taken int, large bool) {
	most := math.MaxInt // this node knows what a shard has that it runs
	if s.local == nil {
		most = maxLeads - s.led
	}
	handovers, whole, err := l.r.lead(&s.survey, most, heads...)
	if err != nil {
		l.notes.failed(l.r, "a shard cannot be led to a block of main", l.id, err)
		return 0, false
	}
	s.led += len(handovers)
	for _, letter := range handovers {
		if ok, _ := l.send(ctx, s, letter); !ok {
			return 0, false
		}
	}
	if !whole {
		return 0, false
	}
	for i, letter := range list {
		if ok, code := l.send(ctx, s, letter); !ok {
			return i, code == chain.CodeTooLarge
		}
	}
	return len(list), false
}

// send hands a relay in, and reports whether what comes after it may go too, and else the
// rule by which it was refused, if it was.
func (l *shardLane) send(ctx context.Context, s *scene, letter *shardblock.Relay) (ok bool, code chain.Code) {
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
		return true, code
	case !rule:
		l.notes.failed(l.r, "a shard does not take a relay", l.id, err)
		return false, chain.CodeOK
	}
	l.r.counters.Refused.Add(1)
	if code == chain.CodeNothingNew || code == chain.CodeLinkRepeat {
		return true, code // somebody was first; what comes behind it may be new
	}
	l.r.log.LogAttrs(ctx, slog.LevelDebug, "a shard refuses a relay",
		slog.Uint64("shard", uint64(l.id)), slog.String("kind", letter.Kind.String()), slog.String("code", code.String()), slog.Any("error", err))
	return false, code
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
