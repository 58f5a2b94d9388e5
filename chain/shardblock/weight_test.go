package shardblock_test

import (
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/chain/shardblock/shardtest"
)

// redeemed sends a notice that something was paid out on all lanes of channels of a payer.
func (w *world) redeemed(list []*payment) {
	w.t.Helper()
	payer := list[0].payer.Address(1)
	n := channel.RedeemedNotice{Zone: 1, Bucket: payer.Bucket()}
	for _, p := range list {
		for lane := range uint8(channel.Lanes) {
			n.Lanes = append(n.Lanes, channel.LaneTotal{Index: p.index, Lane: lane, Redeemed: 1})
		}
	}
	w.notice(channel.NoticeRedeemed, payer, n.Encode())
}

// erased counts the rows that a block takes away.
func erased(changes chain.Changes) (rows int) {
	for i := range changes {
		if changes[i].Value == nil {
			rows++
		}
	}
	return rows
}

// TestImportsAreBounded: short notices that channels with all lanes have ended come in as
// many blocks as it takes for none to write more than a block may.
func TestImportsAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	params := service.DefaultParams()
	params.MaxBlockBytes = chain.MaxBundleSize
	w.left.State.Apply(chain.Changes{{Key: service.ParamsKey(), Value: params.Encode()}})
	payer, payee := keyIn(t, "payer", 0, 127), keyIn(t, "payee", 0, 127)
	const channels, part = 240, 48
	var list []*payment
	for i := range channels {
		list = append(list, w.open(payer, payee, 1_000))
		list[i].id[31] ^= byte(i >> 8)
	}
	w.main.Block()
	w.left.Block(relays(w.main.Notices(w.main.Height(), 0, 0)))
	for at := 0; at < channels; at += part {
		w.redeemed(list[at : at+part])
		w.main.Block()
		w.left.Block(relays(w.main.Notices(w.main.Height(), 0, 0)))
	}
	for _, p := range list {
		w.notice(channel.NoticeClosed, payer.Address(1), (&channel.ClosedNotice{Payer: payer.Address(1), Index: p.index}).Encode())
	}
	w.main.Block()
	h := w.main.Height()
	refused(t, w.left, w.main.Notices(h, 0, 0), chain.CodeTooLarge)

	halves := relays(w.main.Notices(h, 0, channels/2), w.main.Notices(h, channels/2, channels))
	if _, _, err := w.left.Try(halves); !shardblock.IsInvalid(err) {
		t.Errorf("a block with both halves: %v", err)
	}
	sizes := []int{len(halves[0].Encode()), len(halves[1].Encode())}
	for i := range halves {
		// Both may wait, and all that waits for a block is planned for it.
		if i == 0 {
			trial := shardblock.NewTrial(w.left.State, w.left.Height+1, shardtest.Verifiers().Certificate)
			for _, r := range halves {
				if err := trial.Try(r); err != nil {
					t.Errorf("to wait: %v", err)
				}
			}
		}
		picked := shardblock.Plan(w.left.State, w.left.Height+1, halves[i:], sizes[i:], 0, 1<<20, shardtest.Verifiers().Certificate)
		if len(picked) != 1 || picked[0] != 0 {
			t.Fatalf("planned %v, want the first", picked)
		}
		changes, _, err := w.left.Try(relays(halves[i]))
		if err != nil {
			t.Fatal(err)
		}
		if rows := erased(changes); rows != channels/2*channel.Lanes || int64(rows)*96 > params.MaxBlockWeight() {
			t.Errorf("half %d erases %d rows", i, rows)
		}
		w.left.Block(relays(halves[i]))
	}
	if n := service.ReadTotals(w.left.State).Channels; n != 0 {
		t.Errorf("%d channels are left", n)
	}
}
