package shard_test

import (
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/shard"
)

var update = flag.Bool("update", false, "rewrite the golden vectors")

// goldenMaps are maps with everything that a map can hold.
func goldenMaps(tb testing.TB) map[string]*shard.Map {
	tb.Helper()
	genesis := local(tb)
	announced, err := announce(genesis, split(2), found(4, 200, 3), shard.Change{Kind: shard.Merge, Service: 1, Zone: 1, Shards: []shard.ID{4, 5}})
	if err != nil {
		tb.Fatal(err)
	}
	return map[string]*shard.Map{
		"empty": shard.Empty(3), "genesis": genesis, "announced": announced, "applied": after(announced, shard.Notice),
	}
}

// TestGolden: encodings and hashes of maps and loads never change.
func TestGolden(t *testing.T) {
	t.Parallel()
	got := map[string]string{}
	put := func(name string, b []byte) { got[name] = hex.EncodeToString(b) }
	for name, m := range goldenMaps(t) {
		hash := m.Hash()
		put("map "+name, m.Encode())
		put("hash of map "+name, hash[:])
	}
	put("load", shard.Load{Shard: 7, Heavy: 1 << 63, Light: 5}.Encode())
	report := shard.Report{Epoch: 9, Load: shard.Load{Shard: 7, Heavy: 1 << 63, Light: 5}}
	put("report", report.Encode())
	compare(t, "testdata/maps.json", got)
}

// TestGoldenAssignments: draws, their encodings and what they depend on never
// change.
func TestGoldenAssignments(t *testing.T) {
	t.Parallel()
	got := map[string]string{}
	put := func(name string, b []byte) { got[name] = hex.EncodeToString(b) }
	p := pool(1, 5)
	for row := range uint64(40) {
		p.Candidates = append(p.Candidates, candidate(row, unit*(100+row*row%97)))
		p.Candidates[row].WorkBps = uint32(row * 200)
	}
	small := pool(2, 5, 9, 8, 7)
	small.Rules = committee.Rules{Seats: 5, PowerCapBps: 3_400, MinStake: unit, MinSelfStake: unit}
	small.Candidates[1].WorkBps = shard.MaxWorkBps
	put("pool", small.Encode())
	hash := small.Hash()
	put("hash of pool", hash[:])

	m := establish(t, found(1, 0, 2), found(2, 0, 1))
	in := shard.Inputs{Seed: seedOf(0), Map: m, Pools: []shard.Pool{p, small}}
	genesis := shard.Assign(in)
	in.Previous, in.Seed, in.Map, in.Redraw = genesis, seedOf(1), shard.Apply(m), []shard.ID{3}
	for name, list := range map[string][]shard.Assignment{
		"of the genesis": genesis, "an epoch later": shard.Assign(in), "drawn again": {shard.Redraw(in, 2, 1)},
	} {
		for _, a := range list {
			var text string
			for _, member := range a.Committee.Members {
				text += fmt.Sprintf("%d:%d ", member.Validator, member.Power)
			}
			got[fmt.Sprintf("shard %d %s", a.Shard, name)] = text
		}
	}
	put("assignment", genesis[2].Encode())
	short := genesis[2].Short()
	put("short", short.Encode())
	compare(t, "testdata/assignments.json", got)
}

func compare(t *testing.T, path string, got map[string]string) {
	t.Helper()
	if *update {
		text, err := json.MarshalIndent(got, "", "  ")
		if err == nil {
			err = os.WriteFile(path, append(text, '\n'), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]string
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("encodings or hashes changed: %s", diff)
	}
}
