package api_test

import (
	"bytes"
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/ledger"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
)

// seedUsage is a booking as signed bytes.
func seedUsage() []byte {
	u := service.Usage{Service: 7, Zone: 1, Buckets: []uint8{9}, Batch: channel.Batch{Payee: keyOf(1).Address(1), Entries: []channel.Entry{
		{Index: 3, Claim: channel.ClaimVoucher, Cumulative: 10, Units: 5},
	}}}
	return chain.SignTx(service.Domain(ledger.Hash{1}, 7), keyOf(1), chain.TxFields{Kind: chain.KindBookUsage, Zone: 1, Payload: u.Encode()})
}

// FuzzUsageTx: whatever comes, as bytes or as fields, is read as what it is signed for or
// refused, and fields encode to the bytes they came from.
func FuzzUsageTx(f *testing.F) {
	raw := seedUsage()
	f.Add(raw, []byte(nil))
	f.Add(raw[:len(raw)-70], []byte{1})
	batch, err := proto.Marshal(&servicev1.UsageBatch{Service: 7, Zone: 1, Payee: keyOf(1).Address(1).String(), Entries: []*servicev1.UsageEntry{{Bucket: 9}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(nil), batch)
	f.Fuzz(func(t *testing.T, raw, fields []byte) {
		req := &servicev1.BookUsageRequest{Transaction: &servicev1.BookUsageRequest_SignedTx{SignedTx: raw}}
		if len(fields) > 0 {
			b := &servicev1.UsageBatch{}
			if proto.Unmarshal(fields, b) != nil {
				return
			}
			req.Transaction = &servicev1.BookUsageRequest_Batch{Batch: b}
		}
		tx, u, err := api.UsageTx(ledger.Hash{1}, req)
		if err != nil {
			if s, known := api.StatusOf(err); !known || s.Code() == codes.Internal {
				t.Fatalf("%v", err)
			}
			return
		}
		if !bytes.Equal(u.Encode(), tx.Payload) || len(u.Buckets) != len(u.Batch.Entries) || tx.Kind != chain.KindBookUsage {
			t.Fatalf("%+v of %x", u, tx.Payload)
		}
	})
}

// FuzzTraceNames: names of transactions and shards.
func FuzzTraceNames(f *testing.F) {
	f.Add("bookings/" + strings.Repeat("0", 64))
	f.Add("shards/2")
	f.Fuzz(func(t *testing.T, name string) {
		if h, err := api.ParseTraced(name); err == nil && !strings.HasSuffix(name, "/"+h.String()) {
			t.Errorf("%q is read as %s", name, h)
		}
		if id, err := api.ParseShardName(name); err == nil && api.ShardName(id) != name {
			t.Errorf("%q is read as shard %d", name, id)
		}
	})
}

// echo is a server that counts calls and says how often they were handed on.
type echo struct {
	servicev1.UnimplementedRoutingServiceServer
	hops [][]string
}

func (e *echo) GetCongestion(ctx context.Context, req *servicev1.GetCongestionRequest) (*servicev1.GetCongestionResponse, error) {
	e.hops = append(e.hops, metadata.ValueFromIncomingContext(ctx, "tributary-hops"))
	return &servicev1.GetCongestionResponse{Congestion: &servicev1.Congestion{Shard: req.GetShard()}}, nil
}

// TestPeers: connections are made when they are needed, at most so many, and those who do
// not answer come last.
func TestPeers(t *testing.T) {
	t.Parallel()
	listener := bufconn.Listen(1 << 16)
	server, served := grpc.NewServer(), &echo{}
	servicev1.RegisterRoutingServiceServer(server, served)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	now := time.Unix(1, 0)
	dials := 0
	peers, err := api.NewPeers(api.PeersConfig{
		Directory:   func(ledger.ChainID) []string { return []string{"dead", "alive"} },
		Credentials: func(string) credentials.TransportCredentials { return insecure.NewCredentials() },
		Dial: func(ctx context.Context, name string) (net.Conn, error) {
			if name == "dead" {
				return nil, status.Error(codes.Unavailable, "nobody")
			}
			dials++
			return listener.DialContext(ctx)
		},
		Now: func() time.Time { return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	call := func(name string) error {
		resp := &servicev1.GetCongestionResponse{}
		err := peers.Call(t.Context(), name, servicev1.RoutingService_GetCongestion_FullMethodName, &servicev1.GetCongestionRequest{Shard: name}, resp)
		if err == nil && resp.GetCongestion().GetShard() != name {
			t.Errorf("answer %v", resp)
		}
		return err
	}
	if err := call("dead"); status.Code(err) != codes.Unavailable {
		t.Errorf("dead: %v", err)
	}
	if list := peers.Hosts(2); !slices.Equal(list, []string{"alive", "dead"}) {
		t.Errorf("after a failure: %v", list)
	}
	now = now.Add(time.Minute)
	if list := peers.Hosts(2); !slices.Equal(list, []string{"dead", "alive"}) {
		t.Errorf("a minute later: %v", list)
	}
	for range 3 {
		if err := call("alive"); err != nil {
			t.Fatal(err)
		}
	}
	if dials != 1 {
		t.Errorf("%d connections for three calls", dials)
	}
	for i := range 100 {
		now = now.Add(time.Second)
		if err := call(strings.Repeat("x", i+1)); err != nil {
			t.Fatal(err)
		}
	}
	before := dials
	if err := call("alive"); err != nil || dials != before+1 {
		t.Errorf("the connection used longest ago is still there: %v", err)
	}
	if len(served.hops) == 0 || !slices.Equal(served.hops[0], []string{"1"}) {
		t.Errorf("hops %v", served.hops)
	}
	if err := peers.Close(); err != nil {
		t.Error(err)
	}
	if err := call("alive"); err == nil {
		t.Error("a call after Close")
	}
}

// TestLiesInTraces: what another node makes up is noticed, as far as a proof can tell.
func TestLiesInTraces(t *testing.T) {
	t.Parallel()
	s, here, _ := twoNodes(t)
	c := s.sell(s.elsewhere(s.payer.addr)).told()
	home := s.home(s.payer.addr)
	home.certify = true
	resp, err := here.services().BookUsage(s.ctx(), signedUsage(c.book(1_000)))
	if err != nil {
		t.Fatal(err)
	}
	hash := ledger.Hash(resp.GetBooking().GetTransaction().GetHash())
	told, err := here.routing().GetMessage(s.ctx(), &servicev1.GetMessageRequest{
		ChainId: uint32(home.is.ID), What: &servicev1.GetMessageRequest_Sent_{Sent: &servicev1.GetMessageRequest_Sent{TxHash: hash[:]}},
	})
	if err != nil || len(told.GetSent()) != 1 {
		t.Fatalf("%v, %v", told, err)
	}
	for name, lie := range map[string]func(leaf *servicev1.OutboxLeaf){
		"another proof": func(l *servicev1.OutboxLeaf) {
			if err := brokenLeaf(l); err != nil {
				t.Error(err)
			}
		},
		"no import":             func(l *servicev1.OutboxLeaf) { l.Import = l.GetImport()[1:] },
		"another height":        func(l *servicev1.OutboxLeaf) { l.Height++ },
		"no certificate of it":  func(l *servicev1.OutboxLeaf) { l.Certificate = l.GetCertificate()[1:] },
		"a forged certificate":  func(l *servicev1.OutboxLeaf) { l.Certificate[len(l.GetCertificate())-100] ^= 1 },
		"another's certificate": func(l *servicev1.OutboxLeaf) { l.Certificate[40] ^= 1 },
	} {
		liar := &lyingPeers{node: "here", leaf: told, lie: lie}
		n := &shardNode{world: s, name: "doubter " + name, listener: bufconn.Listen(1 << 20)}
		n.start(func(c *api.Config) { c.Peers = liar })
		got, err := n.routing().Trace(s.ctx(), &servicev1.TraceRequest{Name: resp.GetBooking().GetName(), Shard: api.ShardName(home.is.ID)})
		if err != nil || len(got.GetHops()) != 0 || len(got.GetNotes()) == 0 {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

// lyingPeers are other nodes that tell of a message what is not so.
type lyingPeers struct {
	node string
	leaf *servicev1.GetMessageResponse
	lie  func(*servicev1.OutboxLeaf)
}

// Hosts implements api.Forwarder.
func (l *lyingPeers) Hosts(ledger.ChainID) []string { return []string{l.node} }

// Fault implements api.Forwarder.
func (*lyingPeers) Fault(string) {}

// Call implements api.Forwarder.
func (l *lyingPeers) Call(_ context.Context, _, _ string, _, resp proto.Message) error {
	out := proto.CloneOf(l.leaf)
	l.lie(out.GetSent()[0])
	proto.Merge(resp, out)
	return nil
}
