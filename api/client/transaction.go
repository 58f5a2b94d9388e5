package client

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	chainv1 "github.com/tributary-network/tributary/proto/tributary/chain/v1"
	nodev1 "github.com/tributary-network/tributary/proto/tributary/node/v1"
	settlementv1 "github.com/tributary-network/tributary/proto/tributary/settlement/v1"
)

const (
	// maxSignings is how often a transaction is signed anew because its nonce
	// was taken or it expired before it was sent.
	maxSignings = 8
	// maxDrops is how often a transaction is sent again that nodes gave up, or that
	// a block did not execute.
	maxDrops = 5

	stageChecked = chainv1.Stage_STAGE_CHECKED
	stageFinal   = chainv1.Stage_STAGE_FINAL
)

// ErrDropped is returned for a transaction that nodes have given up again and
// again.
var ErrDropped = errors.New("transaction was dropped")

func newRequestID() string { return uuid.NewString() }

// Transaction is a signed transaction under way. It is owned by one goroutine.
type Transaction struct {
	account   *Account
	raw       []byte
	hash      ledger.Hash
	kind      chain.Kind
	nonce     uint64
	requestID string
	status    Status
	// ambiguous says that an attempt to send it broke off, so that a node may
	// have it although nobody said so.
	ambiguous bool
	over      bool // its nonce has been given back
}

// Hash returns the transaction's name.
func (t *Transaction) Hash() ledger.Hash { return t.hash }

// Raw returns the signed bytes.
func (t *Transaction) Raw() []byte { return t.raw }

// Status returns what was last heard of it.
func (t *Transaction) Status() Status { return t.status }

// Submit signs a transaction, submits it and returns its receipt when it is
// final; for a settlement the receipt has the results of all entries. An
// *UnknownOutcomeError, whatever it wraps, means that it may still be executed. Any
// other *chain.RuleError is a refusal before execution and has no effect; then the
// receipt is zero.
func (a *Account) Submit(ctx context.Context, kind chain.Kind, payload []byte) (settlement.Receipt, error) {
	for signing := 1; ; signing++ {
		t, err := a.send(ctx, kind, payload, stageFinal)
		if err != nil {
			return settlement.Receipt{}, err
		}
		s, err := t.Wait(ctx)
		if err != nil || signing == maxSignings || !overtaken(s.Receipt) {
			return s.receipt(), err
		}
	}
}

// overtaken reports whether a final transaction had no effect because another one
// had used its nonce or it was too late, so that another in its place may.
func overtaken(r *settlement.Receipt) bool {
	return r.Code == chain.CodeNonceUsed || r.Code == chain.CodeExpired
}

// refusedBy is what a block said of a transaction at StageRefused.
func refusedBy(s *Status) error {
	rule := &chain.RuleError{Code: s.Receipt.Code, Detail: s.Receipt.Detail}
	if s.ValidUntil != 0 {
		return fmt.Errorf("refused by block %d, may be executed up to block %d: %w", s.Height, s.ValidUntil, rule)
	}
	return fmt.Errorf("refused by block %d, may be executed later: %w", s.Height, rule)
}

// Send signs a transaction, submits it and returns when a node has checked it.
// The caller should Wait for it, which also gives its nonce back.
func (a *Account) Send(ctx context.Context, kind chain.Kind, payload []byte) (*Transaction, error) {
	return a.send(ctx, kind, payload, stageChecked)
}

// Simulate checks a transaction, signature included, as if it was submitted, and
// returns the receipt that it would have in the next block. Nothing happens.
func (a *Account) Simulate(ctx context.Context, kind chain.Kind, payload []byte) (settlement.Receipt, error) {
	t, err := a.sign(ctx, kind, payload)
	if err != nil {
		return settlement.Receipt{}, err
	}
	defer t.end(nonceFree)
	s, err := t.call(ctx, stageChecked, true)
	if err == nil && s.Receipt == nil {
		err = fmt.Errorf("simulate %s: the node answers without a receipt", kind)
	}
	return s.receipt(), err
}

// Sign returns a signed transaction without sending it, and whatever becomes of
// it, its nonce is only used again once no other is left.
func (a *Account) Sign(ctx context.Context, kind chain.Kind, payload []byte) (*Transaction, error) {
	t, err := a.sign(ctx, kind, payload)
	if err != nil {
		return nil, err
	}
	t.end(nonceDoubt)
	return t, nil
}

