package channel_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
)

func redeemedNotice() channel.RedeemedNotice {
	return channel.RedeemedNotice{Zone: 3, Bucket: 200, Lanes: []channel.LaneTotal{
		{Index: 7, Lane: 0, Redeemed: 5}, {Index: 7, Lane: 63, Redeemed: ledger.MaxAmount}, {Index: 1 << 40, Lane: 1, Redeemed: 1},
	}}
}

func TestGoldenNotices(t *testing.T) {
	t.Parallel()
	c := record()
	opened, changed := c.Opened(9), c.Changed(9)
	event := channel.Event{Kind: channel.EventPayeeClosed, Index: 9, Payer: c.Payer, Redeemed: 300}
	closed, redeemed := event.ClosedNotice(), redeemedNotice()
	got := map[string]string{}
	for name, b := range map[string][]byte{
		"opened": opened.Encode(), "changed": changed.Encode(), "closed": closed.Encode(), "redeemed": redeemed.Encode(),
	} {
		got[name] = hex.EncodeToString(b)
	}
	const path = "testdata/notices.json"
	if *update {
		text, err := json.MarshalIndent(got, "", "  ")
		if err == nil {
			err = os.WriteFile(path, append(text, '\n'), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]string
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the bytes of notices changed: %s", diff)
	}
}

// TestRedeemedNoticeForm: each row breaks one thing of a sound notice.
func TestRedeemedNoticeForm(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		spoil func(*channel.RedeemedNotice)
		want  chain.Code
	}{
		{"sound", func(*channel.RedeemedNotice) {}, chain.CodeOK},
		{"no lanes", func(n *channel.RedeemedNotice) { n.Lanes = nil }, chain.CodeMalformed},
		{"too many lanes", func(n *channel.RedeemedNotice) {
			n.Lanes = make([]channel.LaneTotal, channel.MaxRedeemedLanes+1)
			for i := range n.Lanes {
				n.Lanes[i].Index = uint64(i)
			}
		}, chain.CodeMalformed},
		{"repeated", func(n *channel.RedeemedNotice) { n.Lanes[1] = n.Lanes[0] }, chain.CodeBadOrder},
		{"lanes descend", func(n *channel.RedeemedNotice) { n.Lanes[0].Lane = 63; n.Lanes[1].Lane = 0 }, chain.CodeBadOrder},
		{"indexes descend", func(n *channel.RedeemedNotice) { n.Lanes[2].Index = 6 }, chain.CodeBadOrder},
		{"lane 64", func(n *channel.RedeemedNotice) { n.Lanes[1].Lane = 64 }, chain.CodeLaneLimit},
		{"above 2^63", func(n *channel.RedeemedNotice) { n.Lanes[1].Redeemed++ }, chain.CodeAmountOverflow},
	} {
		n := redeemedNotice()
		row.spoil(&n)
		if _, err := channel.DecodeRedeemedNotice(n.Encode()); !errors.Is(err, row.want.Err()) && (err != nil || row.want != chain.CodeOK) {
			t.Errorf("%s: %v, want %s", row.name, err, row.want)
		}
	}
}

func FuzzDecodeOpenedNotice(f *testing.F) {
	c := record()
	seed := c.Opened(1)
	canonical(f, seed.Encode(), channel.DecodeOpenedNotice, (*channel.OpenedNotice).Encode)
}

func FuzzDecodeChangedNotice(f *testing.F) {
	c := record()
	seed := c.Changed(1)
	canonical(f, seed.Encode(), channel.DecodeChangedNotice, (*channel.ChangedNotice).Encode)
}

func FuzzDecodeClosedNotice(f *testing.F) {
	seed := channel.ClosedNotice{Payer: record().Payer, Index: 1, Redeemed: 2}
	canonical(f, seed.Encode(), channel.DecodeClosedNotice, (*channel.ClosedNotice).Encode)
}

func FuzzDecodeRedeemedNotice(f *testing.F) {
	seed := redeemedNotice()
	canonical(f, seed.Encode(), channel.DecodeRedeemedNotice, (*channel.RedeemedNotice).Encode)
}
