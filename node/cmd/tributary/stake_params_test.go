package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
)

// TestTheCapIsNoPromise: beside ten others of 1 %, one with 90 % of the stake has far
// more than the cap, and 'stake params' says so.
func TestTheCapIsNoPromise(t *testing.T) {
	t.Parallel()
	p := staking.DefaultParams()
	p.PowerCapBps = 4_000
	var list []committee.Candidate
	for i := range 11 {
		stake := uint64(1_000_000_000)
		if i == 0 {
			stake *= 90
		}
		list = append(list, committee.Candidate{Validator: uint64(i), ConsensusKey: [32]byte{byte(i)}, Stake: stake, SelfStake: stake})
	}
	com := committee.Committee{Members: committee.Elect(committee.Rules{Seats: 100, PowerCapBps: p.PowerCapBps}, ledger.Hash{}, list)}
	status := client.StakingStatus{Enabled: true, Members: uint32(len(com.Members)), TotalPower: com.TotalPower()}
	r := newStakeParamsResult(status, com.Members[0].Power, p)
	var out bytes.Buffer
	if err := (&cli{stdout: &out, output: "table"}).print(r, r.fields); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"wanted cap on the power of one", "40 %, gives way when it would cost a quarter of the stake", "most power of one now", "86.67 %"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
}
