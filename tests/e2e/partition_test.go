package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/node/config"
	"github.com/tributary-network/tributary/node/testnet"
	"github.com/tributary-network/tributary/shard"
)

// wires are what the shards of a network's nodes reach each other over: each node tells
// of an address of its own on loopback, where what comes is passed on to its ports until
// the wire is cut.
type wires struct {
	first []int // port of each node's first shard
	list  map[string]*wire
}

// wire passes connections on to one port.
type wire struct {
	target string

	mu    sync.Mutex
	cut   bool
	ends  map[net.Conn]bool
	group sync.WaitGroup
}

// wiredPorts is how many ports of each node are wired, more than it has shards.
const wiredPorts = 16

// startWires lays wires for so many nodes.
func startWires(t *testing.T, nodes int) *wires {
	t.Helper()
	w := &wires{list: map[string]*wire{}}
	for i := range nodes {
		for try := 0; len(w.first) == i; try++ {
			first := 12_000 + wiredPorts*rand.IntN(1_000) //nolint:gosec // any will do
			if err := w.lay(t, i, first); err != nil && try == 20 {
				t.Fatal(err)
			} else if err == nil {
				w.first = append(w.first, first)
			}
		}
	}
	return w
}

// wiredHost is where a node is reached by wire.
func wiredHost(node int) string { return fmt.Sprintf("127.0.0.%d", 2+node) }

// lay lays the wires of a node, or none.
func (w *wires) lay(t *testing.T, node, first int) (err error) {
	t.Helper()
	var open []net.Listener
	defer func() {
		for _, l := range open {
			if err != nil {
				_ = l.Close() // it was never used
			}
		}
	}()
	var c net.ListenConfig
	for port := first; port < first+wiredPorts; port++ {
		own, err := c.Listen(t.Context(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			return err
		}
		l, err := c.Listen(t.Context(), "tcp", net.JoinHostPort(wiredHost(node), strconv.Itoa(port)))
		if err = errors.Join(err, own.Close()); err != nil {
			return err
		}
		open = append(open, l)
	}
	for i, l := range open {
		x := &wire{target: net.JoinHostPort("127.0.0.1", strconv.Itoa(first+i)), ends: map[net.Conn]bool{}}
		w.list[x.target] = x
		x.group.Go(func() { x.serve(l) })
		t.Cleanup(func() {
			_ = l.Close() // ends serve
			x.set(true)
			x.group.Wait()
		})
	}
	return nil
}

// configure has node i told of by its wires.
func (w *wires) configure(i int, c *config.Config) {
	c.Shards.FirstPort, c.Shards.ExternalHost = w.first[i], wiredHost(i)
}

// set cuts the wires that lead to addresses, or mends them.
func (w *wires) set(cut bool, addresses ...string) {
	for _, a := range addresses {
		w.list[a].set(cut)
	}
}

func (x *wire) serve(l net.Listener) {
	for {
		from, err := l.Accept()
		if err != nil {
			return
		}
		to, err := (&net.Dialer{Timeout: time.Second}).Dial("tcp", x.target)
		if err != nil || !x.add(from, to) {
			_ = from.Close() // whoever dialled tries again
			if err == nil {
				_ = to.Close()
			}
			continue
		}
		x.group.Go(func() { x.pass(from, to) })
		x.group.Go(func() { x.pass(to, from) })
	}
}

// add notes the two ends of a connection, unless the wire is cut.
func (x *wire) add(ends ...net.Conn) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, c := range ends {
		if !x.cut {
			x.ends[c] = true
		}
	}
	return !x.cut
}

// pass passes on what comes until one of the two ends is closed, and closes both.
func (x *wire) pass(from, to net.Conn) {
	_, _ = io.Copy(to, from) // whatever ends it
	_, _ = from.Close(), to.Close()
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.ends, from)
}

func (x *wire) set(cut bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.cut = cut
	for c := range x.ends {
		if cut {
			_ = c.Close() // ends both ways
		}
	}
}

// shardAddresses returns where each node last said that a shard of its listens.
func shardAddresses(t *testing.T, nw *testnet.Network, id shard.ID) (list []string) {
	t.Helper()
	for i := range nw.Nodes {
		address := ""
		for line := range strings.Lines(logOf(t, nw, i)) {
			var entry struct {
				Msg, Shard, Address string
			}
			if strings.Contains(line, `"shard started"`) && json.Unmarshal([]byte(line), &entry) == nil && entry.Shard == fmt.Sprint("s", id) {
				address = entry.Address
			}
		}
		if address == "" {
			t.Fatalf("%s does not say where shard %d listens", nw.Nodes[i].Name, id)
		}
		list = append(list, address)
	}
	return list
}

