package anchor

import (
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/shard"
)

const (
	// MaxRuns is the largest number of shards that one transaction anchors.
	MaxRuns = 16
	// MaxHeights is the largest number of heights that it anchors, of all shards
	// together, and so bounds what it costs to verify.
	MaxHeights = cert.MaxRun
)

// Anchors is the payload of a transaction that anchors heights of shards. Anybody can
// send it.
type Anchors struct {
	// Runs are 1 to MaxRuns, of different shards, ascending by their ids, with
	// MaxHeights heights in all at most.
	Runs []cert.Run
}

// Encode returns the canonical encoding: number of runs 1, and each run behind its
// length 4.
func (a *Anchors) Encode() []byte {
	w := codec.NewWriter(512)
	w.Uint8(uint8(len(a.Runs)))
	for i := range a.Runs {
		w.Bytes32(a.Runs[i].Encode())
	}
	return w.Bytes()
}

// DecodeAnchors reads what Encode wrote. It refuses with CodeMalformed what is no
// canonical encoding, and as check does. It verifies nothing.
func DecodeAnchors(b []byte) (Anchors, error) {
	r := codec.NewReader(b)
	n := int(r.Uint8())
	if r.Err() == nil && n > MaxRuns {
		return Anchors{}, chain.Refuse(chain.CodeTooLarge, "%d runs, at most %d: send several transactions", n, MaxRuns)
	}
	var a Anchors
	for range n {
		run, err := readRun(r)
		if err != nil {
			return Anchors{}, err
		}
		a.Runs = append(a.Runs, run)
	}
	if err := r.Done(); err != nil {
		return Anchors{}, chain.Refuse(chain.CodeMalformed, "anchors: %v", err)
	}
	return a, a.check()
}

func readRun(r *codec.Reader) (cert.Run, error) {
	raw := r.Bytes32(cert.MaxRunSize)
	if err := r.Err(); err != nil {
		return cert.Run{}, chain.Refuse(chain.CodeMalformed, "run: %v", err)
	}
	run, err := cert.DecodeRun(raw)
	if err != nil {
		return cert.Run{}, chain.Refuse(chain.CodeMalformed, "run: %v", err)
	}
	return run, nil
}

// check refuses what breaks the promises of Anchors: CodeMalformed for no runs,
// CodeTooLarge for too many runs or heights, CodeBadOrder for shards that do not
// ascend.
func (a *Anchors) check() error {
	if n := len(a.Runs); n == 0 || n > MaxRuns {
		return chain.Refuse(chain.CodeMalformed, "%d runs, want 1 to %d", n, MaxRuns)
	}
	heights := 0
	for i := range a.Runs {
		r := &a.Runs[i]
		heights += len(r.Heads)
		if i > 0 && r.Chain <= a.Runs[i-1].Chain {
			return chain.Refuse(chain.CodeBadOrder, "run %d is of shard %d after %d, want each shard once, ascending", i, r.Chain, a.Runs[i-1].Chain)
		}
	}
	if heights > MaxHeights {
		return chain.Refuse(chain.CodeTooLarge, "%d heights, at most %d: send several transactions", heights, MaxHeights)
	}
	return nil
}

// Conflict is the payload of a transaction that shows two versions of one height of
// a shard, each certified. Anybody can send it; neither needs to be anchored.
type Conflict struct {
	Height uint64
	A, B   cert.Run // of the same shard, each with Height
}

// Shard returns the shard whose height it is.
func (c *Conflict) Shard() shard.ID { return c.A.Chain }

// Encode returns the canonical encoding: height 8, and each run behind its length 4.
func (c *Conflict) Encode() []byte {
	w := codec.NewWriter(1024)
	w.Uint64(c.Height)
	w.Bytes32(c.A.Encode())
	w.Bytes32(c.B.Encode())
	return w.Bytes()
}

// DecodeConflict reads what Encode wrote, or refuses with CodeMalformed. Whether it
// shows anything is for Context.Judge to say.
func DecodeConflict(b []byte) (c Conflict, err error) {
	r := codec.NewReader(b)
	c.Height = r.Uint64()
	if c.A, err = readRun(r); err != nil {
		return Conflict{}, err
	}
	if c.B, err = readRun(r); err != nil {
		return Conflict{}, err
	}
	if err := r.Done(); err != nil {
		return Conflict{}, chain.Refuse(chain.CodeMalformed, "conflict: %v", err)
	}
	return c, nil
}
