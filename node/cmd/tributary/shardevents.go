package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
)

// runResult is what became of heights of a shard that a transaction anchored.
type runResult struct {
	Shard    uint32 `json:"shard"`
	First    uint64 `json:"first_height"`
	Last     uint64 `json:"last_height"`
	Code     string `json:"code"`
	Due      bool   `json:"due"`
	Finished bool   `json:"finished"`
}

// outcomeResult is what became of a message that a transaction brought from a shard.
type outcomeResult struct {
	Link   string       `json:"link"`
	Seq    uint64       `json:"seq"`
	Result string       `json:"result"`
	Code   string       `json:"code,omitempty"`
	Origin *ledger.Hash `json:"origin_tx,omitempty"`
}

func newRuns(r *settlement.Receipt) (list []runResult) {
	for i := range r.Runs {
		x := &r.Runs[i]
		list = append(list, runResult{uint32(x.Shard), x.First, x.Last, x.Code.String(), x.Due, x.Finished})
	}
	return list
}

func newOutcomes(r *settlement.Receipt) (list []outcomeResult) {
	for i := range r.Links {
		x := &r.Links[i]
		out := outcomeResult{Link: x.Link.String(), Seq: x.Seq, Result: x.Result.String()}
		if x.Code != chain.CodeOK {
			out.Code = x.Code.String()
		}
		if !x.OriginTx.IsZero() {
			out.Origin = &x.OriginTx
		}
		list = append(list, out)
	}
	return list
}

func printOutcomes(t *table, r *txResult) {
	if len(r.Runs) > 0 {
		t.line("")
		t.row("SHARD", "FROM", "TO", "OUTCOME", "DUE", "ITS END")
		for _, x := range r.Runs {
			t.row(x.Shard, x.First, x.Last, x.Code, yes(x.Due), yes(x.Finished))
		}
	}
	if len(r.Links) > 0 {
		t.line("")
		t.row("LINK", "NUMBER", "RESULT", "CODE")
		for _, x := range r.Links {
			t.row(x.Link, x.Seq, x.Result, x.Code)
		}
	}
}

// shardEvent is one thing that happened to a service or to its shards.
type shardEvent struct {
	Height     uint64     `json:"height"`
	Time       *time.Time `json:"time,omitempty"`
	TxIndex    *int       `json:"tx_index,omitempty"`
	Kind       string     `json:"kind"`
	Service    uint32     `json:"service"`
	Zone       byte       `json:"zone"`
	Change     string     `json:"change,omitempty"`
	Shards     []uint32   `json:"shards,omitempty"`
	Heirs      []uint32   `json:"heirs,omitempty"`
	Epoch      uint64     `json:"epoch,omitempty"`
	Version    uint32     `json:"version,omitempty"`
	Validator  *uint64    `json:"validator,omitempty"`
	First      uint64     `json:"first_height,omitempty"`
	Last       uint64     `json:"last_height,omitempty"`
	Round      uint32     `json:"round,omitempty"`
	Guilty     uint32     `json:"guilty,omitempty"`
	Generation uint32     `json:"generation,omitempty"`
}

func newShardEvent(e *client.ShardEvent) shardEvent {
	r := shardEvent{
		Height: e.Height, Kind: e.Kind, Service: e.Service, Zone: e.Zone, Change: e.Change, Shards: ids(e.Shards), Heirs: ids(e.Heirs),
		Epoch: e.Epoch, Version: e.Version, First: e.First, Last: e.Last, Round: e.Round, Guilty: e.Guilty,
		Generation: e.Generation,
	}
	if !e.Time.IsZero() {
		r.Time = &e.Time
	}
	if e.TxIndex >= 0 {
		r.TxIndex = &e.TxIndex
	}
	if strings.HasPrefix(e.Kind, "serves") {
		r.Validator = &e.Validator
	}
	return r
}

func ids(list []shard.ID) (out []uint32) {
	for _, id := range list {
		out = append(out, uint32(id))
	}
	return out
}

func texts(list []uint32) string {
	out := make([]string, len(list))
	for i, n := range list {
		out[i] = fmt.Sprint(n)
	}
	return strings.Join(out, ",")
}

