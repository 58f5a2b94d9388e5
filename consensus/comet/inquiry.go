package comet

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cometbft/cometbft/node"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/p2p/conn"
	gogotypes "github.com/cosmos/gogoproto/types"
)

const (
	// MaxQuestion is the length in bytes of what nodes ask each other at most.
	MaxQuestion = 256
	// MaxAnswer is that of what they answer.
	MaxAnswer = 4 << 10

	// A peer's questions are looked at as long as it has credit: some at once, and a few
	// each second. Others are passed over; whoever asks does so again.
	askCredit, askCreditRate = 32, 6
	// askOpen bounds the questions to a peer whose answers are still taken. What a peer says
	// without being asked is passed over.
	askOpen = 32
	// askShun is how long a peer is neither asked nor heard after a wrong answer.
	askShun = time.Minute
	// askQueue bounds what waits to be looked at, of all peers.
	askQueue = 256

	askChannel  = byte(0x76)
	askPriority = 1
	askReactor  = "ASK"
	askKey      = "tributary.ask" // of the state kept with a peer

	// What the first byte of a message says.
	isQuestion = byte('q')
	isAnswer   = byte('a')
)

// inquiry is the reactor by which nodes ask their peers what their Application wants to
// know, and answer. What comes is looked at by one goroutine, away from the connections:
// to look at it takes time that votes do not have.
type inquiry struct {
	p2p.BaseReactor

	answerer Answerer
	now      func() time.Time
	queue    chan heardWord
}

// heardWord is a message that waits.
type heardWord struct {
	peer     p2p.Peer
	asker    *asker
	question bool
	body     []byte
}

// asker is what is kept with a connected peer.
type asker struct {
	mu      sync.Mutex
	credit  float64
	at      time.Time // of credit
	open    int       // questions that it may answer
	shunned time.Time // until then
}

func newInquiry(a Answerer) *inquiry {
	r := &inquiry{answerer: a, now: time.Now, queue: make(chan heardWord, askQueue)}
	r.BaseReactor = *p2p.NewBaseReactor(askReactor, r)
	return r
}

// GetChannels implements p2p.Reactor.
func (r *inquiry) GetChannels() []*conn.ChannelDescriptor {
	return []*conn.ChannelDescriptor{{
		ID:                  askChannel,
		Priority:            askPriority,
		SendQueueCapacity:   askOpen,
		RecvMessageCapacity: 1 + MaxAnswer + 16,
		MessageType:         &gogotypes.BytesValue{},
	}}
}

// InitPeer implements p2p.Reactor.
func (r *inquiry) InitPeer(peer p2p.Peer) p2p.Peer {
	peer.Set(askKey, newAsker(r.now()))
	return peer
}

func newAsker(now time.Time) *asker { return &asker{credit: askCredit, at: now} }

// Receive implements p2p.Reactor.
func (r *inquiry) Receive(e p2p.Envelope) {
	a, ok := e.Src.Get(askKey).(*asker)
	msg, isBytes := e.Message.(*gogotypes.BytesValue)
	if !ok || !isBytes {
		return
	}
	if w, ok := a.hear(msg.Value, r.now()); ok {
		w.peer = e.Src
		select {
		case r.queue <- w:
		default: // whoever asked does so again
		}
	}
}

// hear returns what a message says, if it is to be looked at.
func (a *asker) hear(msg []byte, now time.Time) (w heardWord, ok bool) {
	if len(msg) == 0 {
		return w, false
	}
	w = heardWord{asker: a, question: msg[0] == isQuestion, body: msg[1:]}
	switch {
	case w.question:
		return w, len(w.body) <= MaxQuestion && a.afford(now)
	case msg[0] == isAnswer:
		return w, len(w.body) <= MaxAnswer && a.expected(now)
	}
	return w, false
}

// afford reports whether another question of the peer is looked at.
func (a *asker) afford(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.credit = min(askCredit, a.credit+max(now.Sub(a.at).Seconds(), 0)*askCreditRate)
	a.at = now
	if a.credit < 1 {
		return false
	}
	a.credit--
	return true
}

