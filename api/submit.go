package api

import (
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
	chainv1 "github.com/tributary-network/tributary/proto/tributary/chain/v1"
)

// backend is what the services share.
type backend struct {
	Config
	metrics  *metrics
	calls    *admission
	rates    *rateLimiter
	proving  chan struct{} // a place for each proof of the state under way
	clients  *clients
	pages    *pager
	ids      *requestIDs
	maps     *mapCache
	levels   *levelCache
	keys     *keyCache
	stopping <-chan struct{}
}

// now returns the height of the head and the settlement clock.
func (b *backend) now() (height, clock uint64, err error) {
	err = b.State.Read(func(v chain.View, h uint64) error {
		height, clock = h, settlement.Clock(v, h)
		return nil
	})
	return height, clock, err
}

// submission is a transaction and how its submitter wants it treated.
type submission struct {
	requestID    string
	tx           chain.Tx
	waitFor      chainv1.Stage
	validateOnly bool
}

// submit carries a submission out and returns where it is, or, with
// validateOnly, where it would be.
func (b *backend) submit(ctx context.Context, s *submission) (status exec.Status, err error) {
	ip, entries := callerIP(ctx), entriesOf(&s.tx)
	b.rates.charge(ip, submitTokens(entries, int64(len(s.tx.Raw))))
	defer func() {
		if err != nil {
			p, _ := problemOf(err)
			b.rates.charge(ip, refusalTokens(p, entries))
		}
	}()
	stage, err := waitStage(s.waitFor)
	if err != nil {
		return exec.Status{}, err
	}
	if s.validateOnly {
		if s.requestID != "" {
			if _, err := parseRequestID("request_id", s.requestID); err != nil {
				return exec.Status{}, err
			}
		}
		b.rates.charge(ip, signatureTokens(entries))
		receipt, err := b.Pool.Simulate(ctx, s.tx.Raw)
		if err != nil {
			return exec.Status{}, b.explain(err, &s.tx)
		}
		return simulated(&receipt, s.tx.Hash), nil
	}
	gone := func(hash ledger.Hash) bool {
		_, err := b.Pool.Status(hash)
		return errors.Is(err, exec.ErrUnknown)
	}
	hash, err := b.ids.do(ctx, s.requestID, sha256.Sum256(s.tx.Raw), gone, func() (ledger.Hash, error) {
		var err error
		status, err = b.Pool.Submit(ctx, s.tx.Raw)
		b.metrics.submit(err)
		return s.tx.Hash, err
	})
	if err != nil {
		return exec.Status{}, b.explain(err, &s.tx)
	}
	return b.await(ctx, hash, status, stage)
}

// entriesOf returns the number of entries of a batch, and 0 for what is none.
func entriesOf(tx *chain.Tx) int64 {
	if tx.Kind != chain.KindSettle {
		return 0
	}
	r := codec.NewReader(tx.Payload) // payee, mode, authorised, count
	r.Fixed(ledger.AddressSize + 2)
	return int64(r.Uint16())
}

// submitTokens is what a submission costs beyond its call: not as much as it is
// work, since the chain's fees are for that.
func submitTokens(entries, bytes int64) int {
	return 1 + rowTokens(int(entries)) + int(bytes)/4096
}

// signatureTokens is what it costs to verify the signatures of a batch for no fee.
func signatureTokens(entries int64) int { return int(entries) / 2 }

// rowTokens is what it costs to look at n rows of the state or the index.
func rowTokens(n int) int { return n / 16 }

// refusalTokens is what the refusal of a submission costs: the work it was, for
// which the chain gets no fee.
func refusalTokens(p *problem, entries int64) int {
	switch {
	case p.code == codes.InvalidArgument:
		return callCost + signatureTokens(entries)
	case p.retryable(): // no fault of the caller
		return 0
	default:
		return callCost
	}
}

// simulated is a receipt that nothing happened for.
func simulated(r *settlement.Receipt, hash ledger.Hash) exec.Status {
	return exec.Status{Hash: hash, Receipt: r}
}

// waitStage returns the stage to wait for.
func waitStage(s chainv1.Stage) (exec.Stage, error) {
	switch s {
	case chainv1.Stage_STAGE_UNSPECIFIED, chainv1.Stage_STAGE_RECEIVED, chainv1.Stage_STAGE_CHECKED:
		return exec.StageChecked, nil
	case chainv1.Stage_STAGE_INCLUDED:
		return exec.StageIncluded, nil
	case chainv1.Stage_STAGE_FINAL:
		return exec.StageFinal, nil
	default:
		return 0, invalid("wait_for", "cannot wait for %s; want CHECKED, INCLUDED or FINAL", s)
	}
}

const (
	// answerMargin is how long before the deadline a waiting call answers, so
	// that the answer still arrives.
	answerMargin = 250 * time.Millisecond
	// answerShare is the margin of short deadlines: a part of what is left.
	answerShare = 4
)

// await returns the status of hash once it reaches stage, or the present one
// shortly before ctx's deadline. present is its status as far as it is known.
func (b *backend) await(ctx context.Context, hash ledger.Hash, present exec.Status, stage exec.Stage) (exec.Status, error) {
	if present.Stage >= stage {
		return present, nil
	}
	if deadline, ok := ctx.Deadline(); ok {
		left := deadline.Sub(b.Now())
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, left-min(answerMargin, left/answerShare))
		defer cancel()
	}
	status, err := b.Pool.Wait(ctx, hash, stage)
	var busy *exec.BusyError
	if errors.As(err, &busy) || errors.Is(err, exec.ErrHalted) {
		// The transaction is under way: not being able to wait is no failure.
		if now, err := b.Pool.Status(hash); err == nil {
			return now, nil
		}
		return present, nil
	}
	if errors.Is(err, exec.ErrUnknown) { // a request id whose transaction was forgotten
		return exec.Status{Hash: hash, Stage: exec.StageDropped, DropReason: "forgotten by this node; send it again"}, nil
	}
	return status, err
}

