package pay

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tributary-network/tributary/api/client/journal"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
)

const (
	// MaxLag is how many blocks a node may be behind before a Payee no longer
	// accepts by what it tells.
	MaxLag = 10
	// MaxViewAge is how old the last news of a node may be before a Payee no
	// longer accepts by it.
	MaxViewAge = 30 * time.Second
	// SafeWindows is how many challenge windows before a channel's expiry a
	// Payee stops accepting: where its redemptions become urgent on the chain.
	SafeWindows = channel.UrgentWindows
	// Retain is how long a Payee keeps a channel after it has seen its close. What
	// is owed on a channel whose close it has not seen it keeps for ever.
	Retain = time.Hour
	// CloseWindows is for how many challenge windows, in blocks, an agreement to
	// close may hold that a Payee signs. It accepts nothing meanwhile.
	CloseWindows = 2
	// CloseBlocks is for how many blocks it may hold if that is more.
	CloseBlocks = 100

	stripes = 64
)

// PayeeConfig is what a Payee works with. Domain and Account are needed, Chain
// for redeeming.
type PayeeConfig struct {
	Domain  chain.Domain
	Account Identity // signs closes; its key is not needed for accepting
	Chain   Chain
	// Dir is where the payee keeps its claims. Empty means nowhere: a payee that
	// stops then loses what it has not redeemed.
	Dir string
	// Durable makes Accept wait until the claim is on disk. It needs Dir.
	Durable bool
	Journal journal.Config // Live is set by the Payee
	Redeem  RedeemPolicy
	Clock   Clock        // nil means the system's
	Log     *slog.Logger // nil means none
}

// Payee accepts payments on any number of channels and keeps the best claim of
// each lane.
type Payee struct {
	cfg     PayeeConfig
	domain  domain
	now     Clock
	log     *slog.Logger
	journal *journal.Journal // nil without Dir
	view    atomic.Pointer[viewAt]
	stripe  [stripes]stripe

	applying   sync.Mutex    // calls of Apply do not overlap; it guards what follows
	generation uint32        // counts lists, beginning at 1
	news       chan struct{} // closed and replaced after every Apply

	due *queue // channels to redeem
}

// viewAt is a view and when it came.
type viewAt struct {
	View

	at     time.Time
	listed bool // a whole list of channels has come
}

// stripe is a part of the channels under one lock.
type stripe struct {
	mu       sync.Mutex
	channels map[ledger.Hash]*payeeChannel
}

// OpenPayee returns a Payee that has the claims its journal says. It accepts
// nothing until it has been told of its channels by Apply or Follow. The caller
// must Close it.
func OpenPayee(cfg PayeeConfig) (*Payee, error) {
	if cfg.Durable && cfg.Dir == "" {
		return nil, errors.New("open payee: Durable needs Dir")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.Redeem = cfg.Redeem.withDefaults()
	p := &Payee{
		cfg: cfg, domain: newDomain(cfg.Domain), now: cfg.Clock.orSystem(), log: cfg.Log,
		due: newQueue(), news: make(chan struct{}),
	}
	for i := range p.stripe {
		p.stripe[i].channels = make(map[ledger.Hash]*payeeChannel)
	}
	p.view.Store(&viewAt{})
	if cfg.Dir == "" {
		return p, nil
	}
	jc := cfg.Journal
	jc.Live, jc.Log = p.live, cfg.Log
	j, err := journal.Open(cfg.Dir, jc, p.replay)
	if err != nil {
		return nil, fmt.Errorf("open payee: %w", err)
	}
	p.journal = j
	return p, nil
}

// Close writes what waits for the journal and closes it.
func (p *Payee) Close() error {
	if p.journal == nil {
		return nil
	}
	return p.journal.Close()
}

// Sync returns when everything accepted so far is on disk.
func (p *Payee) Sync(ctx context.Context) error {
	if p.journal == nil {
		return nil
	}
	return p.journal.Sync(ctx)
}

func (p *Payee) stripeOf(id ledger.Hash) *stripe { return &p.stripe[id[0]%stripes] }

// Follow applies updates until they end, and returns the error they end with.
func (p *Payee) Follow(updates iter.Seq2[Update, error]) error {
	for u, err := range updates {
		if err != nil {
			return err
		}
		p.Apply(u)
	}
	return nil
}
