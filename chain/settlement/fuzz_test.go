package settlement_test

import (
	"bytes"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/staking"
)

// canonical checks that decode accepts nothing but what encode writes.
func canonical[T any](f *testing.F, seed []byte, decode func([]byte) (T, error), encode func(*T) []byte) {
	f.Helper()
	f.Add(seed)
	f.Add(seed[:len(seed)-1])
	f.Add(append(bytes.Clone(seed), 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := decode(b)
		if err != nil {
			return
		}
		if again := encode(&v); !bytes.Equal(again, b) {
			t.Errorf("%x decodes, and encodes as %x", b, again)
		}
	})
}

func FuzzDecodeTransfer(f *testing.F) {
	seed := goldenTransfer()
	canonical(f, seed.Encode(), settlement.DecodeTransfer, (*settlement.Transfer).Encode)
}

func FuzzDecodeParams(f *testing.F) {
	seed := settlement.DefaultParams()
	canonical(f, seed.Encode(), settlement.DecodeParams, (*settlement.Params).Encode)
}

func FuzzDecodeGenesis(f *testing.F) {
	staked := stakedGenesis(stakeParams(), 2, 50_000, 40_000)
	f.Add(staked.Encode())
	canonical(f, goldenGenesis().Encode(), settlement.DecodeGenesis, func(g *settlement.Genesis) []byte { return g.Encode() })
}

func FuzzDecodeReceipt(f *testing.F) {
	seed, runs, links := goldenReceipt(), goldenRuns(), goldenLinks()
	f.Add(runs.Encode())
	f.Add(links.Encode())
	canonical(f, seed.Encode(), settlement.DecodeReceipt, (*settlement.Receipt).Encode)
}

func FuzzDecodeDelivery(f *testing.F) {
	plain, proved := goldenDelivery(false), goldenDelivery(true)
	f.Add(plain.Encode())
	canonical(f, proved.Encode(), settlement.DecodeDelivery, (*settlement.Delivery).Encode)
}

func FuzzDecodeAccount(f *testing.F) {
	seed := settlement.Account{Balance: 1, Nonce: 2}
	canonical(f, seed.Encode(), settlement.DecodeAccount, (*settlement.Account).Encode)
}

func FuzzDecodeResults(f *testing.F) {
	seed := settlement.Results{Height: 1, Receipts: 2}
	canonical(f, seed.Encode(), settlement.DecodeResults, (*settlement.Results).Encode)
}

// FuzzApplyBlock: no payload makes the rules panic, lose money, or say another
// thing in a block than in Claims and Admit.
func FuzzApplyBlock(f *testing.F) {
	base := newStaked(f, stakeParams(), 3, 50_000, 40_000)
	base.ok(1, &staking.Delegate{Validator: 0, Amount: 5_000})
	ref := base.open(0, 1, 1_000)
	next := base.openParams(1, 500)
	for _, p := range []encoder{
		payTo(base.addrs[1], 5),
		&channel.Open{Channels: []channel.OpenParams{next}},
		&channel.TopUp{Channel: ref, NewTotal: 2_000},
		&channel.Extend{Channel: ref, NewExpiry: base.clock() + 55},
		base.batch(1, base.voucher(ref, 0, 10), closing(base.voucher(ref, 1, 10))),
		&channel.RequestClose{Channel: ref},
		base.coopClose(0, 1, ref, 10, &next),
		registration(2, 5_000),
		&staking.Edit{Profile: staking.Profile{Name: "x"}},
		&staking.Delegate{Validator: 1, Amount: 10},
		&staking.Redelegate{From: 0, To: 1},
		&staking.Undelegate{Validator: 0, Amount: 7},
		&staking.Claim{Validators: []uint64{0, 1}},
		&staking.Unjail{Validator: 0},
	} {
		f.Add(uint8(kindOf(p)), uint8(1), p.Encode())
	}
	f.Fuzz(func(t *testing.T, kind, by uint8, payload []byte) {
		b := base.fork()
		b.t = t
		signer := int(by) % len(b.keys)
		tx := b.decode(chain.SignTx(b.domain, b.keys[signer], chain.TxFields{
			Kind: chain.Kind(kind), Zone: b.addrs[signer].Zone(), Nonce: b.nonces[signer], MaxFee: plentyFee, Payload: payload,
		}))
		if tx.Refused != nil {
			return
		}
		settlement.Fee(b.params, &tx.Tx)
		settlement.Urgent(b.view, b.height+1, &tx.Tx)
		_, _, claims := settlement.Claims(b.view, b.domain, &tx.Tx)
		receipt, _ := settlement.Admit(b.view, b.params, b.domain, b.height+1, &tx.Tx)
		r := b.block(tx).Receipts[0]
		code, _ := chain.CodeOf(claims)
		if code != chain.CodeOK && code != chain.CodeBadPreimage && r.Code != code {
			t.Errorf("Claims says %v, the block %s", claims, r.Code)
		}
		if code == chain.CodeOK && r.Code != chain.CodeBadSignature && receipt.Code != r.Code && receipt.Code != chain.CodeOK {
			t.Errorf("Admit says %s, the block %s", receipt.Code, r.Code)
		}
	})
}
