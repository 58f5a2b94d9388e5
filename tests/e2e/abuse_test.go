package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/config"
	"github.com/tributary-network/tributary/node/testnet"
	accountv1 "github.com/tributary-network/tributary/proto/tributary/account/v1"
	channelv1 "github.com/tributary-network/tributary/proto/tributary/channel/v1"
	nodev1 "github.com/tributary-network/tributary/proto/tributary/node/v1"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
	settlementv1 "github.com/tributary-network/tributary/proto/tributary/settlement/v1"
)

const (
	abuseConnections = 2_000
	abuseCalls       = 10_000
	abuseCallers     = 16
	// abuseMemory bounds what a node may grow by more than those left in peace.
	abuseMemory = 96 << 20
	// abuseFiles bounds the files that connections of one address hold: 64 of
	// gRPC, and 104 of peers that never say who they are: 40 strangers, and as many
	// as a committee may have to let in beside them.
	abuseFiles = 200
)

// Whoever reaches the ports of a node can send anything. The node refuses it at a
// bounded price, and the chain goes on meanwhile.
func TestAbuse(t *testing.T) {
	t.Parallel()
	const open, usual = 0, 1 // nodes: one that takes every call, one whose limit of calls a slow machine reaches, too
	nw := network(t, func(o *testnet.Options) {
		o.Configure = func(i int, c *config.Config) {
			switch i {
			case open:
				c.GRPC.RequestsPerSecond, c.GRPC.Burst = 1_000_000, 1_000_000
			case usual:
				c.GRPC.RequestsPerSecond, c.GRPC.Burst = 100, 500
			}
		}
	})
	l := startLoad(t, nw, 2, 3)
	end := l.begin(t)
	before := make([]int, len(nw.Nodes))
	for i := range nw.Nodes {
		before[i] = memory(t, nw.PID(i))
	}

	for _, attack := range []struct {
		name string
		run  func(*testing.T, *testnet.Network)
	}{
		{"messages that are too large", func(t *testing.T, n *testnet.Network) { t.Helper(); oversized(t, n.Nodes[open]) }},
		{"bytes that are no message", func(t *testing.T, n *testnet.Network) { t.Helper(); malformed(t, n.Nodes[open]) }},
		{"bytes that are no gRPC", func(t *testing.T, n *testnet.Network) { t.Helper(); foreign(t, n.Nodes[usual]) }},
		{"connections without end", func(t *testing.T, n *testnet.Network) { t.Helper(); connections(t, n, usual) }},
		{"forged transactions", func(t *testing.T, n *testnet.Network) {
			t.Helper()
			got := forgeries(t, l.domain, n.Nodes[open])
			if got[codes.InvalidArgument] < abuseCalls/2 {
				t.Errorf("answers: %v, want most to be looked at and refused", got)
			}
		}},
		{"more calls than anybody may make", func(t *testing.T, n *testnet.Network) {
			t.Helper()
			if got := forgeries(t, l.domain, n.Nodes[usual]); got[codes.ResourceExhausted] == 0 {
				t.Errorf("answers: %v, want some refused for their number", got)
			}
		}},
	} {
		t.Run(attack.name, func(t *testing.T) {
			before, begin := l.count(), time.Now()
			attack.run(t, nw)
			l.more(t, 3, "settlements after the attack")
			t.Logf("%v, %d settlements meanwhile and until now", time.Since(begin).Round(time.Millisecond), l.count()-before)
		})
	}
	grown := make([]int, len(nw.Nodes))
	for i := range nw.Nodes {
		grown[i] = memory(t, nw.PID(i)) - before[i]
	}
	peaceful := max(grown[2], grown[3])
	for _, i := range []int{open, usual} {
		t.Logf("%s grew by %d MiB, the others by up to %d", nw.Nodes[i].Name, grown[i]>>20, peaceful>>20)
		if grown[i] > peaceful+abuseMemory {
			t.Errorf("%s grew by %d MiB, the others by %d", nw.Nodes[i].Name, grown[i]>>20, peaceful>>20)
		}
	}
	for _, i := range []int{open, usual} { //nolint:paralleltest // the attacks follow each other on one network
		ready(t, nw, i)
		dial(t, nw, i) // it reads the network, so it is served
		if log := logOf(t, nw, i); strings.Contains(log, "panic") || strings.Contains(log, "too many open files") {
			t.Errorf("the log of %s tells of worse", nw.Nodes[i].Name)
		}
	}
	end()
	l.verify(t, nw)
}

// rawCodec sends bytes as they are.
type rawCodec struct{}

func (rawCodec) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil } //nolint:errcheck,forcetypeassert // only of this test

func (rawCodec) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = bytes.Clone(data) //nolint:errcheck,forcetypeassert // only of this test
	return nil
}

func (rawCodec) Name() string { return "proto" }

func plainConn(t *testing.T, n testnet.Node) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(n.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // the node may be gone
	return conn
}

// methods are all methods that take one message.
func methods() []string {
	var list []string
	for _, s := range []grpc.ServiceDesc{
		accountv1.AccountService_ServiceDesc, channelv1.ChannelService_ServiceDesc,
		nodev1.NodeService_ServiceDesc, settlementv1.SettlementService_ServiceDesc,
		servicev1.ServiceChainService_ServiceDesc,
	} {
		for _, m := range s.Methods {
			list = append(list, "/"+s.ServiceName+"/"+m.MethodName)
		}
	}
	return list
}

// oversized sends messages and headers beyond the limits.
func oversized(t *testing.T, n testnet.Node) {
	t.Helper()
	conn := plainConn(t, n)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	large, answer := make([]byte, 4<<20+1), []byte(nil)
	for _, m := range methods() {
		err := conn.Invoke(ctx, m, &large, &answer, grpc.ForceCodec(rawCodec{}))
		if code := status.Code(err); code != codes.ResourceExhausted {
			t.Errorf("%s: %v, want ResourceExhausted", m, err)
		}
	}
	heavy := metadata.AppendToOutgoingContext(ctx, "x-heavy", strings.Repeat("x", 64<<10))
	empty := []byte(nil)
	if err := conn.Invoke(heavy, nodev1.NodeService_GetStatus_FullMethodName, &empty, &answer, grpc.ForceCodec(rawCodec{})); err == nil {
		t.Error("64 KiB of headers are taken")
	}
	if err := conn.Invoke(ctx, nodev1.NodeService_GetStatus_FullMethodName, &empty, &answer, grpc.ForceCodec(rawCodec{})); err != nil {
		t.Errorf("the connection is no good any more: %v", err)
	}
}

// malformed sends bytes that are no protobuf to every method, and calls methods
// that are none.
func malformed(t *testing.T, n testnet.Node) {
	t.Helper()
	conn := plainConn(t, n)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	answer := []byte(nil)
	for _, m := range methods() {
		for _, garbage := range [][]byte{
			bytes.Repeat([]byte{0xff}, 64),
			{0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f},   // a field of 4 GiB
			bytes.Repeat([]byte{0x0b}, 10_000),     // groups within groups
			{0x0a, 0x04, 0xc3, 0x28, 0xa0, 0xa1},   // a text that is not UTF-8, or a name that is none
			bytes.Repeat([]byte{0x12, 0x00}, 1000), // a field again and again
		} {
			err := conn.Invoke(ctx, m, &garbage, &answer, grpc.ForceCodec(rawCodec{}))
			switch code := status.Code(err); code {
			case codes.Unknown, codes.Unavailable, codes.DeadlineExceeded:
				t.Errorf("%s: % x: %v", m, garbage[:6], err)
			default:
			}
		}
	}
	for _, m := range []string{"/tributary.node.v1.NodeService/Nothing", "/nobody/Nothing", "/" + strings.Repeat("x", 4_000) + "/y"} {
		err := conn.Invoke(ctx, m, &answer, &answer, grpc.ForceCodec(rawCodec{}))
		if code := status.Code(err); code != codes.Unimplemented {
			t.Errorf("%.40s: %v, want Unimplemented", m, err)
		}
	}
}

