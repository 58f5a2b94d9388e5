package relay

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
)

// maxRecords is how many records are handed in to main in one round.
const maxRecords = 32

// mainLane brings main what the shards of this node have for it. One goroutine owns it.
type mainLane struct {
	r       *Relay
	account *account
	notes   notes
	shards  map[shard.ID]*branch
	busy    hold // main takes nothing at the moment
	asked   map[ask]*task
	watch   *watch
	height  uint64 // of main in the last round
	lacks   error  // why the account could pay for nothing then, nil while it can

	ending  ending
	known   seats // for one height of main
	knownOf stamp
}

// flight is an anchor on its way into a block of main: the nonce of its record, and the
// last height of the shard in it.
type flight struct{ nonce, last uint64 }

// queued is a height of a shard with messages, which waits for its anchor since then.
type queued struct {
	height uint64
	since  patience
}

// seats is what main's state says of the shards of this node.
type seats struct {
	facts

	orders map[shard.ID][][committee.AddressSize]byte
	rows   map[shard.ID]anchor.State
}

// branch is what a shard has for main.
type branch struct {
	pair

	anchors task
	flights []flight // anchors that may still be executed, and then take something
	queue   []queued // heights with messages that are not anchored, ascending
	bills   bills
	ways    sights // at main
}

func newMainLane(r *Relay) *mainLane {
	return &mainLane{
		r: r, account: newAccount(r.cfg.Network, *r.cfg.Key, r.cfg.Zone), shards: make(map[shard.ID]*branch), asked: make(map[ask]*task), watch: newWatch(),
	}
}

// report is what a shard says of itself.
type report struct {
	id    shard.ID
	chain Shard
	head  uint64
	still []still // links to main that stand still
}

// relisting is a link that a shard is to list again.
type relisting struct {
	of   *report
	link link.Link
}

// draft is a record to be sent.
type draft struct {
	signed

	kind  chain.Kind
	size  int              // leaves, heights or entries, for counting
	tasks map[*task]uint64 // what it is sent for, by name
}

// scale is main in a round: its state and what is made of it.
type scale struct {
	seats

	v       chain.View
	row     settlement.Account // the relayer's
	drafts  []draft
	relists []relisting
	again   time.Duration
}

func (l *mainLane) round(ctx context.Context) time.Duration {
	reports, version, again := l.survey()
	s := scale{again: again}
	err := l.r.cfg.Main.Read(func(v chain.View, height uint64) error {
		s.v, l.height = v, height
		ok, err := l.seats(&s, reports, stamp{main: height, hosted: version})
		if !ok || err != nil {
			return err
		}
		l.rescue(&s, reports)
		if free, wait := l.busy.free(height, false, l.r.cfg.Now()); !free {
			s.again = sooner(s.again, wait)
			return nil
		}
		return l.plan(&s, reports)
	})
	s.v = nil
	l.relist(ctx, &s)
	if err != nil {
		l.notes.failed(l.r, "main takes nothing of this node", ledger.MainChain, err)
		if !broke(err) {
			return never
		}
		if len(s.drafts) == 0 {
			return l.hold(s.height)
		}
	}
	return sooner(s.again, l.send(ctx, &s))
}

// relist has shards list links again. What one does not hear is asked for later.
func (l *mainLane) relist(ctx context.Context, s *scale) {
	heard := make(map[shard.ID]bool)
	for _, one := range s.relists {
		before, asked := heard[one.of.id]
		heard[one.of.id] = l.r.relist(ctx, one.of.chain, one.of.id, one.link) && (before || !asked)
	}
	for id, all := range heard {
		s.again = sooner(s.again, l.shards[id].answered(l.r, all))
	}
}

// stands looks for links of a shard to main that stand still, if it is time and the shard
// would hear of it, and returns when to look again if not.
func (b *branch) stands(r *Relay, v chain.View, one *report) time.Duration {
	if one.head < b.rescueAt {
		return never
	}
	if ok, wait := b.calls.free(one.head, false, r.cfg.Now()); !ok {
		return wait
	}
	if !hears(v) {
		return b.answered(r, false)
	}
	one.still, b.rescueAt = stillAt(v, one.head, sourceBuckets(v, one.id), link.Place{}, link.Place{})
	return never
}

