package client_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tributary-network/tributary/api/client"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
)

// WatchShard plays the next of the streams of a test, and notes what was asked.
func (b *bookkeeper) WatchShard(req *servicev1.WatchShardRequest, server servicev1.ServiceChainService_WatchShardServer) error {
	b.mu.Lock()
	at := len(b.watched)
	b.watched = append(b.watched, req)
	b.mu.Unlock()
	if at == len(b.streams) {
		return status.Error(codes.NotFound, "there is no such shard any more")
	}
	for _, m := range b.streams[at] {
		if err := server.Send(m); err != nil {
			return err
		}
	}
	return status.Error(codes.Unavailable, "the shard began again")
}

// TestWatchShardComesBack: a watch goes on after the last block when it breaks off, and says
// which generation told it that, so that a node can tell anew what was taken back. A node
// that is some blocks behind is no reason to begin again.
func TestWatchShardComesBack(t *testing.T) {
	t.Parallel()
	told := func(generation uint32, head uint64) *servicev1.WatchShardResponse {
		return &servicev1.WatchShardResponse{HeadHeight: head, AnchoredHeight: 2, Generation: generation}
	}
	block := func(generation uint32, height uint64) *servicev1.WatchShardResponse {
		m := told(generation, height)
		m.Block = &servicev1.ShardBlock{Height: height}
		return m
	}
	b := &bookkeeper{streams: [][]*servicev1.WatchShardResponse{
		{told(0, 4)},
		{told(0, 6), block(0, 5), block(0, 6)},
		{told(0, 6), {HeadHeight: 9, Gap: &servicev1.WatchShardResponse_Gap{FromHeight: 7, ToHeight: 8}}, block(0, 9)},
		{told(0, 7)}, // it is behind
		{told(2, 12)},
		{told(2, 12), block(2, 8)},
		{told(2, 12), block(2, 9), block(2, 10)},
	}}
	c := b.keepFor(t, client.RetryPolicy{MinDelay: time.Millisecond, MaxDelay: 2 * time.Millisecond})
	var made []string
	err := c.WatchShard(within(t), 5, 0, func(x *client.ShardBlock) error {
		if x.Height > 0 {
			made = append(made, fmt.Sprintf("%d-g%d", x.Height, x.Generation))
		}
		return nil
	})
	if e, ok := errors.AsType[*client.Error](err); !ok || e.Code != codes.NotFound {
		t.Errorf("it ended with %v", err)
	}
	if want := []string{"5-g0", "6-g0", "9-g0", "8-g2", "9-g2", "10-g2"}; !slices.Equal(made, want) {
		t.Errorf("blocks %v, want %v", made, want)
	}
	var asked []string
	for _, req := range b.watched {
		generation := "any"
		if req.Generation != nil {
			generation = fmt.Sprintf("g%d", req.GetGeneration())
		}
		asked = append(asked, fmt.Sprintf("%d-%s", req.GetFromHeight(), generation))
	}
	if want := []string{"0-any", "5-g0", "7-g0", "10-g0", "10-g0", "10-g0", "9-g2", "11-g2"}; !slices.Equal(asked, want) {
		t.Errorf("watched from %v, want %v", asked, want)
	}
}

// TestWatchShardEnds: a watch that never began, and one whose reader has enough, do not come
// back.
func TestWatchShardEnds(t *testing.T) {
	t.Parallel()
	b := &bookkeeper{streams: [][]*servicev1.WatchShardResponse{{}, {{HeadHeight: 1}}}}
	c := b.keep(t)
	read := func(*client.ShardBlock) error { return fmt.Errorf("enough: %w", context.Canceled) }
	if e, ok := errors.AsType[*client.Error](c.WatchShard(within(t), 5, 0, read)); !ok || e.Code != codes.Unavailable {
		t.Errorf("what never began ended with %v", e)
	}
	if err := c.WatchShard(within(t), 5, 0, read); !errors.Is(err, context.Canceled) || len(b.watched) != 2 {
		t.Errorf("what is read no more ended with %v, after %d streams", err, len(b.watched))
	}
}