// says tells an event in words.
func (e *shardEvent) says() string {
	switch e.Kind {
	case "registered", "updated":
		return fmt.Sprintf("the service is %s, version %d", e.Kind, e.Version)
	case "serves":
		return fmt.Sprintf("validator %d serves the service, from the draw of epoch %d on", *e.Validator, e.Epoch)
	case "serves-not":
		return fmt.Sprintf("validator %d does not serve it any more, from the draw of epoch %d on", *e.Validator, e.Epoch)
	case "asked":
		return "its owner asks for a " + e.Change
	case "announced":
		return fmt.Sprintf("%s, holds in epoch %d", e.Change, e.Epoch)
	case "holds":
		return fmt.Sprintf("%s into shards %s, which serve from epoch %d on", e.Change, texts(e.Heirs), e.Epoch)
	case "forgotten":
		return "the " + e.Change + " that was asked for is not made"
	case "redrawn":
		return fmt.Sprintf("another committee serves it in epoch %d, as anchors were missing", e.Epoch)
	case "drawn-anew":
		return fmt.Sprintf("generation %d from height %d, %s", e.Generation, e.Last+1, e.drawn())
	case "anchored":
		return fmt.Sprintf("heights %d to %d are anchored", e.First, e.Last)
	case "finished":
		return fmt.Sprintf("anchored to its end, height %d", e.Last)
	case "founded":
		return fmt.Sprintf("has what it begins from, and serves from epoch %d on", e.Epoch)
	case "conflict":
		return fmt.Sprintf("%d members signed two versions of height %d", e.Guilty, e.First)
	default:
		return e.Kind
	}
}

// drawn tells with whom a generation begins.
func (e *shardEvent) drawn() string {
	if e.Round == 0 {
		return fmt.Sprintf("restarted with the drawn committee of epoch %d", e.Epoch)
	}
	return fmt.Sprintf("another committee by draw %d of epoch %d", e.Round, e.Epoch)
}

// shardEvents reads limit events at most. There are none of a shard that does not exist,
// which is an error.
func (run *run) shardEvents(id shard.ID, service string, anchors bool, limit int) ([]shardEvent, error) {
	list := []shardEvent{}
	for e, err := range run.conn.ShardEvents(run.ctx, id, service, anchors) {
		if err != nil {
			return nil, err
		}
		if list = append(list, newShardEvent(&e)); len(list) == limit {
			break
		}
	}
	if len(list) == 0 && id != 0 {
		if _, err := run.conn.ShardStatus(run.ctx, id); errors.Is(err, chain.CodeUnknownShard.Err()) {
			return nil, shardProblem(err, id)
		}
	}
	return list, nil
}

func (c *cli) shardEventsCommand() *cobra.Command {
	var srv string
	var anchors bool
	var limit int
	cmd := &cobra.Command{
		Use:   "events [SHARD]",
		Short: "Show what happened to services and shards, newest first",
		Long: `Show what happened to services and their shards on the main chain, newest first, as far
as the node keeps blocks: services that were registered and who serves them, splits and
merges from the request to the end of the parents, committees that were drawn anew because
anchors were missing, members that signed two versions of a block, and with --anchors
which block of the main chain anchored which heights.`,
		Example: "  tributary shard events 2 --anchors",
		Args:    first(cobra.MaximumNArgs(1), parseShard),
		RunE: c.connected(func(run *run) (err error) {
			var id shard.ID
			if len(run.args) > 0 {
				if id, err = run.shardID(); err != nil {
					return err
				}
			}
			if limit < 1 {
				return usagef("--limit is %d, want 1 or more", limit)
			}
			list, err := run.shardEvents(id, srv, anchors, limit)
			if err != nil {
				return err
			}
			return c.print(list, func(t *table) {
				if len(list) == 0 {
					t.line("Nothing of that kind happened in the blocks that the node keeps; with --anchors its anchors are shown, too.")
					return
				}
				t.row("BLOCK", "TIME", "SERVICE", "ZONE", "SHARDS", "EVENT", "DETAILS")
				for i := range list {
					e := &list[i]
					t.row(e.Height, stampOf(e.Time), e.Service, e.Zone, texts(e.Shards), e.Kind, e.says())
				}
			})
		}),
	}
	cmd.Flags().StringVar(&srv, "service", "", "only of a service, by its name or id")
	cmd.Flags().BoolVar(&anchors, "anchors", false, "anchors, too")
	cmd.Flags().IntVar(&limit, "limit", 50, "show at most so many")
	return cmd
}
