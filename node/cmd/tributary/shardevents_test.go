package main

import (
	"testing"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/shard"
)

// TestGenerationInWords: what happened to a shard says which generation begins, where, and
// with whom.
func TestGenerationInWords(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		e    client.ShardEvent
		want string
	}{
		{"another committee", client.ShardEvent{Last: 40, Epoch: 4, Round: 1, Generation: 2}, "generation 2 from height 41, another committee by draw 1 of epoch 4"},
		{"restarted", client.ShardEvent{Last: 7, Epoch: 9, Generation: 1}, "generation 1 from height 8, restarted with the drawn committee of epoch 9"},
		{"before its first height", client.ShardEvent{Epoch: 4, Round: 3, Generation: 1}, "generation 1 from height 1, another committee by draw 3 of epoch 4"},
	} {
		row.e.Kind, row.e.Shards = "drawn-anew", []shard.ID{2}
		r := newShardEvent(&row.e)
		if got := r.says(); got != row.want || r.Generation != row.e.Generation {
			t.Errorf("%s: generation %d, %q, want %q", row.name, r.Generation, got, row.want)
		}
	}
}
