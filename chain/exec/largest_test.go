package exec_test

import (
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/consensus/comet"
	"github.com/tributary-network/tributary/ledger"
)

// The largest record fits the smallest blocks that the rules allow.
func TestTheLargestRecordFitsABlock(t *testing.T) {
	t.Parallel()
	params := longEpochs(1000)
	params.MaxBlockBytes = chain.MaxBundleSize
	a := newAgreement(t, 2, params, true)
	a.genesis.BlockMaxBytes = params.MaxBlockBytes + comet.BlockOverhead(int(params.Staking.Seats))
	a.startAll(t)
	d := a.members[0].exec.Domain()
	payer, payee, key := accountOf(0), accountOf(1), keyOf(1<<20)
	open := channel.Open{Channels: []channel.OpenParams{{
		Payee: payee.addr, VoucherKey: key.Public(), Deposit: 1_000_000,
		ExpiresAt: params.MaxLifetime / 2, Challenge: params.DefaultChallenge,
	}}}
	id := channel.ID(d, payer.addr, payer.nonce, 0, &open.Channels[0])
	if s := a.settle(t, 0, payer.tx(d, chain.KindOpenChannels, open.Encode())); s.Receipt.Code != chain.CodeOK {
		t.Fatalf("open: %v", s.Receipt.Code)
	}
	// One entry that applies, and as many as there is room for of channels that do
	// not exist.
	first := channel.Entry{Claim: channel.ClaimVoucher, Cumulative: 500, Units: 500}
	first.Signature = key.Sign(first.Signed(d, id))
	b := channel.Batch{Payee: payee.addr, Entries: []channel.Entry{first}}
	filler := channel.Entry{Index: 1 << 40, Claim: channel.ClaimVoucher, Cumulative: 1 << 40, Units: 1 << 40, UsageRoot: ledger.Hash{1}}
	room := chain.MaxTxSize - chain.TxOverhead - len(b.Encode())
	for range min(room/filler.Size(), channel.MaxEntries-1) {
		b.Entries = append(b.Entries, filler)
		filler.Index++
	}
	raw := payee.tx(d, chain.KindSettle, b.Encode())
	if len(raw) > chain.MaxTxSize || len(raw) < chain.MaxTxSize-filler.Size() {
		t.Fatalf("a record of %d bytes, want about %d", len(raw), chain.MaxTxSize)
	}
	s := a.settle(t, 1, raw)
	if s.Stage != exec.StageFinal || s.Receipt.Code != chain.CodeOK || s.Receipt.Entries[0].Code != chain.CodeOK {
		t.Errorf("%v %v, want it executed", s.Stage, s.Receipt.Code)
	}
}