// sign makes a transaction with a nonce of its own.
func (a *Account) sign(ctx context.Context, kind chain.Kind, payload []byte) (*Transaction, error) {
	nonce, err := a.nonces.take(ctx)
	if err != nil {
		return nil, err
	}
	fields := chain.TxFields{
		Kind: kind, Zone: a.id.Address.Zone(), Nonce: nonce, Payload: payload,
		MaxFee: settlement.FeeAtMost(a.client.network.Params, &chain.Tx{Kind: kind, Payload: payload}) + feeSalt(),
	}
	if life := a.client.options.lifetime; life > 0 {
		fields.ValidUntil = a.client.head.Load() + life
	}
	unsigned := chain.UnsignedTx(a.client.Domain(), a.id.Key, fields)
	sig, err := a.id.Signer.Sign(ctx, unsigned)
	var tx chain.Tx
	if err == nil {
		tx, err = chain.DecodeTx(a.client.Domain(), chain.AttachSignature(unsigned, sig))
	}
	if err != nil {
		a.nonces.give(nonce, nonceFree)
		return nil, fmt.Errorf("sign %s: %w", kind, err)
	}
	return &Transaction{
		account: a, raw: tx.Raw, hash: tx.Hash, kind: kind, nonce: nonce, requestID: newRequestID(),
		status: Status{Hash: tx.Hash, Kind: kind, Signer: tx.Signer, Nonce: nonce},
	}, nil
}

// feeSalt returns some drops that the fee may be higher than it is. It is there
// to tell transactions apart: if two processes that sign for one account pay the
// same to the same at the same nonce, these must not be one transaction.
func feeSalt() ledger.Amount {
	var b [2]byte
	rand.Read(b[:]) // never fails
	return ledger.Amount(binary.BigEndian.Uint16(b[:]))
}

// send signs and submits, anew if a transaction cannot be executed any more for
// a reason that another one does not have.
func (a *Account) send(ctx context.Context, kind chain.Kind, payload []byte, stage chainv1.Stage) (*Transaction, error) {
	for signing := 1; ; signing++ {
		t, err := a.sign(ctx, kind, payload)
		if err != nil {
			return nil, err
		}
		err = t.submit(ctx, stage)
		if err == nil {
			return t, nil
		}
		if signing == maxSignings || !t.renewable(ctx, err) {
			return nil, t.fail(err)
		}
		a.client.options.log.DebugContext(ctx, "transaction will be signed anew")
		if !sleep(ctx, a.client.options.retry.delay(signing, err)) {
			return nil, t.fail(err)
		}
	}
}

// renewable reports whether err means that t will never be executed and that
// another transaction in its place might, and gives t's nonce back if so.
func (t *Transaction) renewable(ctx context.Context, err error) bool {
	code, ok := chain.CodeOf(err)
	if !ok {
		return false
	}
	switch code {
	case chain.CodeNonceUsed: // by another transaction of this account
		t.end(nonceUsed)
		t.account.nonces.forget()
		return true
	case chain.CodeNonceTooHigh: // the node is behind, or we were misled
		if t.ambiguous {
			return false
		}
		t.end(nonceFree)
		t.account.nonces.forget()
		return true
	case chain.CodeExpired: // the chain is further than we knew
		t.end(nonceFree)
		_, err := t.account.client.readNetwork(ctx)
		return err == nil
	default:
		return false
	}
}

// fail gives the nonce back after err, and says so if the outcome is unknown.
func (t *Transaction) fail(err error) error {
	err = fmt.Errorf("%s: %w", t.kind, err)
	switch code, _ := chain.CodeOf(err); {
	case code == chain.CodeNonceUsed:
		t.end(nonceUsed)
	case code == chain.CodeExpired || !t.ambiguous:
		t.end(nonceFree)
	default:
		t.end(nonceDoubt)
		return &UnknownOutcomeError{Hash: t.hash, Err: err}
	}
	return err
}

func (t *Transaction) end(how nonceEnd) {
	if !t.over {
		t.over = true
		t.account.nonces.give(t.nonce, how)
	}
}

// Wait returns when the transaction is final, with its outcome. It sends the
// transaction again if a node has dropped it or a block has refused it. ErrDropped
// and *UnknownOutcomeError, whatever that wraps, mean that it may still be
// executed; any other *chain.RuleError that it will not be.
func (t *Transaction) Wait(ctx context.Context) (Status, error) {
	for drops := 0; ; {
		switch t.status.Stage {
		case StageFinal:
			t.settle()
			return t.status, nil
		case StageDropped, StageRefused:
			if drops++; drops > maxDrops {
				return t.status, t.giveUp()
			}
			t.requestID = newRequestID()
			if !sleep(ctx, t.account.client.options.retry.delay(drops, nil)) {
				t.ambiguous = true
				return t.status, t.fail(ctx.Err())
			}
		default:
		}
		if err := t.submit(ctx, stageFinal); err != nil {
			t.ambiguous = true // it was taken once
			return t.status, t.fail(err)
		}
	}
}

// giveUp gives the nonce back of a transaction that does not come through, and
// says how it failed the last time.
func (t *Transaction) giveUp() error {
	if t.status.Stage == StageRefused {
		t.ambiguous = true
		return t.fail(refusedBy(&t.status))
	}
	t.end(nonceDoubt)
	return fmt.Errorf("%s %s: %w: %s", t.kind, t.hash, ErrDropped, t.status.DropReason)
}

