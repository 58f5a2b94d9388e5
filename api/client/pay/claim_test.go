package pay_test

import (
	"context"
	"testing"

	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/api/client/journal"
	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
)

// TestCommitmentIsNoClaim: a commitment leaves what the lane owed redeemable
// until its first reveal is accepted, through restarts as well.
func TestCommitmentIsNoClaim(t *testing.T) {
	t.Parallel()
	garbage := func(h *hashLane, base ledger.Amount, chainNo uint32) pay.Commitment {
		c := h.commitment
		c.BaseCumulative, c.ChainNo, c.Root = base, chainNo, ledger.Hash{1, 2, 3}
		c.Signature = h.key.Sign(c.Signed(testDomain))
		return c
	}
	tests := []struct {
		name    string
		reveals int // before the commitment that leads nowhere
		chainNo uint32
		raise   ledger.Amount // of its base
		want    ledger.Amount
	}{
		{"on top of a voucher", 0, 7, 0, 100},
		{"on top of a voucher, with a base nobody has paid", 0, 7, 500, 100},
		{"on top of reveals", 4, 7, 0, 112},
		{"on top of reveals, with their chain number", 4, 0, 0, 112},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := newHashLane(t, 10)
			if tt.reveals > 0 {
				if err := h.payee.AcceptCommitment(t.Context(), h.commitment); err != nil {
					t.Fatal(err)
				}
			}
			for range tt.reveals {
				if _, err := h.payee.AcceptReveal(t.Context(), h.reveal(t), 3); err != nil {
					t.Fatal(err)
				}
			}
			if err := h.payee.AcceptCommitment(t.Context(), garbage(h, tt.want+tt.raise, tt.chainNo)); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				best, ok := h.payee.Best(h.record.ID, 2)
				if !ok || best.Owed() != tt.want || !best.Verify(testDomain, h.key.Public()) {
					t.Fatalf("the best claim is %+v, %v; want one of %d", best, ok, tt.want)
				}
				h.restart(t)
			}
			f := newFakeChain()
			f.add(h.record)
			h.cfg.Chain = f
			h.restart(t)
			if err := pay.NewRedeemer(h.payee, testFees()).Redeem(t.Context(), h.record.ID); err != nil {
				t.Fatal(err)
			}
			if c, _ := f.get(h.record.ID); c.Redeemed != tt.want {
				t.Errorf("redeemed %d, want %d", c.Redeemed, tt.want)
			}
		})
	}
}

// TestOldChainPaysBesideANewOne: a reveal that was overtaken by the next
// commitment still counts, and so does the first of the new chain.
func TestOldChainPaysBesideANewOne(t *testing.T) {
	t.Parallel()
	h := newHashLane(t, 10)
	accept := func(r pay.Reveal) ledger.Amount {
		t.Helper()
		a, err := h.payee.AcceptReveal(t.Context(), r, 0)
		if err != nil {
			t.Fatal(err)
		}
		return a.Delta
	}
	if err := h.payee.AcceptCommitment(t.Context(), h.commitment); err != nil {
		t.Fatal(err)
	}
	accept(h.reveal(t))
	late := h.reveal(t)
	next, err := h.payer.CommitHash(t.Context(), 2, pay.HashTerms{UnitPrice: 10, Steps: 5})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.payee.AcceptCommitment(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	if got := accept(late); got != 3 {
		t.Errorf("the late reveal pays %d, want 3", got)
	}
	h.restart(t)
	if got := accept(h.reveal(t)); got != 10 {
		t.Errorf("the new chain's first reveal pays %d, want 10", got)
	}
}

// TestClaimNeverFalls plays a payer that signs whatever it likes, commitments that
// lead nowhere among it, and a payee that redeems and restarts in between. The
// claim of a lane never falls, always verifies, and in the end all of it is paid.
func TestClaimNeverFalls(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		w := newClaimWorld(t)
		defer func() { _ = w.payee.Close() }() // the last of them
		rt.Repeat(map[string]func(*rapid.T){
			"voucher": w.voucher,
			"commit":  w.commit,
			"reveal":  w.reveal,
			"redeem":  func(rt *rapid.T) { w.redeem(rt) },
			"restart": w.restart,
			"":        w.check,
		})
		w.redeem(rt)
		for lane, owed := range w.owed {
			c, _ := w.chain.get(w.record.ID)
			if got := laneOf(&c, uint8(lane)).Redeemed; got != owed {
				rt.Fatalf("lane %d is paid %d, %d was accepted", lane, got, owed)
			}
		}
	})
}

// claimWorld is a payee and what it has accepted on two lanes.
type claimWorld struct {
	record pay.Channel
	key    ledger.PrivateKey
	chain  *fakeChain
	cfg    pay.PayeeConfig
	payee  *pay.Payee
	chains []signedChain
	owed   [2]ledger.Amount
}

