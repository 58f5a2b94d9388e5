package api

import (
	"errors"
	"fmt"
	"strings"

	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/shard"
)

// A shard may run here and not be fit to answer for: it has not begun, catches up with its
// peers, or is halted on this node. What is asked of it then goes to another node that runs
// it, as if it did not run here. What it has committed, such as a booking that it knows, is
// told all the same.

// serving returns a shard that runs here, has begun, has caught up and is not halted.
func (b *backend) serving(id shard.ID) (Shard, bool) {
	s, ok := b.hosted(id)
	if !ok || !fit(s) {
		return nil, false
	}
	return s, true
}

func fit(s Shard) bool {
	run := s.Chain()
	return !run.CatchingUp && !run.Halted
}

// stopped reports whether a call of a shard that runs here failed since it is behind, is
// halted, or runs no more.
func stopped(err error) bool {
	return errors.Is(err, exec.ErrNotSynced) || errors.Is(err, exec.ErrHalted) || errors.Is(err, exec.ErrNotRunning)
}

// notServing says why this node does not answer for a shard, and who may.
func (b *backend) notServing(sh *shard.Shard, epoch uint64) *problem {
	s, ok := b.hosted(sh.ID)
	if !ok {
		return b.notHosted(sh, epoch)
	}
	return b.place(b.behind(s, sh.ID), sh, epoch)
}

// abreast errs unless a shard that runs here is fit to answer for.
func (b *backend) abreast(s Shard, id shard.ID) error {
	if fit(s) {
		return nil
	}
	return b.behind(s, id)
}

// behind says that a shard that runs here is not fit to answer for.
func (b *backend) behind(s Shard, id shard.ID) *problem {
	run := s.Chain()
	height, _ := s.Head()
	others := "another node"
	if hosts := b.shownHosts(id); len(hosts) > 0 {
		others = strings.Join(hosts, " or ")
	}
	var p *problem
	switch {
	case run.Halted:
		p = unavailable(ReasonChainHalted, 0, fmt.Sprintf("shard %d is halted on this node at height %d; ask %s", id, height, others))
	case run.Sync != nil && run.Sync.Target > height:
		p = unavailable(ReasonNotSynced, retrySoon, fmt.Sprintf("shard %d catches up on this node: it is at height %d of %d; ask %s, or try again in %v",
			id, height, run.Sync.Target, others, retrySoon))
	default:
		p = unavailable(ReasonNotSynced, retrySoon, fmt.Sprintf("shard %d has not caught up on this node: it is at height %d; ask %s, or try again in %v",
			id, height, others, retrySoon))
	}
	p.subject = ShardName(id)
	p.set("shard", p.subject)
	p.setNumber("height", height)
	return p
}

// elsewhere reports whether another node may know what this one does not.
func (p *problem) elsewhere() bool {
	return p.reason == ReasonTransactionNotFound || p.reason == ReasonNotSynced || p.reason == ReasonChainHalted
}
