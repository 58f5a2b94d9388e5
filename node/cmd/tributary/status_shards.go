package main

import (
	"fmt"
	"strconv"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
)

// hostedResult is what a shard has besides what every chain has.
type hostedResult struct {
	Service   uint32 `json:"service"`
	Zone      byte   `json:"zone"`
	First     byte   `json:"first_bucket"`
	Last      byte   `json:"last_bucket"`
	From      uint64 `json:"from_epoch"`
	Committee uint32 `json:"committee_size"`
	Small     bool   `json:"committee_small"`
	Anchored  uint64 `json:"anchored_height"`
	LevelBps  uint32 `json:"level_bps"`
	Address   string `json:"p2p_address,omitempty"`
	Data      uint64 `json:"data_bytes"`
	Leaving   bool   `json:"leaving,omitempty"`
}

// hostedOf says what a shard is, and in what state it is unless its chain says it.
func hostedOf(s *client.HostedShard) (r *hostedResult, state string) {
	r = &hostedResult{
		Service: s.Service, Zone: s.Zone, First: s.First, Last: s.Last, From: s.From, Committee: s.Members,
		Small: s.Small, Anchored: s.Anchored, LevelBps: s.LevelBps, Address: s.Address, Data: s.Data,
		Leaving: s.Leaving,
	}
	switch s.State {
	case "running":
	case "failed":
		state = "failed, tried again"
	default:
		state = s.State
	}
	return r, state
}

// shown is the state of a shard for people: of one that can be relied on, whether it goes
// over to others.
func (c *chainResult) shown() string {
	if c.Shard != nil && c.Shard.Leaving && c.State == stateReady {
		return "leaving"
	}
	return c.State
}

// shardRows writes the table of the shards, if there are any.
func shardRows(t *table, chains []chainResult, left int) {
	small := uint32(0)
	for i := range chains {
		ch := &chains[i]
		s := ch.Shard
		if s == nil {
			continue
		}
		if small == 0 && s.Small {
			small = s.Committee
		}
		if i == 1 {
			t.line("")
			t.row("SHARD", "STATE", "HEIGHT", "ANCHORED", "PEERS", "VALIDATOR", "COMMITTEE", "LEVEL", "PENDING", "DATA", "SERVICE", "ZONE", "BUCKETS")
		}
		t.row(ch.Name, ch.shown(), ch.Height, s.Anchored, ch.Peers, yes(ch.Validator), s.Committee, percent(uint64(s.LevelBps)), ch.PendingTxs, dataSize(s.Data),
			s.Service, s.Zone, fmt.Sprintf("%d-%d", s.First, s.Last))
	}
	if small > 0 {
		t.line("")
		t.line("Committees of %d members, as here, are easily bad: %d is safe. Rely on what is anchored.", small, shard.SafeMembers)
		t.line("(%s)", odds(int(small)))
	}
	if left > 0 {
		t.line("")
		t.line("%s more should run here: raise shards.max", plural(left, "shard"))
	}
}

// odds says how likely a committee of so many members is bad, by lot from many candidates.
func odds(members int) string {
	s := shard.SecurityOf(members, shard.BadBps)
	return fmt.Sprintf("of those drawn by lot where %d %% of the stake is bad, 1 of %s can be halted and 1 of %s certifies what it likes",
		shard.BadBps*100/ledger.BasisPoints, oneOf(s.Stall), oneOf(s.Forge))
}

// oneOf returns of how many cases, to two digits, one is such.
func oneOf(o shard.Odds) string {
	n, unit := (shard.Certain+o/2)/max(o, 1), shard.Odds(1)
	for n/unit >= 100 {
		unit *= 10
	}
	return strconv.FormatUint(uint64((n+unit/2)/unit*unit), 10)
}

// dataSize writes what something takes on disk.
func dataSize(bytes uint64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }
