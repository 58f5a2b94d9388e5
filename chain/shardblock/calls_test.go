package shardblock_test

import (
	"math"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/chain/shardblock/shardtest"
	"github.com/tributary-network/tributary/shard/link"
)

// TestCallsAreBounded: who asks for one link after the other to be acknowledged or listed
// again has the shard make a bounded number of blocks in an epoch, and others are heard in
// each of them.
func TestCallsAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const links = shardblock.MaxCalls + 40
	here := func(n int) link.Place {
		return link.Place{Service: shardtest.Service, Zone: 1, Bucket: uint8(n)}
	}
	there := link.Place{Service: shardtest.Service, Zone: 2, Bucket: 7}
	calls := make([]*shardblock.Relay, links)
	for n := range links { // half have arrived and half were sent; all may be listed at once
		in := link.Inbound{Next: 1, Listed: math.MaxUint64}
		to := link.Link{Src: there, Dst: here(n)}
		calls[n] = &shardblock.Relay{Kind: shardblock.KindReack, Link: to}
		if n%2 == 1 {
			from := to.Reverse()
			m := link.Message{Link: from, Expiry: 1}
			out := link.Outbound{Next: 1, Bytes: uint64(m.Size()), Progress: math.MaxUint64}
			w.left.State.Apply(chain.Changes{
				{Key: link.MessageKey(from, 0), Value: m.Encode()}, {Key: link.OutboundKey(from), Value: out.Encode()},
			})
			calls[n] = &shardblock.Relay{Kind: shardblock.KindRelist, Link: from}
			continue
		}
		w.left.State.Apply(chain.Changes{{Key: link.InboundKey(to), Value: in.Encode()}})
	}
	next := 0
	take := func(n int) []*shardblock.Relay {
		next += n
		return calls[next-n : next]
	}
	for range shardblock.MaxCalls - 1 {
		w.left.Block(take(1))
	}
	if res := w.left.Block(take(20)); len(res.Outbox.Leaves()) != 20 {
		t.Errorf("%d links are listed in one block, want 20", len(res.Outbox.Leaves()))
	}
	refused(t, w.left, calls[next], chain.CodeNotDue)
	refused(t, w.left, calls[next+1], chain.CodeNotDue)
	w.main.Assign(1, leftID, 100, 101, 102, 103)
	w.main.To(10)
	w.left.Block(append(relays(w.main.EpochRelay(1, leftID)), take(1)...))
	w.left.Block(take(1))
	if s := shardblock.ReadStatus(w.left.State); s.Calls != 2 {
		t.Errorf("%d blocks with calls, want 2", s.Calls)
	}
}
