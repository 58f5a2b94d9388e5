package client_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
)

func TestProofs(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	c := n.client(t)
	records, keys := openChannels(t, c, 4)
	payee := c.Account(identityOf(1))
	receipt, err := payee.Settle(within(t), channel.Batch{Payee: payee.Address(), Entries: []channel.Entry{
		entryOn(c, records[1], keys[1], 500), entryOn(c, records[2], keys[2], 600),
	}})
	if err != nil {
		t.Fatal(err)
	}
	_, root := n.exec.Head()
	appHash := ledger.Hash(root)

	cp, err := c.ProveChannel(within(t), records[2].ID)
	if err != nil {
		t.Fatal(err)
	}
	got, err := client.VerifyChannelProof(&cp, appHash)
	if err != nil {
		t.Fatal(err)
	}
	info, err := c.Channel(within(t), records[2].ID)
	if err != nil {
		t.Fatal(err)
	}
	got.Height = info.Height // which the proof does not know
	if diff := cmp.Diff(info.Channel, got); diff != "" {
		t.Errorf("proved channel (-answered +proved):\n%s", diff)
	}
	if diff := cmp.Diff([]pay.LaneState{{Redeemed: 600, Units: 1}}, got.Lanes); diff != "" {
		t.Errorf("proved lanes (-want +got):\n%s", diff)
	}

	sp, err := c.ProveSettlement(within(t), receipt.Hash)
	if err != nil {
		t.Fatal(err)
	}
	proved, err := client.VerifySettlementProof(&sp, receipt.Hash, appHash)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(receipt, proved); diff != "" {
		t.Errorf("proved receipt (-answered +proved):\n%s", diff)
	}

	broken := map[string]func(c *client.ChannelProof, s *client.SettlementProof){
		"another state":   func(c *client.ChannelProof, s *client.SettlementProof) { c.State.Root[0]++; s.State.Root[0]++ },
		"another value":   func(c *client.ChannelProof, s *client.SettlementProof) { c.State.Value[9]++; s.State.Value[9]++ },
		"another channel": func(c *client.ChannelProof, s *client.SettlementProof) { c.Index++; s.Receipt.Hash[0]++ },
		"another key": func(c *client.ChannelProof, s *client.SettlementProof) {
			c.State.Key[8]++
			s.State.Key = append(s.State.Key, 0)
		},
		"another outcome": func(c *client.ChannelProof, s *client.SettlementProof) {
			c.State.Value = nil
			s.Receipt.Entries[1].Paid++
		},
	}
	for name, change := range broken {
		cp, err := c.ProveChannel(within(t), records[2].ID)
		if err != nil {
			t.Fatal(err)
		}
		sp, err := c.ProveSettlement(within(t), receipt.Hash)
		if err != nil {
			t.Fatal(err)
		}
		change(&cp, &sp)
		if _, err := client.VerifyChannelProof(&cp, appHash); !errors.Is(err, client.ErrProof) {
			t.Errorf("channel with %s: %v, want %v", name, err, client.ErrProof)
		}
		if _, err := client.VerifySettlementProof(&sp, receipt.Hash, appHash); !errors.Is(err, client.ErrProof) {
			t.Errorf("settlement with %s: %v, want %v", name, err, client.ErrProof)
		}
	}
	for name, change := range map[string]func(s *client.SettlementProof){
		"another leaf":    func(s *client.SettlementProof) { s.Leaf++; s.Leaves++ },
		"another block":   func(s *client.SettlementProof) { s.Height++ },
		"another fee":     func(s *client.SettlementProof) { s.Receipt.Fee++ },
		"fewer entries":   func(s *client.SettlementProof) { s.Receipt.Entries = nil },
		"a longer path":   func(s *client.SettlementProof) { s.Path = append(s.Path, ledger.Hash{}) },
		"another results": func(s *client.SettlementProof) { s.Receipt.ResultsRoot[0]++ },
	} {
		sp, err := c.ProveSettlement(within(t), receipt.Hash)
		if err != nil {
			t.Fatal(err)
		}
		change(&sp)
		if _, err := client.VerifySettlementProof(&sp, receipt.Hash, appHash); !errors.Is(err, client.ErrProof) {
			t.Errorf("%s: %v, want %v", name, err, client.ErrProof)
		}
	}
	if _, err := c.ProveSettlement(within(t), ledger.Hash{1}); err == nil {
		t.Error("proved a settlement that never was")
	}
}