// The members of a shard cannot reach each other on its chain for a while. It stands
// still, all others go on, and within half a minute of the repair everything that waited
// for the shard, and in it, has arrived once, and is paid.
func TestPartitionOfAShard(t *testing.T) {
	t.Parallel()
	w := startWires(t, testnet.DefaultValidators)
	nw := network(t, serving(testnet.Content, testnet.Proxy), exactly, func(o *testnet.Options) { o.Configure = w.configure })
	u := startUsage(t, nw, 2, testnet.Content, testnet.Proxy)
	end := u.begin(t)
	u.more(t, testnet.Content, 8, "bookings before the partition")
	u.more(t, testnet.Proxy, 4, "bookings in the shard that is cut off")
	usual := u.pace(t, dial(t, nw, 0), 48, "bookings with all shards")

	ids := allShards(t, dial(t, nw, 0))
	cut := ids[len(ids)-1]
	var nodes []*client.Client
	for i := range nw.Nodes {
		nodes = append(nodes, dial(t, nw, i))
	}
	heights := func(ctx context.Context) (list [testnet.DefaultValidators]uint64) {
		for i, c := range nodes {
			s, err := c.ShardStatus(ctx, cut)
			if err != nil || s.Moniker != nw.Nodes[i].Name {
				t.Fatalf("%s: shard %d as %q says: %v", nw.Nodes[i].Name, cut, s.Moniker, err)
			}
			list[i] = s.Height
		}
		return list
	}
	addresses := shardAddresses(t, nw, cut)
	w.set(true, addresses...)
	u.more(t, testnet.Content, 16, "bookings beside the partition")
	before := heights(t.Context())
	beside := u.pace(t, nodes[0], 48, "more bookings beside the partition")
	if after := heights(t.Context()); after != before {
		t.Errorf("shard %d went from heights %v to %v, and its members cannot reach each other", cut, before, after)
	}
	waiting := u.backlog(t, nodes[0], testnet.Proxy)
	if waiting == 0 {
		t.Error("nothing is under way to the shard that is cut off, or from it")
	}
	w.set(false, addresses...)
	repaired := time.Now()
	end()
	u.drained(t, nodes[0])
	soon(t, "all has arrived after the repair", time.Since(repaired))
	t.Logf("shard %d stood still at heights %v with %d messages under way between it and its sister", cut, before, waiting)
	for i, name := range []string{"the main chain", "the other service's shards"} {
		t.Logf("%s made a block in %v before, and in %v beside the partition", name, usual[i], beside[i])
		if beside[i] > slower*usual[i] {
			t.Errorf("%s made a block in %v before, and in %v beside the partition: more than %d times that", name, usual[i], beside[i], slower)
		}
	}
	u.verify(t, nw)
	quiet(t, nw)
}

// slower is how many times as long others may take for a block beside a shard that stands
// still. It takes nothing from them; the rest is for what else the machine does.
const slower = 4

// pace waits for so many bookings of content, and returns how long the main chain took for
// a block meanwhile, and a shard of content on average.
func (u *usageLoad) pace(t *testing.T, c *client.Client, n int, what string) (interval [2]time.Duration) {
	t.Helper()
	shards := shardsOf(t, c, testnet.Content)
	heights := func() (h [2]uint64) {
		s, err := c.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		h[0] = s.Chains[0].Height
		for i := range shards {
			s, err := c.ShardStatus(t.Context(), shards[i].ID)
			if err != nil {
				t.Fatal(err)
			}
			h[1] += s.Height
		}
		return h
	}
	before, begin := heights(), time.Now()
	u.more(t, testnet.Content, n, what)
	after, took := heights(), time.Since(begin)
	for i, chains := range []int{1, len(shards)} {
		if after[i] == before[i] {
			t.Fatalf("%s: no block in %v", what, took)
		}
		interval[i] = (took * time.Duration(chains) / time.Duration(after[i]-before[i])).Round(time.Millisecond) //nolint:gosec // few
	}
	return interval
}

// backlog is how many messages are under way from the shards of a service.
func (u *usageLoad) backlog(t *testing.T, c *client.Client, srv uint32) (n uint64) {
	t.Helper()
	for _, at := range shardsOf(t, c, srv) {
		s, err := c.ShardStatus(t.Context(), at.ID)
		if err != nil {
			t.Fatal(err)
		}
		n += s.Backlog.Outbox
	}
	return n
}