// broke reports whether an error says that the account cannot send something, which is
// no reason not to send something else.
func broke(err error) bool {
	return errors.Is(err, errPoor) || errors.Is(err, errNoAccount) || errors.Is(err, errNoNonce)
}

// seats reads what main says of the shards of this node, which holds as long as it makes
// no block and this node runs the same shards. ok is false while main has no shards.
func (l *mainLane) seats(s *scale, reports []report, at stamp) (ok bool, err error) {
	if l.knownOf == at && len(reports) == len(l.known.rows) {
		s.seats = l.known
		return true, nil
	}
	l.knownOf = stamp{}
	s.seats = seats{orders: make(map[shard.ID][][committee.AddressSize]byte), rows: make(map[shard.ID]anchor.State)}
	if s.facts, ok, err = readFacts(s.v, at.main); !ok || err != nil {
		return false, err
	}
	for i := range reports {
		one := &reports[i]
		row, known := anchor.Read(s.v, one.id)
		if !known {
			continue
		}
		com := s.committeeOf(s.v, one.id)
		if com == nil {
			com = &committee.Committee{Epoch: s.epoch}
		}
		from, _ := spanOf(&row)
		s.rows[one.id] = row
		s.orders[one.id] = s.carriers(link.Link{Src: from}, com, nil)
	}
	l.known, l.knownOf = s.seats, at
	return true, nil
}

// hold waits a while before anything is sent.
func (l *mainLane) hold(height uint64) time.Duration {
	now := l.r.cfg.Now()
	l.busy.sent(height, now, l.r.cfg.Jitter())
	return l.busy.until.Sub(now)
}

// survey looks at the shards of this node, and returns when to look at the latest again.
func (l *mainLane) survey() (list []report, version uint64, again time.Duration) {
	hosted, since, version := l.r.shards()
	again = never
	maps.DeleteFunc(l.shards, func(id shard.ID, _ *branch) bool { return hosted[id] == nil })
	for _, id := range slices.Sorted(maps.Keys(hosted)) {
		b := l.shards[id]
		if b == nil {
			b = &branch{bills: bills{debts: make(map[ledger.Address]*debt)}}
			l.shards[id] = b
		}
		one := report{id: id, chain: hosted[id]}
		err := one.chain.Read(func(v chain.View, height uint64) error {
			one.head = height
			b.bills.read(v, height, l.height, l.r.cfg.Now())
			again = sooner(again, b.stands(l.r, v, &one))
			return nil
		})
		if err != nil {
			continue
		}
		if b.stock == nil {
			b.stock = newStock(link.Place{}, link.Place{}, one.head)
		}
		b.head = one.head
		if row, ok := l.known.rows[id]; ok {
			b.follow(course{since[id], row.Generation, row.Resumed}, one.head)
		}
		for more := true; more && err == nil; {
			more, err = b.stock.read(one.head, one.chain.Outbox)
		}
		if err != nil {
			l.notes.failed(l.r, "an outbox cannot be read", id, err)
		}
		list = append(list, one)
	}
	return list, version, again
}

// plan decides what is sent. An account that cannot pay for one thing may be able to pay
// for another.
func (l *mainLane) plan(s *scale, reports []report) (err error) {
	s.row, _, _ = settlement.AccountByAddress(s.v, l.account.self) // that there is none matters if something is to be sent
	l.account.tidy(&s.row, s.height)
	for _, step := range []func(*scale, []report) error{l.anchor, l.deliver, l.ask, l.conflict, l.settle} {
		failed := step(s, reports)
		if failed != nil && !broke(failed) {
			return failed
		}
		err = cmp.Or(err, failed)
	}
	l.funds(err, len(s.drafts) > 0)
	return err
}

