package committee_test

import (
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
)

var update = flag.Bool("update", false, "rewrite the golden vectors")

// goldenRecord is an election with a whale, a tie and somebody left out.
func goldenRecord() (committee.Record, []committee.Candidate) {
	list := candidates(40*unit, 1000*unit, 20*unit, 20*unit, 30*unit+5, 1)
	r := committee.Rules{Seats: 4, PowerCapBps: 3_400, MinStake: unit, MinSelfStake: unit}
	return committee.Hold(9, r, ledger.HashOf("seed"), list), list
}

// TestGolden: elections, lots, encodings and hashes never change.
func TestGolden(t *testing.T) {
	t.Parallel()
	got := map[string]string{}
	put := func(name string, b []byte) { got[name] = hex.EncodeToString(b) }
	record, list := goldenRecord()
	put("candidates", committee.EncodeCandidates(list))
	put("candidates hash", record.Candidates[:])
	put("committee", record.Committee.Encode())
	hash := record.Committee.Hash()
	put("committee hash", hash[:])
	put("record", record.Encode())
	put("short record", record.EncodeShort())
	kept := committee.HoldAfter(&record.Committee, 10, record.Rules, ledger.HashOf("seed"), nil)
	put("record of a committee that is kept", kept.Encode())
	address := record.Committee.Members[0].Address()
	put("address", address[:])

	for _, m := range record.Committee.Members {
		got[fmt.Sprintf("elected power of row %d", m.Validator)] = fmt.Sprint(m.Power)
	}
	got["elected rows"] = fmt.Sprint(rows(record.Committee.Members))
	var many []committee.Candidate
	for row := range uint64(200) {
		many = append(many, candidate(row, unit*(1+row*row*row%97)))
	}
	pool := committee.Elect(committee.Rules{Seats: 100, PowerCapBps: 200}, ledger.HashOf("seed"), many)
	got["rows elected of 200"] = fmt.Sprint(rows(pool))
	got["powers elected of 200"] = fmt.Sprint(powers(pool))
	for _, n := range []int{1, 4, 40} {
		mixed := candidates(append(slices.Repeat([]uint64{1000*unit + 5}, n), 3000*unit, 2000*unit, 10*unit, 10*unit, 10*unit)...)
		elected := committee.Elect(committee.Rules{Seats: 100, PowerCapBps: 1_000}, ledger.HashOf("seed"), mixed)
		got[fmt.Sprintf("powers with whales, dwarfs and %d others", n)] = fmt.Sprint(powers(elected))
	}
	drawn := committee.Draw(ledger.HashOf("seed"), "shard/1", pool, 12)
	got["rows drawn"] = fmt.Sprint(rows(drawn))
	got["rows after rotation"] = fmt.Sprint(rows(committee.Rotate(ledger.HashOf("next"), "shard/1", drawn, pool, 12)))

	const path = "testdata/elections.json"
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
		t.Errorf("elections or their bytes changed: %s", diff)
	}
}
