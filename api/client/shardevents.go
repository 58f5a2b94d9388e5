package client

import (
	"context"
	"encoding/hex"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	chainv1 "github.com/tributary-network/tributary/proto/tributary/chain/v1"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
)

// ShardEvent is one thing that happened to a service or to its shards, on the main chain.
// What a kind does not name is zero.
type ShardEvent struct {
	Kind    string // "announced", "holds", "anchored", "drawn-anew"
	Height  uint64 // of the main chain
	Time    time.Time
	TxIndex int // -1 for what the chain does by itself
	Service uint32
	Zone    byte
	Change  string // "split" or "merge"
	Shards  []shard.ID
	Heirs   []shard.ID // that a change makes
	Epoch   uint64
	Version uint32 // of the service

	Validator   uint64
	First, Last uint64 // heights of the shard
	Round       uint32 // of the draw; 0 if the committee is that of the epoch
	Guilty      uint32 // members that are to blame
	Generation  uint32 // that begins, after Last
}

// ShardEvents yields what happened to services and shards, newest first: to one shard if
// id is not 0, and to one service if srv, its id in digits or its name, is not empty.
// Anchors are many, and only told of if they are asked for. An error ends the sequence.
func (c *Client) ShardEvents(ctx context.Context, id shard.ID, srv string, anchors bool) iter.Seq2[ShardEvent, error] {
	req := &servicev1.ListShardEventsRequest{PageSize: pageSize, Anchors: anchors}
	if id != 0 {
		req.Shard = shardsPrefix + strconv.FormatUint(uint64(id), 10)
	}
	if srv != "" {
		req.Service = servicesPrefix + srv
	}
	return pages(func(token string) ([]ShardEvent, string, error) {
		req.PageToken = token
		resp, err := invoke(ctx, c, func(ctx context.Context, e *endpoint) (*servicev1.ListShardEventsResponse, error) {
			return e.services.ListShardEvents(ctx, req)
		})
		if err != nil {
			return nil, "", fmt.Errorf("list what happened to shards: %w", err)
		}
		page, err := each(resp.GetEvents(), shardEventOf)
		return page, resp.GetNextPageToken(), err
	})
}

func shardEventOf(m *servicev1.ShardEvent) (ShardEvent, error) {
	var r reader
	e := ShardEvent{
		Kind:   strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(m.GetKind().String(), "KIND_"), "_", "-")),
		Height: m.GetHeight(), Time: timeOf(m.GetTime()), TxIndex: -1, Zone: byte(m.GetZone()), Change: m.GetChange(), Epoch: m.GetEpoch(),
		Version: m.GetVersion(), Validator: m.GetValidator(), First: m.GetFirstHeight(), Last: m.GetLastHeight(), Round: m.GetRound(), Guilty: m.GetGuilty(),
		Generation: m.GetGeneration(),
	}
	if m.TxIndex != nil {
		e.TxIndex = int(m.GetTxIndex())
	}
	if m.GetService() != "" {
		e.Service = r.service(m.GetService())
	}
	for _, name := range m.GetShards() {
		e.Shards = append(e.Shards, r.shard("shards", name))
	}
	for _, name := range m.GetHeirs() {
		e.Heirs = append(e.Heirs, r.shard("heirs", name))
	}
	return e, r.err
}

// outcomes reads what became of anchors and imports.
func (r *reader) outcomes(out *settlement.Receipt, t *chainv1.Transaction) {
	for _, m := range t.GetRuns() {
		out.Runs = append(out.Runs, anchor.Result{
			Shard: shard.ID(m.GetShard()), First: m.GetFirstHeight(), Last: m.GetLastHeight(), Code: r.code("runs.code", m.GetCode()),
			Due: m.GetDue(), Finished: m.GetFinished(),
		})
	}
	for _, m := range t.GetLinks() {
		x := link.Receipt{
			Link: link.Link{
				Src: link.Place{Service: m.GetFromService(), Zone: byte(m.GetFromZone()), Bucket: uint8(m.GetFromBucket())},
				Dst: link.Place{Service: m.GetToService(), Zone: byte(m.GetToZone()), Bucket: uint8(m.GetToBucket())},
			},
			Seq: m.GetSeq(), Result: link.Result(m.GetResult()), Code: r.code("links.code", m.GetCode()), //nolint:gosec // an enumeration
		}
		x.OriginTx = r.hash("links.origin_tx", m.GetOriginTx())
		out.Links = append(out.Links, x)
	}
}

// hexHash reads the hash in a name of a collection; zero if there is no name.
func (r *reader) hexHash(field, prefix, name string) ledger.Hash {
	text := strings.TrimPrefix(name, prefix)
	if text == "" {
		return ledger.Hash{}
	}
	raw, err := hex.DecodeString(text)
	if err != nil {
		r.fail(field, err)
	}
	return r.hash(field, raw)
}