// funds tells who operates the node when the account begins to lack coins for what was to
// be sent, and when it has some again, by what a round says: paid is one that sends.
func (l *mainLane) funds(err error, paid bool) {
	lacks := errors.Is(err, errPoor) || errors.Is(err, errNoAccount)
	account := slog.String("account", l.account.self.String())
	switch {
	case lacks && !errors.Is(err, l.lacks):
		l.lacks = err
		l.r.log.LogAttrs(context.Background(), slog.LevelWarn, "this node carries nothing to the main chain until its relayer has coins: send some to the account that `tributary relayer` shows",
			account, slog.Any("error", err))
	case !lacks && paid && l.lacks != nil:
		l.lacks = nil
		l.r.log.LogAttrs(context.Background(), slog.LevelInfo, "the relayer has coins again", account)
	}
}

// turn returns for how many blocks this node waits before it sends main something of a
// shard. Fees are paid, so one does it first.
func (l *mainLane) turn(s *scale, id shard.ID) uint64 {
	return Turn(rankIn(s.orders[id], l.r.cfg.Self()), 1, len(s.orders[id]))
}

// ready is that of a task for main: what was sent is not sent again either while its
// record may still execute, as both would be paid for.
func (l *mainLane) ready(s *scale, t *task, what, turn uint64, since patience) bool {
	t.nonces = slices.DeleteFunc(t.nonces, func(n uint64) bool { return !l.account.waits(&s.row, n) })
	if len(t.nonces) > 0 {
		// Should the record be lost, and main stand still, time ends the wait.
		if left := slowness*lifetime*l.r.cfg.Block - l.r.cfg.Now().Sub(t.until); left > 0 {
			s.again = sooner(s.again, left)
			return false
		}
	}
	ok, again := t.ready(l.r, what, turn, s.height, s.height, since)
	s.again = sooner(s.again, again)
	return ok
}

// draft signs a record, to be sent after the others. It is part of the tasks of those
// names.
func (l *mainLane) draft(s *scale, kind chain.Kind, payload []byte, size int, tasks map[*task]uint64) error {
	one, err := l.account.sign(s.v, &s.params, s.height, kind, payload)
	if err != nil {
		return err
	}
	l.add(s, draft{signed: one, kind: kind, size: size, tasks: tasks})
	return nil
}

func (l *mainLane) add(s *scale, d draft) {
	l.account.use(&d.signed, s.height)
	for t := range d.tasks {
		t.nonces = append(t.nonces, d.nonce)
	}
	s.drafts = append(s.drafts, d)
}

// maxPosts is how many anchors of a shard wait for blocks of main at most.
const maxPosts = 4

// anchor posts certificates of the shards whose turn it is. While one waits for a block of
// main another is sent as soon as there are newer messages, with the heights of the first
// too: whichever main executes, all of them are anchored by the same block.
func (l *mainLane) anchor(s *scale, reports []report) error {
	var fronts []Front
	for i := range reports {
		one := &reports[i]
		row, ok := s.rows[one.id]
		if !ok {
			continue
		}
		b := l.shards[one.id]
		t := &b.anchors
		f := FrontOf(one.id, &row, &s.anchors, s.height+1, one.head, certificates(one.chain))
		if len(f.Certificates) == 0 {
			t.reset()
			continue
		}
		turn := l.turn(s, one.id)
		if paid := l.r.cfg.Eager && f.Messages; !f.Due && !paid {
			turn += 2 * uint64(s.anchors.DueBlocks) // main may stand still until somebody pays for it
		}
		l.land(s, b, row.Tree.Size)
		if b.follows(&f) || l.ready(s, t, row.Tree.Size+1, turn, b.waits(&f, s.height, l.r.cfg.Now())) {
			fronts = append(fronts, f)
		}
	}
	if len(fronts) == 0 {
		return nil
	}
	post, last := Post(fronts, s.params.MaxAnchorWeight())
	if len(post.Runs) == 0 {
		return nil
	}
	heights := 0
	for i := range post.Runs {
		heights += len(post.Runs[i].Heads)
	}
	tasks := make(map[*task]uint64)
	for id := range last {
		row := s.rows[id]
		tasks[&l.shards[id].anchors] = row.Tree.Size + 1
	}
	if err := l.draft(s, chain.KindAnchor, post.Encode(), heights, tasks); err != nil {
		return err
	}
	for id, height := range last {
		b := l.shards[id]
		b.flights = append(b.flights, flight{s.drafts[len(s.drafts)-1].nonce, height})
	}
	return nil
}

