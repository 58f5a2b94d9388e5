package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/testnet"
)

// More vouchers than fit one transaction are settled by several, each of which
// gives its line.
func TestSettleStreamSplits(t *testing.T) {
	t.Parallel()
	const channels = 150 // of 64 lanes, whose vouchers take 120 bytes each
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	s := newShell(t)
	n, err := testnet.Start(ctx, testnet.Options{Dir: filepath.Join(s.home, ".tributary", "testnet"), Validators: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.Stop(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	}()
	if _, err := n.Announce(); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for s.run(t, "", "query", "block").code != exitOK { // the first block
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal(ctx.Err())
		}
	}
	opened := parse[struct{ Channels []struct{ ID string } }](t,
		s.ok(t, "channel", "open", "--from", "alice", "--to", "bob", "--deposit", "10", "--count", fmt.Sprint(channels), "-o", "json"))
	signer := pay.VoucherKey(testnet.Key("alice").Seed(), 0)
	var lines strings.Builder
	for _, c := range opened.Channels {
		id, err := ledger.ParseHash(c.ID)
		if err != nil {
			t.Fatal(err)
		}
		for lane := range uint16(channel.Lanes) {
			v := pay.Voucher{Voucher: channel.Voucher{ChannelID: id, Lane: lane, Cumulative: 1_000, Units: 1, UsageRoot: ledger.Hash{1}}}
			v.Signature = signer.Sign(v.Signed(n.Genesis.Domain()))
			lines.WriteString(hex.EncodeToString(v.Encode()) + "\n")
		}
	}
	got := s.run(t, lines.String(), "settle", "stream", "--from", "bob", "--batch", fmt.Sprint(channel.MaxEntries), "--every", "1m", "-o", "json")
	if got.code != exitOK || !strings.Contains(got.stderr, fmt.Sprintf("%d vouchers paid 9.408 coins by 2 batches", channels*channel.Lanes)) {
		t.Fatalf("settle stream ends with %d: %s", got.code, got.stderr)
	}
	entries, out := 0, json.NewDecoder(strings.NewReader(got.stdout))
	for out.More() {
		var batch struct{ Entries []entryResult }
		if err := out.Decode(&batch); err != nil {
			t.Fatal(err)
		}
		entries += len(batch.Entries)
		for _, e := range batch.Entries {
			if e.Code != chain.CodeOK.String() {
				t.Errorf("entry %+v", e)
			}
		}
	}
	if entries != channels*channel.Lanes {
		t.Errorf("%d entries, want %d", entries, channels*channel.Lanes)
	}
	for _, c := range []int{0, channels / 2, channels - 1} {
		shown := parse[channelResult](t, s.ok(t, "channel", "show", opened.Channels[c].ID, "-o", "json"))
		if shown.Redeemed != channel.Lanes*1_000 {
			t.Errorf("channel %d: %v redeemed", c, shown.Redeemed)
		}
	}
}
