package client_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/api/client/pay"
	channelv1 "github.com/tributary-network/tributary/proto/tributary/channel/v1"
	nodev1 "github.com/tributary-network/tributary/proto/tributary/node/v1"
)

// lister is a node whose lists are of heights that a test says, one after the
// other, while its watch is at height 10.
type lister struct {
	channelv1.UnimplementedChannelServiceServer

	heights []uint64
	lists   atomic.Int32
}

func (l *lister) WatchChannels(_ *channelv1.WatchChannelsRequest, stream grpc.ServerStreamingServer[channelv1.WatchChannelsResponse]) error {
	for range l.heights {
		err := stream.Send(&channelv1.WatchChannelsResponse{Message: &channelv1.WatchChannelsResponse_Heartbeat_{
			Heartbeat: &channelv1.WatchChannelsResponse_Heartbeat{Height: 10, SettlementClock: 8},
		}})
		if err != nil {
			return err
		}
	}
	<-stream.Context().Done()
	return stream.Context().Err()
}

func (l *lister) ListChannels(context.Context, *channelv1.ListChannelsRequest) (*channelv1.ListChannelsResponse, error) {
	n := int(l.lists.Add(1))
	return &channelv1.ListChannelsResponse{Height: l.heights[min(n, len(l.heights))-1]}, nil
}

// TestListsAreNoOlderThanTheirView: what a node that is behind lists is not passed
// on as the whole list; the next heartbeat asks again.
func TestListsAreNoOlderThanTheirView(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name    string
		heights []uint64
	}{
		{"the same state", []uint64{10}},
		{"a later one", []uint64{12}},
		{"a node that is behind", []uint64{9, 9, 10}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			node := &lister{heights: row.heights}
			listener := bufconn.Listen(1 << 20)
			server := grpc.NewServer()
			nodev1.RegisterNodeServiceServer(server, &scripted{})
			channelv1.RegisterChannelServiceServer(server, node)
			done := make(chan error, 1)
			go func() { done <- server.Serve(listener) }()
			c, err := client.Dial(within(t), "scripted", client.WithInsecure(), client.WithRetry(client.RetryPolicy{Attempts: 1}),
				client.WithDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
			if err != nil {
				t.Fatal(err)
			}
			began := 0
			for u, err := range c.Follow(within(t), client.Parties{Payee: identityOf(1).Address}) {
				if err != nil {
					t.Fatal(err)
				}
				if u.Listing == pay.ListingBegins {
					began++
				}
				if u.Listing == pay.ListingEnds {
					if u.View != (pay.View{Height: 10, Clock: 8}) || began != len(row.heights) || int(node.lists.Load()) != began {
						t.Errorf("the list ends with %+v at the %d. attempt", u.View, began)
					}
					break
				}
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			server.Stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}