// waits returns since when the oldest messages of a front wait, main being at a height.
func (b *branch) waits(f *Front, height uint64, now time.Time) patience {
	b.queue = slices.DeleteFunc(b.queue, func(q queued) bool { return q.height < f.Certificates[0].Checkpoint.Height })
	for i := range f.Certificates {
		p := &f.Certificates[i].Checkpoint
		if p.OutboxRoot.IsZero() || slices.ContainsFunc(b.queue, func(q queued) bool { return q.height == p.Height }) {
			continue
		}
		b.queue = append(b.queue, queued{p.Height, patience{what: 1, since: height, at: now}})
	}
	if len(b.queue) == 0 {
		return patience{}
	}
	return b.queue[0].since
}

// land forgets the anchors of a shard that were executed, or that have nothing more than
// what is anchored up to a height: main may drop those without a trace.
func (l *mainLane) land(s *scale, b *branch, anchored uint64) {
	b.flights = slices.DeleteFunc(b.flights, func(f flight) bool {
		return f.last <= anchored || !l.account.waits(&s.row, f.nonce)
	})
	b.anchors.nonces = b.anchors.nonces[:0]
	for _, f := range b.flights {
		b.anchors.nonces = append(b.anchors.nonces, f.nonce)
	}
}

// follows reports whether another anchor may be sent although some that this node sent
// wait: there are newer messages than those have.
func (b *branch) follows(f *Front) bool {
	n := len(b.flights)
	return n > 0 && n < maxPosts && !slices.ContainsFunc(b.flights, func(one flight) bool { return one.last >= f.Newest })
}

// certificates returns the look-up of a chain's certificates.
func certificates(c Chain) func(uint64) (cert.Certificate, bool) {
	return func(h uint64) (cert.Certificate, bool) {
		one, err := c.Certificate(h)
		return one, err == nil
	}
}

// send hands the drafts in, and returns when to look again.
func (l *mainLane) send(ctx context.Context, s *scale) (again time.Duration) {
	again = never
	c := &l.r.counters
	for i := range s.drafts {
		d := &s.drafts[i]
		err := l.r.cfg.Main.Submit(ctx, d.raw)
		code, rule := chain.CodeOf(err)
		switch {
		case err == nil:
			l.count(d)
			l.busy = hold{}
		case rule:
			c.Refused.Add(1)
			delete(l.account.busy, d.nonce)
			l.r.log.LogAttrs(ctx, slog.LevelDebug, "main refuses a record", slog.String("kind", d.kind.String()),
				slog.String("code", code.String()), slog.Any("error", err))
		default:
			for _, rest := range s.drafts[i:] {
				delete(l.account.busy, rest.nonce)
			}
			l.notes.failed(l.r, "main does not take a record", ledger.MainChain, err)
			return sooner(again, l.hold(s.height))
		}
		for t, what := range d.tasks {
			again = sooner(again, t.done(l.r, what, s.height))
		}
	}
	return again
}

func (l *mainLane) count(d *draft) {
	c := &l.r.counters
	c.Paid.Add(uint64(d.fee))
	switch d.kind {
	case chain.KindAnchor:
		c.Anchors.Add(1)
		c.Heights.Add(uint64(d.size))
	case chain.KindImport:
		c.Imports.Add(1)
		c.Leaves.Add(uint64(d.size))
	case chain.KindAnchorConflict:
		c.Conflicts.Add(1)
	case chain.KindSettle:
		c.Settlements.Add(1)
	case chain.KindRelist, chain.KindReack:
		c.Relists.Add(1)
	default:
	}
}
