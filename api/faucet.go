package api

import (
	"context"
	"errors"
	"sync"

	"google.golang.org/grpc/codes"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
)

// Faucet gives play money of one account away. Every node with a faucet needs
// an account of its own for it, since the nonces are counted here.
type Faucet struct {
	Key     ledger.PrivateKey
	Zone    byte
	Default ledger.Amount // given where a request names no amount
	Max     ledger.Amount // given at most at a time

	mu sync.Mutex // one transaction at a time, so that nonces do not collide
}

// faucetLife is how many blocks a faucet's transaction stays valid.
const faucetLife = 100

// amount returns what a request that asks for v drops gets.
func (f *Faucet) amount(v uint64) (ledger.Amount, error) {
	switch {
	case v == 0:
		return f.Default, nil
	case v > uint64(f.Max):
		p := &problem{code: codes.ResourceExhausted, reason: ReasonFaucetLimit, subject: "amount"}
		p.message = "amount: the faucet gives at most " + f.Max.String() + " coins at a time"
		p.fields = []field{{path: "amount", problem: p.message}}
		return 0, p
	default:
		return ledger.Amount(v), nil
	}
}

// give submits a transfer of amount to to.
func (f *Faucet) give(ctx context.Context, b *backend, to ledger.Address, amount ledger.Amount) (exec.Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var account settlement.Account
	var height uint64
	err := b.State.Read(func(v chain.View, h uint64) error {
		account, _, _ = settlement.AccountByAddress(v, f.Key.Address(f.Zone))
		height = h
		return nil
	})
	if err != nil {
		return exec.Status{}, err
	}
	payload := settlement.Transfer{Payments: []settlement.Payment{{To: to, Amount: amount}}}
	pending := b.Pool.PendingNonces(f.Key.Address(f.Zone))
	for {
		nonce := nextNonce(&account, pending)
		raw := chain.SignTx(b.Network.Domain, f.Key, chain.TxFields{
			Kind: chain.KindTransfer, Zone: f.Zone, Nonce: nonce, MaxFee: b.Network.Params.TxFee,
			ValidUntil: height + faucetLife, Payload: payload.Encode(),
		})
		status, err := b.Pool.Submit(ctx, raw)
		if errors.Is(err, chain.CodeNonceUsed.Err()) { // by a transaction that came meanwhile
			pending = append(pending, nonce)
			continue
		}
		return status, err
	}
}
