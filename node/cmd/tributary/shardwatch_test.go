package main

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/chain/service"
)

// TestStepsInJSON: a block has everything in the words of the other commands, and an anchor
// alone has nothing of a block.
func TestStepsInJSON(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, want string
		step       client.ShardBlock
	}{
		{
			"block", `{"height":7,"time":"2026-01-02T03:04:05Z","epoch":2,"transactions":3,"bookings":4,` +
				`"booked":{"amount":"50drops","units":6,"work":5},"outbox":1,"imports":2,"head":7,"anchored":5,"generation":1,"level_bps":2500}`,
			client.ShardBlock{
				Height: 7, Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Epoch: 2, Transactions: 3, Bookings: 4,
				Booked: service.Sums{Amount: 50, Units: 6, Work: 5}, Outbox: 1, Imports: 2, Head: 7, Anchored: 5, Generation: 1, Level: 2_500,
			},
		},
		{
			"anchor", `{"transactions":0,"bookings":0,"outbox":0,"imports":0,"head":7,"anchored":6,"generation":0,"level_bps":0}`,
			client.ShardBlock{Head: 7, Anchored: 6},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := json.Marshal(newBlockResult(&c.step))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, string(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