// look returns the status of the transaction of that name.
func (b *backend) look(hash ledger.Hash, name string) (exec.Status, error) {
	status, err := b.Pool.Status(hash)
	if errors.Is(err, exec.ErrUnknown) {
		return exec.Status{}, missing(ReasonTransactionNotFound, name, "this node does not know %s; if it was submitted lately, submit it again", name)
	}
	return status, err
}

// transaction returns a status as a message.
func (b *backend) transaction(s *exec.Status, tx *chain.Tx) *chainv1.Transaction {
	return renderTransaction(s, tx, b.blockTime(s))
}

// blockTime returns the time of the block of a transaction, in Unix
// milliseconds, and 0 if there is none.
func (b *backend) blockTime(s *exec.Status) int64 {
	if s.Stage < exec.StageIncluded || s.Height == 0 {
		return 0
	}
	if h, ok := b.Node.Header(s.Height); ok {
		return h.Time.UnixMilli()
	}
	return 0
}

// explain adds to a refusal what the submitter has to know to do better: the
// nonce to use, the balance, the network, the state of the channel.
func (b *backend) explain(err error, tx *chain.Tx) error {
	var rule *chain.RuleError
	if !errors.As(err, &rule) {
		return err
	}
	p := ruleProblem(rule)
	p.subject = TransactionName(tx.Hash)
	switch rule.Code {
	case chain.CodeNonceUsed, chain.CodeNonceTooHigh, chain.CodeInsufficientBalance, chain.CodeFeeTooLow:
		b.explainAccount(p, tx.Signer)
	case chain.CodeChannelNotFound, chain.CodeChannelClosing, chain.CodeChannelExpired,
		chain.CodeStale, chain.CodeUnderfunded, chain.CodeFinalOutOfRange, chain.CodeExpiryOutOfRange:
		b.explainChannel(p, tx)
	default:
		if carries(tx.Kind) {
			p.explainCarried(rule.Code)
		} else {
			b.explainStake(p, tx)
		}
	}
	return p
}

// explainAccount adds the signer's numbers. It is a courtesy: if the state
// cannot be read there is none.
func (b *backend) explainAccount(p *problem, signer ledger.Address) {
	_ = b.State.Read(func(v chain.View, height uint64) error {
		a, _, _ := settlement.AccountByAddress(v, signer)
		p.setNumber("nonce_floor", a.Nonce)
		p.setNumber("balance", uint64(a.Balance))
		p.setNumber("height", height)
		p.subject = AccountName(signer)
		return nil
	})
}

// explainChannel adds the numbers of the channel that tx is about, or the first
// one of a batch that the refusal names.
func (b *backend) explainChannel(p *problem, tx *chain.Tx) {
	index, ok := channelOf(p, tx)
	if !ok {
		return
	}
	_ = b.State.Read(func(v chain.View, height uint64) error {
		p.setNumber("channel_index", index)
		p.setNumber("settlement_clock", settlement.Clock(v, height))
		if c, ok := settlement.ChannelAt(v, index); ok {
			p.subject = ChannelName(c.ID)
			p.set("name", p.subject)
			p.setNumber("deposit", uint64(c.Deposit))
			p.setNumber("redeemed", uint64(c.Redeemed))
			p.setNumber("deadline", c.Deadline())
		}
		return nil
	})
}

// channelOf returns the row of the channel that a refusal of tx is about.
func channelOf(p *problem, tx *chain.Tx) (uint64, bool) {
	switch tx.Kind {
	case chain.KindTopUp:
		t, err := channel.DecodeTopUp(tx.Payload)
		return t.Channel.Index, err == nil
	case chain.KindExtend:
		t, err := channel.DecodeExtend(tx.Payload)
		return t.Channel.Index, err == nil
	case chain.KindRequestClose:
		t, err := channel.DecodeRequestClose(tx.Payload)
		return t.Channel.Index, err == nil
	case chain.KindCoopClose:
		t, err := channel.DecodeCoopClose(tx.Payload)
		return t.Channel.Index, err == nil
	case chain.KindSettle:
		t, err := channel.DecodeBatch(tx.Payload)
		if err != nil {
			return 0, false
		}
		i := 0
		if len(p.positions) > 0 {
			i = int(p.positions[0])
		} else if len(t.Entries) > 1 {
			return 0, false
		}
		if i >= len(t.Entries) {
			return 0, false
		}
		return t.Entries[i].Index, true
	default:
		return 0, false
	}
}

// channelRef looks up the row of the channel with that name.
func (b *backend) channelRef(path, name string) (channel.Ref, error) {
	id, err := parseHashName(path, collectionChannels, name)
	if err != nil {
		return channel.Ref{}, err
	}
	index, ok := b.Index.ChannelIndex(id)
	if !ok {
		return channel.Ref{}, missing(chain.CodeChannelNotFound.String(), name, "there is no channel %s", strings.TrimPrefix(name, "channels/"))
	}
	return channel.Ref{Index: index, ID: id}, nil
}