// settle gives the nonce of a final transaction back.
func (t *Transaction) settle() {
	t.account.client.saw(t.status.Height)
	switch r := t.status.Receipt; {
	case r.Code == chain.CodeNonceUsed: // by another one
		t.end(nonceUsed)
		t.account.nonces.forget()
	case r.Code != chain.CodeOK && r.Fee == 0: // without effect; the nonce may be free
		t.end(nonceDoubt)
		t.account.nonces.forget()
	default:
		t.end(nonceUsed)
	}
}

// submit sends the transaction, or asks about it if a node has it, and waits for
// stage as long as one call may take.
func (t *Transaction) submit(ctx context.Context, stage chainv1.Stage) error {
	s, err := t.call(ctx, stage, false)
	if code, ok := chain.CodeOf(err); err != nil && ok && code == chain.CodeNonceUsed {
		// By this very transaction, if an answer was lost.
		if found, lookup := t.lookUp(ctx); lookup == nil {
			s, err = found, nil
		}
	}
	if err != nil {
		return err
	}
	if !s.Hash.IsZero() && s.Hash != t.hash {
		return fmt.Errorf("the node answers about transaction %s, not %s", s.Hash, t.hash)
	}
	t.status = s
	return nil
}

func (t *Transaction) lookUp(ctx context.Context) (Status, error) {
	if t.kind == chain.KindSettle {
		return t.account.client.Settlement(ctx, t.hash)
	}
	return t.account.client.Transaction(ctx, t.hash)
}

// call makes the one call that submits, for the transaction's kind.
func (t *Transaction) call(ctx context.Context, stage chainv1.Stage, validateOnly bool) (Status, error) {
	id := t.requestID
	if validateOnly {
		id = ""
	}
	if t.kind == chain.KindSettle {
		req := &settlementv1.SubmitSettlementRequest{
			RequestId: id, WaitFor: stage, ValidateOnly: validateOnly, FullResults: true,
			Transaction: &settlementv1.SubmitSettlementRequest_SignedTx{SignedTx: t.raw},
		}
		resp, err := invoke(ctx, t.account.client, func(ctx context.Context, e *endpoint) (*settlementv1.SubmitSettlementResponse, error) {
			resp, err := e.settlements.SubmitSettlement(ctx, req)
			t.note(err)
			return resp, err
		})
		if err != nil {
			return Status{}, err
		}
		return settlementOf(resp.GetSettlement())
	}
	req := &nodev1.SubmitTransactionRequest{RequestId: id, SignedTx: t.raw, WaitFor: stage, ValidateOnly: validateOnly}
	resp, err := invoke(ctx, t.account.client, func(ctx context.Context, e *endpoint) (*nodev1.SubmitTransactionResponse, error) {
		resp, err := e.node.SubmitTransaction(ctx, req)
		t.note(err)
		return resp, err
	})
	if err != nil {
		return Status{}, err
	}
	return statusOf(resp.GetTransaction())
}

// note remembers that an attempt broke off.
func (t *Transaction) note(err error) {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Unknown, codes.Internal:
		t.ambiguous = true
	default:
	}
}

// Transaction returns where a transaction is.
func (c *Client) Transaction(ctx context.Context, hash ledger.Hash) (Status, error) {
	resp, err := invoke(ctx, c, func(ctx context.Context, e *endpoint) (*nodev1.GetTransactionResponse, error) {
		return e.node.GetTransaction(ctx, &nodev1.GetTransactionRequest{Name: transactionsPrefix + hash.String()})
	})
	if err != nil {
		return Status{}, fmt.Errorf("read transaction %s: %w", hash, err)
	}
	return statusOf(resp.GetTransaction())
}

// Settlement returns where a settlement is, with the results of all entries once
// it is included.
func (c *Client) Settlement(ctx context.Context, hash ledger.Hash) (Status, error) {
	resp, err := invoke(ctx, c, func(ctx context.Context, e *endpoint) (*settlementv1.GetSettlementResponse, error) {
		return e.settlements.GetSettlement(ctx, &settlementv1.GetSettlementRequest{Name: settlementsPrefix + hash.String(), FullResults: true})
	})
	if err != nil {
		return Status{}, fmt.Errorf("read settlement %s: %w", hash, err)
	}
	return settlementOf(resp.GetSettlement())
}

// pollDelay is how often WaitFor asks.
const pollDelay = 100 * time.Millisecond

// WaitFor returns when a transaction that somebody else submitted has reached
// stage, or was dropped or refused. While the node does not know it, it waits as well.
func (c *Client) WaitFor(ctx context.Context, hash ledger.Hash, stage Stage) (Status, error) {
	for {
		s, err := c.Transaction(ctx, hash)
		if err == nil && s.Stage >= stage {
			return s, nil
		}
		if e, ok := errors.AsType[*Error](err); err != nil && (!ok || e.Code != codes.NotFound) {
			return s, err
		}
		if !sleep(ctx, pollDelay) {
			return s, fmt.Errorf("wait for transaction %s: %w", hash, ctx.Err())
		}
	}
}
