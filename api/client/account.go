package client

import (
	"context"
	"fmt"

	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	accountv1 "github.com/tributary-network/tributary/proto/tributary/account/v1"
)

// Account signs transactions of one account. It is the pay.Chain of payers and
// payees. All Accounts of one Client that are the same account share its nonces;
// another process that signs for it may make transactions be signed anew, and
// nothing worse.
type Account struct {
	client *Client
	id     pay.Identity
	nonces *nonces
}

// Account returns the account of an identity, see pay.NewIdentity.
func (c *Client) Account(id pay.Identity) *Account {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, ok := c.nonces[id.Address]
	if !ok {
		n = newNonces(func(ctx context.Context) (accountNonces, error) { return c.readNonces(ctx, id.Address) })
		c.nonces[id.Address] = n
	}
	return &Account{client: c, id: id, nonces: n}
}

// Identity returns who the account is.
func (a *Account) Identity() pay.Identity { return a.id }

// Address returns the account's address.
func (a *Account) Address() ledger.Address { return a.id.Address }

// Balance returns the account's balance.
func (a *Account) Balance(ctx context.Context) (ledger.Amount, error) {
	return a.client.Balance(ctx, a.id.Address)
}

// Channel reads an open or closing channel with its lanes. A closed one is a
// *pay.ClosedError; one that the node does not know is another error of
// chain.CodeChannelNotFound.
func (a *Account) Channel(ctx context.Context, id ledger.Hash) (pay.Channel, error) {
	info, err := a.client.Channel(ctx, id)
	if err != nil {
		return pay.Channel{}, err
	}
	if info.State == ChannelClosed {
		closed := &pay.ClosedError{ID: id}
		if info.Closed != nil {
			closed.Height = info.Closed.Height
		}
		return pay.Channel{}, closed
	}
	return info.Channel, nil
}

// Transfer pays 1 to settlement.MaxPayments accounts by one transaction, and
// returns when it is final.
func (a *Account) Transfer(ctx context.Context, payments ...settlement.Payment) (settlement.Receipt, error) {
	payload := settlement.Transfer{Payments: payments}
	return a.apply(ctx, chain.KindTransfer, payload.Encode())
}

// OpenChannels opens 1 to channel.MaxOpens channels by one signature, and
// returns their records, in the order of params, when they exist.
func (a *Account) OpenChannels(ctx context.Context, params []channel.OpenParams) ([]pay.Channel, settlement.Receipt, error) {
	open := channel.Open{Channels: params}
	receipt, err := a.apply(ctx, chain.KindOpenChannels, open.Encode())
	if err != nil {
		return nil, receipt, err
	}
	channels := make([]pay.Channel, len(params))
	for i := range params {
		channels[i] = pay.Opened(a.client.Domain(), &receipt, uint16(i), &params[i])
	}
	return channels, receipt, nil
}

// TopUp raises the deposit of a channel, anybody's, to newTotal drops. A total
// that is not above the present one changes nothing.
func (a *Account) TopUp(ctx context.Context, c channel.Ref, newTotal ledger.Amount) (settlement.Receipt, error) {
	payload := channel.TopUp{Channel: c, NewTotal: newTotal}
	return a.apply(ctx, chain.KindTopUp, payload.Encode())
}

// Extend moves the expiry of a channel of this payer to newExpiry, settlement
// clock.
func (a *Account) Extend(ctx context.Context, c channel.Ref, newExpiry uint64) (settlement.Receipt, error) {
	payload := channel.Extend{Channel: c, NewExpiry: newExpiry}
	return a.apply(ctx, chain.KindExtend, payload.Encode())
}

// RequestClose starts the challenge window of a channel of this payer.
func (a *Account) RequestClose(ctx context.Context, c channel.Ref) (settlement.Receipt, error) {
	payload := channel.RequestClose{Channel: c}
	return a.apply(ctx, chain.KindRequestClose, payload.Encode())
}

// CoopClose closes a channel as both parties have signed, and opens the one that
// replaces it if they agreed on one: then receipt.FirstChannel is its row and
// channel.RolloverID its id. Anybody may submit it.
func (a *Account) CoopClose(ctx context.Context, agreed channel.CoopClose) (settlement.Receipt, error) {
	return a.apply(ctx, chain.KindCoopClose, agreed.Encode())
}

// Settle submits a settlement batch and returns its receipt, with the result of
// every entry, when it is final. The account pays the fee; the money goes to the
// batch's payee. Entries with the close flag need that payee to be this account,
// or a close authority. A batch that no transaction can hold is refused before
// anything is sent, see pay.CheckBatch; pay.SplitBatch makes several of it.
func (a *Account) Settle(ctx context.Context, batch channel.Batch) (settlement.Receipt, error) {
	if err := pay.CheckBatch(&a.client.network.Params, &batch); err != nil {
		return settlement.Receipt{}, fmt.Errorf("%s: %w", chain.KindSettle, err)
	}
	return a.apply(ctx, chain.KindSettle, batch.Encode())
}

