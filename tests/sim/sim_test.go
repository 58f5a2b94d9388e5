package sim_test

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tributary-network/tributary/tests/sim"
)

const (
	seeds      = 1_000
	shortSeeds = 100
	shares     = 8

	manyBlocks = 40 // of main, in trouble
)

// TestMain lets the heap grow: worlds are small and made anew a thousand times, and
// collecting them would take a third of the time.
func TestMain(m *testing.M) {
	debug.SetGCPercent(2000)
	os.Exit(m.Run())
}

// number returns the value of an environment variable, or otherwise.
func number(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s=%q: want a number", name, text)
	}
	return n
}

// TestSimulation runs the seeds 1 to 1,000, or SEEDS of them, or SEED alone; BLOCKS is how
// many blocks a seed has: see sim.Config.
func TestSimulation(t *testing.T) {
	t.Parallel()
	last, blocks := number(t, "SEEDS", seeds), int(number(t, "BLOCKS", sim.DefaultBlocks))
	if testing.Short() && os.Getenv("SEEDS") == "" {
		last = shortSeeds
	}
	keys := sim.NewKeys()
	if one := number(t, "SEED", 0); one != 0 {
		counts, digest, err := sim.Run(sim.Config{Seed: one, Blocks: blocks}, keys)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("seed %d: %+v, digest %s", one, counts, digest)
		return
	}
	var all [shares]sim.Counts
	t.Cleanup(func() {
		var sum sim.Counts
		for i := range all {
			sum.Add(&all[i])
		}
		t.Logf("%+v", sum)
		if last >= seeds && blocks >= sim.DefaultBlocks && !t.Failed() {
			requireAll(t, &sum)
		}
	})
	for share := range uint64(shares) {
		t.Run(fmt.Sprint("share ", share), func(t *testing.T) {
			t.Parallel()
			for seed := last*share/shares + 1; seed <= last*(share+1)/shares; seed++ {
				counts, _, err := sim.Run(sim.Config{Seed: seed, Blocks: blocks}, keys)
				if err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				all[share].Add(&counts)
			}
		})
	}
}

// TestManyShards runs networks that begin with many shards, or with SHARDS of them, by SEED:
// messages cross from each to others under the same rules and with the same checks.
func TestManyShards(t *testing.T) {
	t.Parallel()
	keys := sim.NewKeys()
	rows := []sim.Config{{Shards: 64, Seed: 1}, {Shards: 256, Seed: 3}} // the first has a corrupt shard
	if shards := number(t, "SHARDS", 0); shards > 0 {
		rows = []sim.Config{{Shards: int(shards), Seed: number(t, "SEED", 1)}}
	}
	for _, c := range rows {
		c.Blocks = int(number(t, "BLOCKS", manyBlocks))
		t.Run(fmt.Sprint(c.Shards, " shards"), func(t *testing.T) {
			t.Parallel()
			counts, _, err := sim.Run(c, keys)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d shards: %d messages, %d of them from shard to shard, between %d pairs, in %d blocks: %+v",
				c.Shards, counts.Executed, counts.Crossed, counts.Ways, counts.Blocks, counts)
		})
	}
}

// TestManyShardsFault: what breaks a network with many shards is found, too.
func TestManyShardsFault(t *testing.T) {
	t.Parallel()
	_, _, err := sim.Run(sim.Config{Shards: 32, Seed: 1, Blocks: manyBlocks, Fault: sim.FaultTwice}, sim.NewKeys())
	if !errors.Is(err, sim.ErrFailed) || !strings.Contains(err.Error(), "is next") || !strings.Contains(err.Error(), "SHARDS=32 ") {
		t.Errorf("a message that is taken twice: %v", err)
	}
}

// requireAll: a simulation in which something never happens does not test it.
func requireAll(t *testing.T, c *sim.Counts) {
	t.Helper()
	v := reflect.ValueOf(*c)
	for i := range v.NumField() {
		if n := v.Field(i).Int(); n < 10 {
			t.Errorf("%s is %d in all of these seeds", v.Type().Field(i).Name, n)
		}
	}
}

// TestRepeats: a seed does the same each time.
func TestRepeats(t *testing.T) {
	t.Parallel()
	keys := sim.NewKeys()
	for seed := uint64(1); seed <= 6; seed++ {
		a, first, err := sim.Run(sim.Config{Seed: seed}, keys)
		if err != nil {
			t.Fatal(err)
		}
		b, second, err := sim.Run(sim.Config{Seed: seed}, keys)
		if err != nil || first != second || a != b {
			t.Errorf("seed %d has two runs: %v", seed, err)
		}
	}
}

// TestFaults: what breaks the network is found, by the invariant that it breaks.
func TestFaults(t *testing.T) {
	t.Parallel()
	keys := sim.NewKeys()
	const enough = 20 // seeds
	for _, row := range []struct {
		name  string
		fault sim.Fault
		want  []string // texts, of which any may be first
	}{
		{"signatures", sim.FaultSignatures, []string{"were signed", "signed by the payer: false", "signed away"}},
		{"certificates", sim.FaultCertificates, []string{"which it did not decide", "which is honest"}},
		{"forget", sim.FaultForget, []string{"is listed again and is another one", "did not send", "carry", "carried", "has messages of"}},
		{"twice", sim.FaultTwice, []string{"is next"}},
		{"mint", sim.FaultMint, []string{"value is not conserved"}},
		{"rewrite", sim.FaultRewrite, []string{"replay"}},
		{"heir", sim.FaultHeir, []string{"does not have message", "has messages of", "is next", "did not send", "come to rest", "outbox: message"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			for seed := uint64(1); seed <= enough; seed++ {
				_, _, err := sim.Run(sim.Config{Seed: seed, Fault: row.fault}, keys)
				if err == nil {
					continue
				}
				if !errors.Is(err, sim.ErrFailed) || !strings.Contains(err.Error(), fmt.Sprintf("SEED=%d ", seed)) {
					t.Errorf("the failure does not name its seed: %v", err)
				}
				if !slices.ContainsFunc(row.want, func(s string) bool { return strings.Contains(err.Error(), s) }) {
					t.Errorf("found by another invariant: %v", err)
				}
				return
			}
			t.Errorf("not found in %d seeds", enough)
		})
	}
}
