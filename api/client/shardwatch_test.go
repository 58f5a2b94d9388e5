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

// WatchShard plays the next of the streams of a test, and notes from where it was to begin.
func (b *bookkeeper) WatchShard(req *servicev1.WatchShardRequest, server servicev1.ServiceChainService_WatchShardServer) error {
	b.mu.Lock()
	at := len(b.watched)
	b.watched = append(b.watched, req.GetFromHeight())
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

// TestWatchShardComesBack: a watch goes on after the last block when it breaks off, and with
// what is not anchored if blocks were taken back.
func TestWatchShardComesBack(t *testing.T) {
	t.Parallel()
	told := func(head, anchored uint64) *servicev1.WatchShardResponse {
		return &servicev1.WatchShardResponse{HeadHeight: head, AnchoredHeight: anchored}
	}
	block := func(height uint64) *servicev1.WatchShardResponse {
		return &servicev1.WatchShardResponse{HeadHeight: height, Block: &servicev1.ShardBlock{Height: height}}
	}
	b := &bookkeeper{streams: [][]*servicev1.WatchShardResponse{
		{told(4, 2)},
		{told(6, 2), block(5), block(6)},
		{told(6, 2), {HeadHeight: 9, Gap: &servicev1.WatchShardResponse_Gap{FromHeight: 7, ToHeight: 8}}, block(9)},
		{told(3, 3)},
		{told(3, 3), block(4)},
	}}
	c := b.keepFor(t, client.RetryPolicy{MinDelay: time.Millisecond, MaxDelay: 2 * time.Millisecond})
	var heights []uint64
	err := c.WatchShard(within(t), 5, 0, func(x *client.ShardBlock) error {
		if x.Height > 0 {
			heights = append(heights, x.Height)
		}
		return nil
	})
	if e, ok := errors.AsType[*client.Error](err); !ok || e.Code != codes.NotFound {
		t.Errorf("it ended with %v", err)
	}
	if want := []uint64{5, 6, 9, 4}; !slices.Equal(heights, want) {
		t.Errorf("blocks %v, want %v", heights, want)
	}
	if want := []uint64{0, 5, 7, 10, 4, 5}; !slices.Equal(b.watched, want) {
		t.Errorf("watched from %v, want %v", b.watched, want)
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