// foreign speaks other protocols to all ports. The node hangs up.
func foreign(t *testing.T, n testnet.Node) {
	t.Helper()
	noise := make([]byte, 64<<10)
	for i := range noise {
		noise[i] = byte(i * i >> 3)
	}
	var all sync.WaitGroup
	for _, address := range []string{n.GRPC, n.P2P, n.HTTP} {
		for name, data := range map[string][]byte{
			"HTTP/1": []byte("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), "TLS": {0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3}, "noise": noise,
		} {
			all.Go(func() {
				conn, err := net.DialTimeout("tcp", address, patience)
				if err != nil {
					t.Errorf("%s to %s: %v", name, address, err)
					return
				}
				defer func() { _ = conn.Close() }() // it may be closed
				_ = conn.SetDeadline(time.Now().Add(patience))
				_, _ = conn.Write(data) // the node may hang up before the end
				if _, err := io.Copy(io.Discard, io.LimitReader(conn, 1<<20)); err != nil && os.IsTimeout(err) {
					t.Errorf("%s keeps a connection open that speaks %s", address, name)
				}
			})
		}
	}
	all.Wait()
}

// connections opens thousands of connections to the ports of a node at once.
func connections(t *testing.T, network *testnet.Network, victim int) {
	t.Helper()
	n := network.Nodes[victim]
	before := files(t, network.PID(victim))
	var mu sync.Mutex
	var held []net.Conn
	defer func() {
		for _, c := range held {
			_ = c.Close() // most were closed by the node
		}
	}()
	var all sync.WaitGroup
	work := make(chan string)
	for range abuseCallers {
		all.Go(func() {
			for address := range work {
				conn, err := net.DialTimeout("tcp", address, 10*time.Second)
				if err != nil {
					continue // refused is as good
				}
				mu.Lock()
				held = append(held, conn)
				mu.Unlock()
			}
		})
	}
	most := 0
	for i := range 2 * abuseConnections {
		work <- []string{n.GRPC, n.P2P}[i%2]
		if i%500 == 0 {
			most = max(most, files(t, network.PID(victim)))
		}
	}
	close(work)
	all.Wait()
	most = max(most, files(t, network.PID(victim)))
	t.Logf("%d connections opened; the node held %d files, before %d", len(held), most, before)
	if len(held) < abuseConnections {
		t.Errorf("only %d connections could be opened: the test proves nothing", len(held))
	}
	if most > before+abuseFiles {
		t.Errorf("the node held %d files, before %d", most, before)
	}
}

// forgeries calls a node with transactions whose signatures are not their
// signer's, and with what is none, and counts the answers.
func forgeries(t *testing.T, domain chain.Domain, n testnet.Node) map[codes.Code]int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	counts := make([]map[codes.Code]int, abuseCallers)
	var all sync.WaitGroup
	for caller := range abuseCallers {
		counts[caller] = map[codes.Code]int{}
		service := nodev1.NewNodeServiceClient(plainConn(t, n))
		all.Go(func() {
			for i := range abuseCalls / abuseCallers {
				_, err := service.SubmitTransaction(ctx, &nodev1.SubmitTransactionRequest{SignedTx: forgery(domain, caller, i)})
				counts[caller][status.Code(err)]++
			}
		})
	}
	all.Wait()
	sum := map[codes.Code]int{}
	for _, c := range counts {
		for code := range maps.Keys(c) {
			sum[code] += c[code]
		}
	}
	for _, code := range []codes.Code{codes.OK, codes.Internal, codes.Unknown, codes.Unavailable, codes.DeadlineExceeded} {
		if sum[code] > 0 {
			t.Errorf("%d answers are %v", sum[code], code)
		}
	}
	t.Logf("answers: %v", sum)
	return sum
}

// forgery is a transaction that looks like one of alice, who has money, or is
// spoiled in another way. No two are the same.
func forgery(domain chain.Domain, caller, i int) []byte {
	salt := ledger.HashOf("trib/e2e/forgery", fmt.Append(nil, caller, i))
	raw := chain.SignTx(domain, testnet.Key("alice"), chain.TxFields{
		Kind: chain.KindTransfer, Nonce: uint64(i % 200), MaxFee: ledger.DropsPerCoin + ledger.Amount(i), Payload: payOne(), //nolint:gosec // small
	})
	switch i % 4 {
	case 0: // random bytes
		return bytes.Repeat(salt[:], 10)
	case 1: // cut off
		return raw[:len(raw)-1-i%50]
	case 2: // of another network
		other := domain
		other.Network = ledger.HashOf("trib/e2e/network", salt[:])
		return chain.SignTx(other, testnet.Key("alice"), chain.TxFields{Kind: chain.KindTransfer, MaxFee: 1, Payload: payOne()})
	default: // forged
		raw[len(raw)-40] ^= byte(1 + caller)
		return raw
	}
}

// memory is the resident set of a process, in bytes.
func memory(t *testing.T, pid int) int {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(pid), "status"))
	if err != nil {
		t.Skipf("no /proc: %v", err)
	}
	var kib int
	for line := range strings.Lines(string(data)) {
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kib); err == nil {
			return kib << 10
		}
	}
	t.Fatalf("process %d has no resident set", pid)
	return 0
}

// files counts the open files of a process.
func files(t *testing.T, pid int) int {
	t.Helper()
	list, err := os.ReadDir(filepath.Join("/proc", fmt.Sprint(pid), "fd"))
	if err != nil {
		t.Skipf("no /proc: %v", err)
	}
	return len(list)
}
