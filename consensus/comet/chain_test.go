package comet_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/tributary-network/tributary/consensus/comet"
)

// rest waits until no member that runs has work left, and all are at one height,
// which it returns.
func (n *network) rest(t *testing.T) (height uint64) {
	t.Helper()
	eventually(t, 5*time.Second, "no work left", func() bool {
		_, height = n.members[0].app.count()
		for _, m := range n.members {
			if _, h := m.app.count(); m.chain != nil && (h != height || !m.chain.Status().PendingSince.IsZero()) {
				return false
			}
		}
		return true
	})
	return height
}

func TestLoneRecordAndIdle(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, "lone", 4)
	begin := time.Now()
	n.startAll(t)
	t.Logf("four validators ready after %v", time.Since(begin))

	app := n.members[2].app
	var h0 uint64
	sent := 0
	whole := func() { // the block with the record, and the empty one that carries its hash
		for _, m := range n.members {
			m.app.waitFor(t, 5*time.Second, func(_ int, h uint64) bool { return h >= h0+2 })
		}
	}
	quick(t, time.Second, "a lone record", func() {
		if sent > 0 {
			whole()
		}
		h0 = n.rest(t)
		sent++
		n.broadcast(t, 0, tx(sent))
		app.waitFor(t, 5*time.Second, func(txs int, _ uint64) bool { return txs == sent })
	})
	n.broadcast(t, 0, tx(sent)) // known: no error, no second effect

	whole()
	n.rest(t)
	for i, m := range n.members {
		if txs, h := m.app.count(); txs != sent || h != h0+2 {
			t.Errorf("member %d: %d transactions at height %d, want %d at %d", i, txs, h, sent, h0+2)
		}
	}
	idle := time.NewTimer(1500 * time.Millisecond) // ten times the block time
	defer idle.Stop()
	<-idle.C
	for i, m := range n.members {
		if _, h := m.app.count(); h != h0+2 {
			t.Errorf("member %d made blocks while idle: height %d, want %d", i, h, h0+2)
		}
		eventually(t, 5*time.Second, fmt.Sprintf("idle member %d is healthy", i), func() bool { ok, _ := n.healthy(i); return ok })
	}
	t.Logf("%+v", n.members[1].chain.Status())

	info, err := n.members[3].chain.Block(h0 + 1)
	if err != nil || info.TxCount != 1 || info.Height != h0+1 || len(info.Hash) != 32 {
		t.Errorf("Block(%d) = %+v, %v", h0+1, info, err)
	}
	if txs, err := n.members[3].chain.Txs(h0 + 1); err != nil || len(txs) != 1 || !bytes.Equal(txs[0], tx(sent)) {
		t.Errorf("Txs(%d) = %x, %v", h0+1, txs, err)
	}
	if _, err := n.members[3].chain.Block(h0 + 9); !errors.Is(err, comet.ErrNotFound) {
		t.Errorf("Block(%d) = %v, want not found", h0+9, err)
	}
	var refused *comet.RefusedError
	if err := n.members[1].chain.Broadcast([]byte{0xff}); !errors.As(err, &refused) || refused.Code() != 77 {
		t.Errorf("Broadcast of a bad transaction = %v, want code 77", err)
	}
}
