package relay

import (
	"context"
	"log/slog"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
)

// Stock lets tests look at what is planned of outboxes.
type Stock = stock

// NewStock is newStock.
func NewStock(first, last link.Place, head uint64) *Stock { return newStock(first, last, head) }

// Read is read.
func (s *stock) Read(head uint64, outbox func(uint64) (*link.Outbox, bool, error)) (bool, error) {
	return s.read(head, outbox)
}

// Plan is plan for all parcels.
func (s *stock) Plan(way func(link.Link) Way, provable func(uint64) bool, limit int) Load {
	return s.plan(func(w link.Link) (Way, bool) { return way(w), true }, provable, limit)
}

// Seek is seek.
func (s *stock) Seek(head uint64, outbox func(uint64) (*link.Outbox, bool, error), wants func(way link.Link, num uint64, ack bool) bool) error {
	return s.seek(head, outbox, wants)
}

// Full is full, Forget is forget.
func (s *stock) Full() bool                           { return s.full() }
func (s *stock) Forget(gone func(height uint64) bool) { s.forget(gone) }

// Parcels returns how many blocks and leaves are remembered.
func (s *stock) Parcels() (parcels, leaves int) { return len(s.parcels), s.briefs }

// What duties are measured with.
type (
	Patience = patience
	Hold     = hold
)

// Nobody is the rank of who has no seat, MaxBackoff the longest wait.
const (
	Nobody     = nobody
	MaxBackoff = maxBackoff
)

// Waited is waited.
func (p *patience) Waited(what, height uint64, now time.Time, block time.Duration) uint64 {
	return p.waited(what, height, now, block)
}

// Left is left.
func (p *patience) Left(turn uint64, now time.Time, block time.Duration) time.Duration {
	return p.left(turn, now, block)
}

// Sent is sent.
func (h *hold) Sent(height uint64, now time.Time, jitter float64) { h.sent(height, now, jitter) }

// Free is free.
func (h *hold) Free(height uint64, progress bool, now time.Time) (bool, time.Duration) {
	return h.free(height, progress, now)
}

// LookBlocks is lookBlocks.
const LookBlocks = lookBlocks

// Worthless counts the settlements that were looked at and are not worth their fee.
func (t *Teller) Worthless() uint64 { return t.l.r.counters.Worthless.Load() }

// Teller settles what one shard has, and nothing else.
type Teller struct {
	l   *mainLane
	id  shard.ID
	of  Shard
	row anchor.State
	p   settlement.Params

	head  uint64        // of the shard in the last round
	again time.Duration // what that returned
}

// Again returns after what time the last round wants another one, negative for never.
func (t *Teller) Again() time.Duration { return t.again }

// NewTeller returns a teller of a shard with the buckets of row, whose turn it is first.
func NewTeller(cfg Config, p settlement.Params, row anchor.State, of Shard) (*Teller, error) {
	r, err := New(cfg)
	if err != nil {
		return nil, err
	}
	t := &Teller{l: newMainLane(r), id: 2, of: of, row: row, p: p}
	t.l.shards[t.id] = &branch{bills: bills{debts: make(map[ledger.Address]*debt)}}
	return t, nil
}

