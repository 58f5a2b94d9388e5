package testnet

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"
)

const (
	// shardsPoll is how often it is asked how the shards of a starting network are.
	shardsPoll = 200 * time.Millisecond
	// shardsTell is how often it is told.
	shardsTell = 2 * time.Second
)

// Shards is how many shards the services of the genesis have.
func (l *Layout) Shards() (n int) {
	for i := range l.Genesis.Services {
		n += len(l.Genesis.Services[i].Zones) * int(l.Genesis.Services[i].Shards)
	}
	return n
}

// seats is how many seats those shards have that are taken: where there are as many as
// validators, all of them serve each.
func (l *Layout) seats() (n int) {
	for i := range l.Genesis.Services {
		s := &l.Genesis.Services[i]
		n += len(s.Zones) * int(s.Shards) * min(int(s.CommitteeSize), l.Validators())
	}
	return n
}

// ChainState is how one of a node's chains does.
type ChainState struct {
	Name   string // "main", or "s" and the number of a shard
	Ready  bool
	Reason string // why it is not
}

// WaitShards waits until the validators of the genesis run all its shards, as many of them
// as each has seats for, and all of those can be relied on. It tells now and then how far that is. When ctx ends, the error
// says what was waited for.
func (n *Network) WaitShards(ctx context.Context) error {
	return n.AwaitShards(ctx, n.prober, n.options.say)
}

// AwaitShards is WaitShards for a network that another process runs. say may be called
// until it returns.
func (l *Layout) AwaitShards(ctx context.Context, p *Prober, say func(format string, args ...any)) error {
	tick := time.NewTicker(shardsPoll)
	defer tick.Stop()
	want, told := l.seats(), time.Now()
	for {
		up, waits := l.shardsUp(ctx, p)
		if up >= want {
			return nil
		}
		if time.Since(told) >= shardsTell {
			told = time.Now()
			say("%d of %d chains of shards are up; %s", up, want, waits)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d chains of shards are up; %s: %w", up, want, waits, ctx.Err())
		case <-tick.C:
		}
	}
}

// shardsUp counts the chains of shards that can be relied on, and names one that cannot.
func (l *Layout) shardsUp(ctx context.Context, p *Prober) (up int, waits string) {
	waits = "others are not known yet"
	for i := range l.Validators() {
		ask, cancel := context.WithTimeout(ctx, time.Second)
		list, err := p.Chains(ask, l.Nodes[i])
		cancel()
		if err != nil {
			waits = l.Nodes[i].Name + " does not answer"
			continue
		}
		for _, c := range list {
			switch {
			case !strings.HasPrefix(c.Name, "s"):
			case c.Ready:
				up++
			default:
				waits = fmt.Sprintf("%s of %s: %s", c.Name, l.Nodes[i].Name, c.Reason)
			}
		}
	}
	return up, waits
}

// Chains asks a node's /readyz how each of its chains is, the main chain first.
func (p *Prober) Chains(ctx context.Context, n Node) (list []ChainState, err error) {
	_, body, err := p.get(ctx, n, "/readyz?verbose")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(body) {
		mark, rest, ok := strings.Cut(strings.TrimSpace(line), "]chain/")
		if !ok {
			continue
		}
		name, reason, _ := strings.Cut(rest, ": ")
		list = append(list, ChainState{Name: name, Ready: mark == "[+", Reason: reason})
	}
	return list, nil
}

// Ready asks a node's /readyz. reason says why it is not ready; err means that
// it did not answer.
func (p *Prober) Ready(ctx context.Context, n Node) (ok bool, reason string, err error) {
	status, body, err := p.get(ctx, n, "/readyz")
	if err != nil {
		return false, "", err
	}
	text, _, _ := strings.Cut(body, "\n")
	return status == http.StatusOK, strings.TrimSpace(text), nil
}
