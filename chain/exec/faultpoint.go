//go:build faultpoints

package exec

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
)

// faultEnv names a file. While it is there and says "DEED MOMENT N", the process kills
// itself at the N-th block with that deed that passes that moment. Before it dies it
// removes the file and writes to another, whose name ends in faultPassed besides, the chain
// and the height.
//
// Deeds are what a block does, and no other of these: a shard "sends" messages to other
// shards, "imports" some of theirs, which acknowledges them, is "acknowledged" its own, and
// is "told" messages of main; main "tells" shards, and it "anchors-messages", blocks of
// shards that send, and "anchors-acks", those that import.
//
// Moments are those of Executor.pass: "executed", before the validator votes; "agreed",
// when Finalize is done; "stored", when Commit has synced the block and nobody was told;
// "told", when everybody was and consensus does not know yet.
const (
	faultEnv    = "FAULT_POINT"
	faultPassed = ".passed"
)

// faults are what the chains of this process have passed.
var faults = struct { //nolint:gochecknoglobals // a process dies once
	mu      sync.Mutex
	armed   string // what was read last
	seen    map[ledger.ChainID]uint64
	count   int
	senders map[shard.ID][]uint64 // heights that send, of all shards
	takers  map[shard.ID][]uint64 // heights that import
}{senders: make(map[shard.ID][]uint64), takers: make(map[shard.ID][]uint64)}

// pass kills the process if this is the moment that it is to die at.
func (e *Executor) pass(moment string, p *prepared) {
	name := os.Getenv(faultEnv)
	if name == "" {
		return
	}
	faults.mu.Lock()
	defer faults.mu.Unlock()
	id := e.traits.Chain.Chain
	deed := deedOf(id, p)
	raw, err := os.ReadFile(filepath.Clean(name))
	if err != nil {
		return
	}
	if string(raw) != faults.armed {
		faults.armed, faults.count, faults.seen = string(raw), 0, make(map[ledger.ChainID]uint64)
	}
	var wanted, when string
	var n int
	if _, err := fmt.Sscan(faults.armed, &wanted, &when, &n); err != nil {
		panic(fmt.Sprintf("%s: %q is no fault point: want DEED MOMENT N", name, raw))
	}
	// Blocks are executed again if they were not agreed on, and when a process starts.
	if deed != wanted || moment != when || faults.seen[id] >= p.block.Height {
		return
	}
	faults.seen[id] = p.block.Height
	if faults.count++; faults.count < n {
		return
	}
	line := fmt.Appendf(nil, "chain %d height %d", id, p.block.Height)
	if err := os.WriteFile(name+faultPassed, line, 0o600); err != nil {
		panic(err)
	}
	if err := os.Remove(name); err != nil {
		panic(err)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
		panic(err)
	}
	select {}
}

// deedOf returns what a block does, or nothing if that is none or several of the deeds.
func deedOf(id ledger.ChainID, p *prepared) string {
	var deeds []string
	add := func(deed string, does bool) {
		if does {
			deeds = append(deeds, deed)
		}
	}
	sent := func(count func(to link.Place) bool) bool { // and no acknowledgements alone
		return p.result.Outbox != nil && slices.ContainsFunc(p.result.Outbox.Leaves(), func(l link.Leaf) bool {
			return l.Message != nil && count(l.To())
		})
	}
	if id == ledger.MainChain {
		covers := func(heights map[shard.ID][]uint64) bool {
			return slices.ContainsFunc(bodyOf[*settlement.Result](p.result.Body).Shards, func(x settlement.ShardEvent) bool {
				return x.Kind == settlement.ShardAnchored &&
					slices.ContainsFunc(heights[x.Shard], func(h uint64) bool { return x.First <= h && h <= x.Last })
			})
		}
		add("tells", sent(func(link.Place) bool { return true }))
		add("anchors-messages", covers(faults.senders))
		add("anchors-acks", covers(faults.takers))
	} else {
		main := link.Place{}
		receipts := bodyOf[*ShardResult](p.result.Body).Imports
		sends := sent(func(to link.Place) bool { return to != main })
		imports := slices.ContainsFunc(receipts, func(r link.Receipt) bool { return r.Result == link.Executed && r.Link.Src != main })
		add("sends", sends)
		add("imports", imports)
		add("told", slices.ContainsFunc(receipts, func(r link.Receipt) bool { return r.Result == link.Executed && r.Link.Src == main }))
		add("acknowledged", slices.ContainsFunc(receipts, func(r link.Receipt) bool { return r.Result == link.Acked && r.Link.Dst != main }))
		if sends {
			faults.senders[id] = append(faults.senders[id], p.block.Height)
		}
		if imports {
			faults.takers[id] = append(faults.takers[id], p.block.Height)
		}
	}
	if len(deeds) != 1 {
		return ""
	}
	return deeds[0]
}
