package node

import (
	"errors"
	"strconv"
	"strings"
	"sync"

	"github.com/tributary-network/tributary/shard"
)

// errPartTaken says that a shard's part of the store is in use.
var errPartTaken = errors.New("the files of the shard are in use: it is about to stop, or others take over from it")

// parts are the shards' parts of the store that all share. Whoever opens one owns it
// meanwhile: the shard that runs, those that take over from one that has ended, who gives
// its state to other nodes, who removes it, who reads what one did that has ended. It is safe for concurrent use.
type parts struct {
	mu    sync.Mutex
	taken map[shard.ID]bool
	// lent asks whoever only reads parts, and took one by borrow, for it back. It is set
	// once, may be nil, and returns when the part is nobody's.
	lent func(id shard.ID)
}

// take makes the caller the owner of a part until release is called; ok is false if it has
// another one. Who only reads it gives it back for that.
func (p *parts) take(id shard.ID) (release func(), ok bool) {
	if release, ok = p.borrow(id); !ok && p.lent != nil {
		p.lent(id)
		release, ok = p.borrow(id)
	}
	return release, ok
}

// borrow is take of a part that nobody has.
func (p *parts) borrow(id shard.ID) (release func(), ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken[id] {
		return nil, false
	}
	if p.taken == nil {
		p.taken = make(map[shard.ID]bool)
	}
	p.taken[id] = true
	return sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.taken, id)
	}), true
}

// parseShardName reads what shardName wrote.
func parseShardName(name string) (shard.ID, bool) {
	number, ok := strings.CutPrefix(name, "s")
	id, err := strconv.ParseUint(number, 10, 32)
	return shard.ID(id), ok && err == nil && shardName(shard.ID(id)) == name
}