// Round looks at the shard and then at main after its block at height, and returns the
// records that it sends and how many payees it remembers.
func (t *Teller) Round(v chain.View, height uint64) (sent [][]byte, payees int, err error) {
	b := &t.l.shards[t.id].bills
	err = t.of.Read(func(v chain.View, height uint64) error {
		t.head = height
		b.read(v, height, t.l.height, t.l.r.cfg.Now())
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	t.l.height = height
	s := scale{v: v, again: never}
	s.height, s.params = height, t.p
	s.rows = map[shard.ID]anchor.State{t.id: t.row}
	s.orders = map[shard.ID][][committee.AddressSize]byte{t.id: {t.l.r.cfg.Self()}}
	s.row, _, _ = settlement.AccountByAddress(v, t.l.account.self)
	t.l.account.tidy(&s.row, height)
	if err := t.l.settle(&s, []report{{id: t.id, chain: t.of, head: t.head}}); err != nil {
		return nil, 0, err
	}
	t.again = s.again
	for i := range s.drafts {
		sent = append(sent, s.drafts[i].raw)
		for of, what := range s.drafts[i].tasks {
			of.done(t.l.r, what, height)
		}
	}
	return sent, len(b.debts), nil
}

// Surveys has a lane of main look at a shard of this node once before it knows what main says
// of it, and once for each row that main has then.
func Surveys(cfg Config, id shard.ID, s Shard, list ...anchor.State) error {
	r, err := New(cfg)
	if err != nil {
		return err
	}
	r.Host(id, s)
	l := newMainLane(r)
	l.survey()
	for _, row := range list {
		l.known.rows = map[shard.ID]anchor.State{id: row}
		l.survey()
	}
	return nil
}

// Caller asks a shard for what stands still on its links, on the way to main or to another
// shard.
type Caller struct {
	main  *mainLane
	other *shardLane
	scene scene
	pair  *pair
}

// NewCaller returns a caller of shard id for main, and for the shard with the places of row,
// which runs here too.
func NewCaller(cfg Config, id shard.ID, of Shard, row anchor.State, local Shard) (*Caller, error) {
	r, err := New(cfg)
	if err != nil {
		return nil, err
	}
	r.Host(id, of)
	first, last := spanOf(&row)
	return &Caller{
		main: newMainLane(r), other: &shardLane{r: r, id: id + 1}, pair: &pair{stock: newStock(first, last, 0)},
		scene: scene{span: row, local: local, sources: map[ledger.ChainID]Chain{id: of}},
	}, nil
}

// Main looks at the shard as the lane of main does, asks for a link if it stands still, and
// returns when to look again.
func (c *Caller) Main(of link.Link) time.Duration {
	reports, _, again := c.main.survey()
	s := scale{again: again}
	for i := range reports {
		if len(reports[i].still) > 0 {
			s.relists = append(s.relists, relisting{&reports[i], of})
		}
	}
	c.main.relist(context.Background(), &s)
	return s.again
}

// Shard is Main of the other shard's lane, the source being at a height.
func (c *Caller) Shard(head uint64) time.Duration {
	c.pair.head = head
	var again time.Duration
	for id := range c.scene.sources {
		src := &source{main: func(uint64) (cert.Certificate, bool) { return cert.Certificate{}, false }}
		again = c.other.rescue(context.Background(), &c.scene, id, c.pair, src, new(Load))
	}
	return again
}

// Follower brings one relay to shard 2, behind the hand-overs that lead to a block of main in
// an epoch, to what is surveyed of it. local is nil of a shard elsewhere.
func Follower(cfg Config, local Shard, s Survey, epoch uint64, times int) (taken int, left Survey, err error) {
	r, err := New(cfg)
	if err != nil {
		return 0, s, err
	}
	l, at := &shardLane{r: r, id: 2}, scene{local: local, survey: s}
	head := &cert.Certificate{Checkpoint: cert.Checkpoint{Epoch: epoch}}
	for range times {
		n, _ := l.sendBehind(context.Background(), &at, []*cert.Certificate{head}, &shardblock.Relay{Kind: shardblock.KindHead})
		taken += n
	}
	return taken, at.survey, nil
}

// MaxLeads is maxLeads.
const MaxLeads = maxLeads

// Sights is sights, At is at.
type Sights = sights

func (s *sights) At(v chain.View, hosted, height uint64, links []link.Link) []Way {
	return s.at(v, hosted, height, links)
}

// Why nothing is signed.
var (
	ErrNoAccount = errNoAccount
	ErrNoNonce   = errNoNonce
	ErrPoor      = errPoor
)

// Account signs for main.
type Account = account

// NewAccount is newAccount.
func NewAccount(network ledger.NetworkID, key ledger.PrivateKey, zone byte) *Account {
	return newAccount(network, key, zone)
}

// Sign signs a record and uses its nonce.
func (a *account) Sign(v chain.View, p *settlement.Params, height uint64, kind chain.Kind, payload []byte) (raw []byte, nonce uint64, err error) {
	s, err := a.sign(v, p, height, kind, payload)
	if err == nil {
		a.use(&s, height)
	}
	return s.raw, s.nonce, err
}

// Funds has a lane of an account told by rounds what they came to, nil for one that paid.
func (a *account) Funds(log *slog.Logger, rounds ...error) {
	l := &mainLane{r: &Relay{log: log}, account: a}
	for _, err := range rounds {
		l.funds(err, err == nil)
	}
}

// Help returns which links of bucket 0 are to be listed and acknowledged again.
func Help(src chain.View, height uint64, dst chain.View, at uint64, first, last link.Place, has bool) (relist, reack []link.Link) {
	list, _ := stillAt(src, height, []uint8{0}, first, last)
	out := helped(list, dst, at, func(link.Link, uint64) bool { return has })
	return out.relist, out.reack
}

// Spares is spares of an account with a balance.
func (a *account) Spares(balance, fee ledger.Amount) bool {
	return a.spares(&settlement.Account{Balance: balance}, fee)
}

// History is history.
type History = history

// Prove is prove.
func (h *history) Prove(c Chain, s *anchor.State, height uint64) (anchor.Proof, bool) {
	return h.prove(c, s, height)
}

// Suspects returns how many conflicts are seen in what main was sent.
func Suspects(posts []Posted) int {
	w := newWatch()
	for i := range posts {
		w.see(&posts[i], true)
	}
	return len(w.crimes)
}

// DripBlocks is dripBlocks.
const DripBlocks = dripBlocks

// Dripped returns for how long something waits that could be carried since a height and a
// time, and was not what was measured.
func (p *patience) Dripped(what, height uint64, now time.Time, block time.Duration, since uint64, at time.Time) uint64 {
	p.began(what, height, now, block, patience{what: 1, since: since, at: at})
	return p.waited(what, height, now, block)
}

// Sane is sane.
func (s *Survey) Sane(links int) bool { return s.sane(links) }

// Halved is what is brought after the first of cuts was too large.
func Halved(cuts []Cut) []Cut { return halved(cuts) }

// Sender is what a pair remembers of what it sent.
type Sender struct{ p pair }

// Fresh returns what is to be sent of cuts, and notes which of that the destination took.
func (s *Sender) Fresh(cuts []Cut, again, moved bool, takes func(Cut) bool) []Cut {
	list := s.p.fresh(cuts, again, moved)
	for _, c := range list {
		s.p.sent = append(s.p.sent, letter{c, takes(c)})
	}
	return list
}
