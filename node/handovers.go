package node

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/chain/exec"
)

const (
	// fetchAgain is how often a node looks whether it misses hand-overs or candidates
	// that its sources may have.
	fetchAgain = 10 * time.Minute
	// fetchFirst is when it does so first: it may still be restoring a snapshot.
	fetchFirst = 5 * time.Second
	// fetchRefusals is after how many epochs that a source does not have, or has
	// wrong, it is left alone until the next time.
	fetchRefusals = 20
)

// fetchHandovers fetches the hand-overs and candidates of the epochs before the node's
// snapshot from the nodes that it asks for headers ([state_sync] sources), until ctx
// ends. What does not hold is not kept, so no source has to be trusted.
func (n *Node) fetchHandovers(ctx context.Context) error {
	if len(n.sources) == 0 {
		<-ctx.Done()
		return nil
	}
	timer := time.NewTimer(fetchFirst)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		next := fetchAgain
		if n.main.sample.Load().chain.CatchingUp || n.main.sample.Load().chain.Height == 0 {
			next = fetchFirst
		} else if err := n.fetchMissing(ctx); err != nil && ctx.Err() == nil {
			n.log.WarnContext(ctx, "fetch hand-overs of earlier epochs", slog.Any("err", err))
		}
		timer.Reset(next)
	}
}

// fetchMissing asks each source for what is missing.
func (n *Node) fetchMissing(ctx context.Context) error {
	var failed error
	for _, s := range n.sources {
		handovers, err := n.main.ledger.MissingHandovers()
		if err != nil {
			return err
		}
		candidates, err := n.main.ledger.MissingCandidates()
		if err != nil {
			return err
		}
		if len(handovers)+len(candidates) == 0 {
			return nil
		}
		conn, err := s.connect(ctx)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		got := fetchEach(ctx, handovers, func(epoch uint64) error {
			h, err := conn.Handover(ctx, epoch)
			if err != nil {
				return err
			}
			return n.main.ledger.AdoptHandover(epoch, &exec.Handover{Record: &h.Record.Statement, Certificate: h.Certificate})
		}, &failed)
		got += fetchEach(ctx, candidates, func(epoch uint64) error {
			e, err := conn.Election(ctx, epoch)
			if err != nil {
				return err
			}
			return n.main.ledger.AdoptCandidates(epoch, e.Candidates)
		}, &failed)
		if got > 0 {
			n.log.InfoContext(ctx, "hand-overs and candidates of earlier epochs fetched", slog.String("source", s.String()), slog.Int("count", got))
		}
	}
	return failed
}

// fetchEach fetches what belongs to each epoch, and returns how often it got something.
// What a source merely does not have is no failure.
func fetchEach(ctx context.Context, epochs []uint64, fetch func(epoch uint64) error, failed *error) (got int) {
	refused := 0
	for _, epoch := range epochs {
		if ctx.Err() != nil || refused == fetchRefusals {
			return got
		}
		err := fetch(epoch)
		_, answered := errors.AsType[*client.Error](err)
		switch {
		case err == nil:
			got++
			continue
		case !answered && !errors.Is(err, exec.ErrNoHandover) && !errors.Is(err, exec.ErrPruned) && !errors.Is(err, exec.ErrUnknown):
			*failed = errors.Join(*failed, err)
		}
		refused++
	}
	return got
}