// apply submits a transaction; if the chain refuses it in a block, that is the
// error.
func (a *Account) apply(ctx context.Context, kind chain.Kind, payload []byte) (settlement.Receipt, error) {
	receipt, err := a.Submit(ctx, kind, payload)
	if err == nil && receipt.Code != chain.CodeOK {
		err = fmt.Errorf("%s in block: %w", kind, &chain.RuleError{Code: receipt.Code, Detail: receipt.Detail})
	}
	return receipt, err
}

// AccountInfo is the state of an account.
type AccountInfo struct {
	Address    ledger.Address
	Balance    ledger.Amount
	Index      uint64 // row
	NonceFloor uint64 // lowest unused nonce
	NextNonce  uint64 // lowest one that is used neither on the chain nor by what waits on the node
	Height     uint64 // the state this is
}

// AccountInfo reads an account. One that never held money is an error of
// chain.CodeAccountNotFound.
func (c *Client) AccountInfo(ctx context.Context, address ledger.Address) (AccountInfo, error) {
	resp, err := c.getAccount(ctx, address)
	if err != nil {
		return AccountInfo{}, err
	}
	a := resp.GetAccount()
	return AccountInfo{
		Address: address, Balance: ledger.Amount(a.GetBalance()), Index: a.GetIndex(),
		NonceFloor: a.GetNonceFloor(), NextNonce: a.GetNextNonce(), Height: resp.GetHeight(),
	}, nil
}

// Balance returns the balance of an account, 0 if it never held money.
func (c *Client) Balance(ctx context.Context, address ledger.Address) (ledger.Amount, error) {
	info, err := c.AccountInfo(ctx, address)
	if code, ok := chain.CodeOf(err); ok && code == chain.CodeAccountNotFound {
		return 0, nil
	}
	return info.Balance, err
}

func (c *Client) getAccount(ctx context.Context, address ledger.Address) (*accountv1.GetAccountResponse, error) {
	resp, err := invoke(ctx, c, func(ctx context.Context, e *endpoint) (*accountv1.GetAccountResponse, error) {
		return e.accounts.GetAccount(ctx, &accountv1.GetAccountRequest{Name: accountsPrefix + address.String()})
	})
	if err != nil {
		return nil, fmt.Errorf("read account %s: %w", address, err)
	}
	c.saw(resp.GetHeight())
	return resp, nil
}

func (c *Client) readNonces(ctx context.Context, address ledger.Address) (accountNonces, error) {
	resp, err := c.getAccount(ctx, address)
	if code, ok := chain.CodeOf(err); ok && code == chain.CodeAccountNotFound {
		return accountNonces{}, nil
	}
	if err != nil {
		return accountNonces{}, err
	}
	return accountNonces{floor: resp.GetAccount().GetNonceFloor(), used: resp.GetAccount().GetNoncesUsed()}, nil
}

// Faucet asks for play money for an account, and returns how much there was when
// it is final; amount 0 leaves it to the node. Only local networks have a
// faucet.
func (c *Client) Faucet(ctx context.Context, to ledger.Address, amount ledger.Amount) (ledger.Amount, error) {
	req := &accountv1.RequestFaucetRequest{
		RequestId: newRequestID(), Recipient: to.String(), Amount: uint64(amount), WaitFor: stageFinal,
	}
	for {
		resp, err := invoke(ctx, c, func(ctx context.Context, e *endpoint) (*accountv1.RequestFaucetResponse, error) {
			return e.accounts.RequestFaucet(ctx, req)
		})
		if err != nil {
			return 0, fmt.Errorf("ask the faucet for %s: %w", to, err)
		}
		s, err := statusOf(resp.GetTransaction())
		switch {
		case err != nil:
			return 0, err
		case s.Stage == StageFinal && s.Receipt.Code != chain.CodeOK:
			return 0, fmt.Errorf("ask the faucet for %s: %w", to, &chain.RuleError{Code: s.Receipt.Code})
		case s.Stage == StageFinal:
			return ledger.Amount(resp.GetAmount()), nil
		case s.Stage == StageDropped:
			return 0, fmt.Errorf("ask the faucet for %s: dropped: %s", to, s.DropReason)
		case s.Stage == StageRefused:
			return 0, fmt.Errorf("ask the faucet for %s: %w", to, refusedBy(&s))
		}
	}
}