// expected reports whether the peer was asked something that it has not answered.
func (a *asker) expected(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open == 0 || now.Before(a.shunned) {
		return false
	}
	a.open--
	return true
}

// asked takes note of a question to the peer, and reports whether it is to be asked.
func (a *asker) asked(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if now.Before(a.shunned) {
		return false
	}
	a.open = min(a.open+1, askOpen)
	return true
}

// shun takes note of a wrong answer.
func (a *asker) shun(now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.open, a.shunned = 0, now.Add(askShun)
}

// run looks at what comes until ctx ends.
func (r *inquiry) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case w := <-r.queue:
			if answer := r.look(w); len(answer) > 0 {
				w.peer.TrySend(word(isAnswer, answer))
			}
		}
	}
}

// look looks at what a peer said, and returns what to answer.
func (r *inquiry) look(w heardWord) (answer []byte) {
	if w.question {
		if answer = r.answerer.Answer(w.body); len(answer) > MaxAnswer {
			return nil
		}
		return answer
	}
	if r.answerer.Answered(w.body) != nil {
		w.asker.shun(r.now())
	}
	return nil
}

func word(kind byte, body []byte) p2p.Envelope {
	return p2p.Envelope{ChannelID: askChannel, Message: &gogotypes.BytesValue{Value: append([]byte{kind}, body...)}}
}

// ask asks all peers.
func (r *inquiry) ask(question []byte) {
	now := r.now()
	for _, peer := range r.Switch.Peers().Copy() {
		a, ok := peer.Get(askKey).(*asker)
		info, knows := peer.NodeInfo().(p2p.DefaultNodeInfo)
		if ok && knows && info.HasChannel(askChannel) && a.asked(now) {
			peer.TrySend(word(isQuestion, question))
		}
	}
}

// Ask asks all connected peers a question, 1 to MaxQuestion bytes, of the Application,
// which must be an [Answerer] and gets what they answer. It waits for nothing: a question
// may be lost, or passed over by who is asked too often. It errs with [ErrNotRunning].
func (c *Chain) Ask(question []byte) error {
	if _, running := c.running(); !running || c.inquiry == nil {
		return fmt.Errorf("ask: %w", ErrNotRunning)
	}
	if len(question) == 0 || len(question) > MaxQuestion {
		return fmt.Errorf("ask: question of %d bytes, want 1 to %d", len(question), MaxQuestion)
	}
	c.inquiry.ask(question)
	return nil
}

// answerer is an Application's Answerer, whatever the application does.
type answerer struct {
	adapter *adapter
	app     Answerer
}

// Answer implements Answerer.
func (a answerer) Answer(question []byte) (answer []byte) {
	if a.adapter.gate.enter() {
		defer a.adapter.gate.leave()
		if err := contain(func() error { answer = a.app.Answer(question); return nil }); err != nil {
			return nil
		}
	}
	return answer
}

// Answered implements Answerer.
func (a answerer) Answered(answer []byte) (err error) {
	if a.adapter.gate.enter() {
		defer a.adapter.gate.leave()
		err = contain(func() error { return a.app.Answered(answer) })
	}
	return err
}

// CommitRound returns the round in which the block at height was decided, and the block's
// hash: as the commit in the next block says, or, if there is no next one yet, as this node
// saw it. Nodes may have seen the decision in several rounds, but once there is a next
// block all say the same. The error is [ErrNotFound] if the commit is not stored.
func (c *Chain) CommitRound(height uint64) (blockHash []byte, round uint32, err error) {
	err = c.load(func(n *node.Node) error {
		commit := n.BlockStore().LoadBlockCommit(int64(height)) //nolint:gosec // beyond the range is not found
		if commit == nil {
			commit = n.BlockStore().LoadSeenCommit(int64(height)) //nolint:gosec // as above
		}
		if commit == nil {
			return fmt.Errorf("%w: commit of height %d", ErrNotFound, height)
		}
		blockHash, round = commit.BlockID.Hash, uint32(commit.Round) //nolint:gosec // not negative
		return nil
	})
	return blockHash, round, err
}
