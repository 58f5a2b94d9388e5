package testnet

import (
	"context"
	"time"
)

const (
	// supervisePoll is how often it is looked whether nodes run.
	supervisePoll = 100 * time.Millisecond
	// restartFirst and restartMost bound the wait before a node is started
	// again; it doubles with each end.
	restartFirst = time.Second
	restartMost  = 30 * time.Second
	// restartLimit is how often in a row a node is started again.
	restartLimit = 10
	// restartCalm is how long a node must run for its ends not to be in a row.
	restartCalm = time.Minute
)

// End says that a node ended by itself, or did not start again.
type End struct {
	Node int
	// Err says why. nil means that the node ended in good order, so that
	// somebody wanted it to; it is not started again.
	Err error
	// Restart is after how long the node is started again, 0 if it is not.
	Restart time.Duration
}

// Supervise starts nodes again that end by themselves, after a wait that grows
// from a second to half a minute, at most ten times in a row, until ctx ends.
// Nodes that end in good order stay stopped, as do those that StopNode or
// KillNode ended, until StartNode. tell is called for each end, by one goroutine.
func (n *Network) Supervise(ctx context.Context, tell func(End)) {
	nodes := make([]watched, len(n.members))
	for i := range nodes {
		nodes[i].since = time.Now()
	}
	tick := time.NewTicker(supervisePoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			for i := range nodes {
				n.look(i, &nodes[i], now, tell)
			}
		}
	}
}

// watched is what a supervisor knows of a node.
type watched struct {
	since time.Time // when it was started
	due   time.Time // when it is to be started again; zero if it runs
	given bool      // it is left alone until somebody else starts it
	ends  int       // in a row
}

// look looks after node i.
func (n *Network) look(i int, w *watched, now time.Time, tell func(End)) {
	select {
	case <-n.members[i].exited():
	default:
		if w.given { // somebody else started it
			*w = watched{since: now}
		}
		w.due = time.Time{}
		return
	}
	switch {
	case w.given:
	case n.idle[i].Load():
		w.given = true
	case w.due.IsZero():
		n.ended(i, w, now, n.members[i].err(), tell)
	case !now.Before(w.due):
		w.since, w.due = now, time.Time{}
		if err := n.members[i].start(); err != nil {
			n.ended(i, w, now, err, tell)
		}
	}
}

// ended decides what follows when node i ended for the reason err.
func (n *Network) ended(i int, w *watched, now time.Time, err error, tell func(End)) {
	if now.Sub(w.since) >= restartCalm {
		w.ends = 0
	}
	w.ends++
	if err == nil || w.ends > restartLimit {
		w.given = true
		tell(End{Node: i, Err: err})
		return
	}
	wait := min(restartFirst<<(w.ends-1), restartMost)
	w.due = now.Add(wait)
	tell(End{Node: i, Err: err, Restart: wait})
}