// signedChain is a commitment of the payer and the values behind it.
type signedChain struct {
	pay.Commitment

	values []ledger.Hash
}

func newClaimWorld(t *testing.T) *claimWorld {
	t.Helper()
	w := &claimWorld{chain: newFakeChain()}
	w.record, w.key = testChannel(1)
	w.chain.add(w.record)
	w.cfg = pay.PayeeConfig{
		Domain: testDomain, Account: payeeID, Chain: w.chain, Dir: t.TempDir(),
		Journal: journal.Config{CompactAt: 1 << 10},
	}
	w.open(t)
	return w
}

type fataler interface{ Fatal(args ...any) }

func (w *claimWorld) open(t fataler) {
	p, err := pay.OpenPayee(w.cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.payee = p
	record, _ := w.chain.get(w.record.ID)
	record.Lanes = nil
	list(p, record)
}

func (w *claimWorld) restart(rt *rapid.T) {
	if err := w.payee.Close(); err != nil {
		rt.Fatal(err)
	}
	w.open(rt)
}

func (w *claimWorld) lane(rt *rapid.T) uint16 { return rapid.Uint16Range(0, 1).Draw(rt, "lane") }

// about draws an amount around what lane owes.
func (w *claimWorld) about(rt *rapid.T, lane uint16) ledger.Amount {
	return w.owed[lane] + ledger.Amount(rapid.Uint64Range(1, 6).Draw(rt, "above")) - min(2, w.owed[lane])
}

func (w *claimWorld) voucher(rt *rapid.T) {
	lane := w.lane(rt)
	v := channel.Voucher{ChannelID: w.record.ID, Lane: lane, Cumulative: w.about(rt, lane)}
	a, err := w.payee.Accept(context.Background(), pay.Voucher{Voucher: v, Signature: w.key.Sign(v.Signed(testDomain))}, 0)
	w.accepted(rt, lane, v.Cumulative, a, err)
}

func (w *claimWorld) commit(rt *rapid.T) {
	lane, steps := w.lane(rt), rapid.Uint16Range(1, 6).Draw(rt, "steps")
	c := signedChain{values: channel.HashChain(ledger.Hash{byte(len(w.chains)), byte(len(w.chains) >> 8)}, steps)}
	c.HashCommit = channel.HashCommit{
		ChannelID: w.record.ID, Lane: lane, BaseCumulative: w.about(rt, lane), Root: c.values[0],
		UnitPrice: ledger.Amount(rapid.Uint64Range(0, 4).Draw(rt, "price")), Steps: steps,
		ChainNo: rapid.Uint32Range(0, 2).Draw(rt, "number"), // repeated by a payer that lost count
	}
	if rapid.Bool().Draw(rt, "leads nowhere") {
		c.Root = ledger.Hash{1}
	}
	c.Signature = w.key.Sign(c.Signed(testDomain))
	if err := w.payee.AcceptCommitment(context.Background(), c.Commitment); (err == nil) != (c.BaseCumulative >= w.owed[lane]) {
		rt.Fatalf("a commitment on %d while %d is owed: %v", c.BaseCumulative, w.owed[lane], err)
	}
	w.chains = append(w.chains, c)
}

func (w *claimWorld) reveal(rt *rapid.T) {
	if len(w.chains) == 0 {
		return
	}
	c := w.chains[max(0, len(w.chains)-1-rapid.IntRange(0, 3).Draw(rt, "chains back"))]
	step := rapid.Uint16Range(1, c.Steps).Draw(rt, "step")
	a, err := w.payee.AcceptReveal(context.Background(), pay.Reveal{
		ChannelID: w.record.ID, Lane: c.Lane, ChainNo: c.ChainNo, Step: step, Preimage: c.values[step],
	}, 0)
	w.accepted(rt, c.Lane, c.BaseCumulative+c.UnitPrice*ledger.Amount(step), a, err)
}

func (w *claimWorld) accepted(rt *rapid.T, lane uint16, owed ledger.Amount, a pay.Accepted, err error) {
	if err != nil {
		return
	}
	if w.owed[lane]+a.Delta != owed || a.Delta == 0 {
		rt.Fatalf("lane %d owed %d, %d more were accepted, and now it owes %d", lane, w.owed[lane], a.Delta, owed)
	}
	w.owed[lane] = owed
}

func (w *claimWorld) redeem(rt fataler) {
	if err := pay.NewRedeemer(w.payee, settlement.Params{}).Redeem(context.Background()); err != nil {
		rt.Fatal(err)
	}
}

func (w *claimWorld) check(rt *rapid.T) {
	for lane, owed := range w.owed {
		best, ok := w.payee.Best(w.record.ID, uint8(lane))
		if best.Owed() != owed || ok != (owed > 0) || ok && !best.Verify(testDomain, w.record.VoucherKey) {
			rt.Fatalf("lane %d: the best claim is %+v, %v; %d was accepted", lane, best, ok, owed)
		}
	}
}
