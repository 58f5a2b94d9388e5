// Package e2e tests whole networks: validators are processes of the tributary
// program, talk over loopback, and are killed, frozen and started again while
// clients settle.
package e2e_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/node/testnet"
	"github.com/tributary-network/tributary/zone"
)

// binary is the program under test, built by TestMain unless it is given. The one that is
// built has fault points (chain/exec), which do nothing unless a test asks for it.
var (
	binary string
	given  bool
)

var long = flag.Bool("long", false, "run the tests too that take minutes on two cores, as make soak does")

// takesLong skips a test of which make test has no time: make soak runs it.
func takesLong(t *testing.T) {
	t.Helper()
	if !*long {
		t.Skip("takes minutes on two cores: make soak runs it, and so does -args -long")
	}
}

func TestMain(m *testing.M) {
	flag.StringVar(&binary, "binary", "", "the tributary program to test; the default is to build it")
	flag.Parse()
	// More at a time than this, and each would be too slow to prove anything.
	if err := flag.Set("test.parallel", strconv.Itoa(parallel())); err != nil {
		panic(err)
	}
	if given = binary != ""; given {
		os.Exit(m.Run())
	}
	code, err := build(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

// parallel is how many tests run at a time: what -parallel says, or two for each
// core.
func parallel() (n int) {
	n = 2 * runtime.GOMAXPROCS(0)
	flag.Visit(func(f *flag.Flag) {
		if f.Name == "test.parallel" {
			n = f.Value.(flag.Getter).Get().(int) //nolint:errcheck,forcetypeassert // it is a number
		}
	})
	return n
}

func build(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "tributary-e2e-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	binary = filepath.Join(dir, "tributary")
	cmd := exec.Command("go", "build", "-tags", "faultpoints", "-o", binary, "github.com/tributary-network/tributary/node/cmd/tributary")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("build the program: %w\n%s", err, out)
	}
	return m.Run(), nil
}

// patience is how long a wait lasts at least before it is taken for a hang,
// whatever its limit, which is for a machine with nothing else to do.
const patience = 4 * time.Minute

// soon fails the test if what was to happen after a repair took more than half a minute.
func soon(t *testing.T, what string, took time.Duration) {
	t.Helper()
	const limit = 30 * time.Second
	if took = took.Round(time.Millisecond); took > limit {
		t.Errorf("%s: after %v, more than %v", what, took, limit)
		return
	}
	t.Logf("%s: after %v", what, took)
}

// serving lets a network have some of the services of every test network, in two zones, and
// their shards.
func serving(services ...uint32) func(*testnet.Options) {
	return func(o *testnet.Options) {
		o.NoServices = false
		o.Services = slices.DeleteFunc(testnet.Services(), func(s zone.ServiceType) bool { return !slices.Contains(services, s.ID) })
	}
}

// oneZone lets a network have the content service only, in one zone with so many shards,
// and others there with one.
func oneZone(shards uint8, others ...uint32) func(*testnet.Options) {
	return func(o *testnet.Options) {
		serving(append(others, testnet.Content)...)(o)
		for i := range o.Services {
			s := &o.Services[i]
			s.Zones = s.Zones[:1]
			if s.ID == testnet.Content {
				s.Shards = shards
			}
		}
	}
}

// room is for networks at a time: two with shards, or four without, on two cores. They wait
// more than they compute, and with more at a time each computes more, as it waits in vain.
var room = struct {
	one    sync.Mutex // held by who takes
	places chan struct{}
}{places: make(chan struct{}, 2*runtime.GOMAXPROCS(0))}

// takeRoom waits for the room for a network until the test ends. A test that has it must not
// wait for parallel ones of its own: their turns may be those of tests that wait for room.
func takeRoom(t *testing.T, o *testnet.Options) {
	t.Helper()
	places := 1
	if !o.NoServices {
		places = 2
	}
	room.one.Lock()
	defer room.one.Unlock()
	for range places {
		room.places <- struct{}{}
		t.Cleanup(func() { <-room.places })
	}
}

// network starts four validator processes that end with the test, without services unless
// a change says so, when there is room.
func network(t *testing.T, changes ...func(*testnet.Options)) *testnet.Network {
	t.Helper()
	o := testnet.Options{
		Name: "local-e2e", NoServices: true,
		Params: func(p *settlement.Params) {
			p.MinChallenge = 5
			// Who was stopped here for a while keeps its seat.
			p.Staking.Window, p.Staking.MaxMissed = staking.MaxWindow, staking.MaxWindow-1
		},
	}
	for _, change := range changes {
		change(&o)
	}
	if o.Dir == "" {
		o.Dir = filepath.Join(t.TempDir(), "net")
	}
	takeRoom(t, &o)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	net, err := testnet.StartProcesses(ctx, binary, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := net.Stop(ctx); err != nil {
			t.Errorf("stop the network: %v", err)
		}
		keepLogs(t, net)
	})
	return net
}

// keepLogs keeps the logs of the nodes of a test that failed, with go test -artifacts.
func keepLogs(t *testing.T, net *testnet.Network) {
	t.Helper()
	if !t.Failed() {
		return
	}
	for i, n := range net.Nodes {
		data, err := os.ReadFile(net.LogFile(i))
		if err == nil {
			err = os.WriteFile(filepath.Join(t.ArtifactDir(), n.Name+".log"), data, 0o600)
		}
		if err != nil {
			t.Logf("keep the log of %s: %v", n.Name, err)
		}
	}
}

// dial connects to one node; others are used when it fails.
func dial(t *testing.T, net *testnet.Network, node int, others ...int) *client.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var targets []string
	for _, i := range others {
		targets = append(targets, net.Nodes[i].GRPC)
	}
	c, err := client.Dial(ctx, net.Nodes[node].GRPC, client.WithEndpoints(targets...))
	if err != nil {
		t.Fatalf("dial %s: %v", net.Nodes[node].Name, err)
	}
	t.Cleanup(func() { _ = c.Close() }) // the network may be gone
	return c
}

// await asks until ok, and fails the test if that takes longer than limit.
func await(t *testing.T, limit time.Duration, what string, ok func(ctx context.Context) bool) time.Duration {
	t.Helper()
	begin, limit := time.Now(), max(limit, patience)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !ok(ctx) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: not within %v", what, limit)
		}
	}
	return time.Since(begin)
}
