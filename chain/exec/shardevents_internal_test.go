package exec

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"testing"

	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/shard"
)

func goldenShardEvents() ShardEvents {
	return ShardEvents{
		Height: 7,
		Registry: []registry.Event{
			{Kind: registry.EventHolds, TxIndex: -1, Service: 1, Zone: 2, Change: shard.Split, Shards: []shard.ID{5}, Heirs: []shard.ID{9, 10}, Epoch: 300},
			{Kind: registry.EventServes, TxIndex: 4, Service: 1, Validator: 77, Version: 3, Epoch: 6},
		},
		Shards: []settlement.ShardEvent{
			{Kind: settlement.ShardAnchored, TxIndex: 0, Shard: 5, First: 1, Last: 200},
			{Kind: settlement.ShardConflict, TxIndex: 1, Shard: 6, First: 9, Last: 9, Epoch: 2, Round: 1, Guilty: 3},
			{Kind: settlement.ShardRedrawn, TxIndex: -1, Shard: 2, Last: 40, Epoch: 4, Generation: 5},
		},
	}
}

// TestShardEventsEncoding pins how the index writes what happened to shards.
func TestShardEventsEncoding(t *testing.T) {
	t.Parallel()
	e := goldenShardEvents()
	raw := encodeShardEvents(&e)
	const want = "02" + "0700010002000101050209" + "0aac02" + "0305010300" + "4d00" + "0000" + "06" + "03" + "01010501c80100000000" + "0502060909020103" + "00" + "0400020028040000" + "05"
	if got := hex.EncodeToString(raw); got != want {
		t.Errorf("events\n%s, want\n%s", got, want)
	}
	back, err := decodeShardEvents(7, raw)
	if err != nil || !reflect.DeepEqual(back, e) {
		t.Errorf("%+v, %v, want %+v", back, err, e)
	}
	for n := range raw {
		if _, err := decodeShardEvents(7, raw[:n]); err == nil {
			t.Errorf("the first %d bytes are taken", n)
		}
	}
}

// FuzzShardEvents: what is taken is what is written.
func FuzzShardEvents(f *testing.F) {
	e := goldenShardEvents()
	f.Add(encodeShardEvents(&e))
	f.Add([]byte{0, 0})
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := decodeShardEvents(3, raw)
		if err != nil {
			return
		}
		if again := encodeShardEvents(&got); !bytes.Equal(again, raw) {
			t.Errorf("%x is written as %x", raw, again)
		}
	})
}
