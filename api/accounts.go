package api

import (
	"context"
	"crypto/sha256"
	"encoding/binary"

	"google.golang.org/grpc/codes"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	accountv1 "github.com/tributary-network/tributary/proto/tributary/account/v1"
)

// accounts implements AccountService.
type accounts struct {
	accountv1.UnimplementedAccountServiceServer
	*backend
}

// GetAccount implements AccountServiceServer.
func (a *accounts) GetAccount(ctx context.Context, req *accountv1.GetAccountRequest) (*accountv1.GetAccountResponse, error) {
	address, err := parseAccountName("name", req.GetName())
	if err != nil {
		return nil, err
	}
	resp := &accountv1.GetAccountResponse{}
	var account settlement.Account
	var row uint64
	found := false
	err = a.State.Read(func(v chain.View, height uint64) error {
		resp.Height = height
		account, row, found = settlement.AccountByAddress(v, address)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, missing(chain.CodeAccountNotFound.String(), req.GetName(), "%s does not exist; it begins with the first money it receives", req.GetName())
	}
	if req.GetWithProof() {
		st, err := a.prove(ctx, settlement.AccountKey(row))
		if err != nil {
			return nil, err
		}
		if account, err = settlement.DecodeAccount(st.Value); err != nil {
			return nil, err
		}
		if resp.Proof, err = a.renderProof(st); err != nil {
			return nil, err
		}
		resp.Height = st.Height
	}
	resp.Account = renderAccount(&account, row, a.Pool.PendingNonces(address))
	return resp, nil
}

// renderAccount returns an account; pending are the nonces in use by
// transactions that wait.
func renderAccount(a *settlement.Account, row uint64, pending []uint64) *accountv1.Account {
	used := make([]byte, 0, chain.NonceWindow/8)
	for _, word := range a.Window {
		used = binary.LittleEndian.AppendUint64(used, word)
	}
	return &accountv1.Account{
		Name: AccountName(a.Address), Address: a.Address.String(), Balance: uint64(a.Balance),
		NonceFloor: a.Nonce, NoncesUsed: used, NextNonce: nextNonce(a, pending), Index: row,
	}
}

// nextNonce returns the lowest nonce that neither the state nor pending has
// used, at most the end of the window.
func nextNonce(a *settlement.Account, pending []uint64) uint64 {
	taken := make(map[uint64]bool, len(pending))
	for _, n := range pending {
		taken[n] = true
	}
	n := a.Nonce
	for n < a.Nonce+chain.NonceWindow && (taken[n] || a.NonceUsed(n)) {
		n++
	}
	return n
}

// Transfer implements AccountServiceServer.
func (a *accounts) Transfer(ctx context.Context, req *accountv1.TransferRequest) (*accountv1.TransferResponse, error) {
	var payload func() ([]byte, error)
	if t := req.GetTransfer(); t != nil {
		payload = func() ([]byte, error) { return transferPayload("transfer.payments", t.GetPayments()) }
	}
	_, out, err := a.submitFields(ctx, req, chain.KindTransfer, "transfer", req.GetTransfer().GetEnvelope(), payload)
	if err != nil {
		return nil, err
	}
	return &accountv1.TransferResponse{Transaction: out}, nil
}

// RequestFaucet implements AccountServiceServer.
func (a *accounts) RequestFaucet(ctx context.Context, req *accountv1.RequestFaucetRequest) (*accountv1.RequestFaucetResponse, error) {
	if a.Faucet == nil {
		return nil, &problem{code: codes.Unimplemented, reason: ReasonFaucetDisabled, message: "this network has no faucet"}
	}
	to, err := parseAddress("recipient", req.GetRecipient())
	if err != nil {
		return nil, err
	}
	stage, err := waitStage(req.GetWaitFor())
	if err != nil {
		return nil, err
	}
	amount, err := a.Faucet.amount(req.GetAmount())
	if err != nil {
		return nil, err
	}
	body := sha256.Sum256(binary.BigEndian.AppendUint64(to[:], uint64(amount)))
	var status exec.Status
	hash, err := a.ids.do(ctx, req.GetRequestId(), body, nil, func() (ledger.Hash, error) {
		var err error
		status, err = a.Faucet.give(ctx, a.backend, to, amount)
		return status.Hash, err
	})
	if err != nil {
		return nil, err
	}
	status, err = a.await(ctx, hash, status, stage)
	if err != nil {
		return nil, err
	}
	return &accountv1.RequestFaucetResponse{Transaction: a.transaction(&status, nil), Amount: uint64(amount)}, nil
}
