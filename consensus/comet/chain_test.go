package comet_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/tributary-network/tributary/consensus/comet"
)

func TestLoneRecordAndIdle(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, "lone", 4)
	begin := time.Now()
	n.startAll(t)
	t.Logf("four validators ready after %v", time.Since(begin))

	app := n.members[2].app
	_, h0 := app.count()
	begin = time.Now()
	n.broadcast(t, 0, tx(1))
	app.waitFor(t, 5*time.Second, func(txs int, _ uint64) bool { return txs == 1 })
	if d := time.Since(begin); d > time.Second {
		t.Errorf("a lone record took %v", d)
	} else {
		t.Logf("a lone record took %v", d)
	}
	n.broadcast(t, 0, tx(1)) // known: no error, no second effect

	// The block with the record and the empty one that carries its hash.
	for i, m := range n.members {
		m.app.waitFor(t, 5*time.Second, func(_ int, h uint64) bool { return h >= h0+2 })
		eventually(t, 5*time.Second, "no work left", func() bool { return m.chain.Status().PendingSince.IsZero() })
		if txs, h := m.app.count(); txs != 1 || h != h0+2 {
			t.Errorf("member %d: %d transactions at height %d, want 1 at %d", i, txs, h, h0+2)
		}
	}
	time.AfterFunc(0, func() {})
	idle := time.NewTimer(1500 * time.Millisecond) // ten times the block time
	defer idle.Stop()
	<-idle.C
	for i, m := range n.members {
		if _, h := m.app.count(); h != h0+2 {
			t.Errorf("member %d made blocks while idle: height %d, want %d", i, h, h0+2)
		}
		if ok, reason := n.healthy(i); !ok {
			t.Errorf("idle member %d is not healthy: %s", i, reason)
		}
	}
	t.Logf("%+v", n.members[1].chain.Status())

	info, err := n.members[3].chain.Block(h0 + 1)
	if err != nil || info.TxCount != 1 || info.Height != h0+1 || len(info.Hash) != 32 {
		t.Errorf("Block(%d) = %+v, %v", h0+1, info, err)
	}
	if txs, err := n.members[3].chain.Txs(h0 + 1); err != nil || len(txs) != 1 || !bytes.Equal(txs[0], tx(1)) {
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
