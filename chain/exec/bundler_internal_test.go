package exec

import (
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/shard/link"
)

// TestBundlesAreOfOneKind: what shards wait for is not packed with what can wait, nor
// urgent records with either.
func TestBundlesAreOfOneKind(t *testing.T) {
	t.Parallel()
	b := newBundler(&Executor{traits: Traits{BlockWeight: 1 << 20}})
	classes := []link.Class{link.ClassUser, link.ClassInbound, classUrgent, link.ClassReturn, link.ClassUser, link.ClassSettlement}
	for i, c := range classes {
		b.push(&record{tx: chain.Tx{Raw: []byte{byte(i)}}, class: c, urgent: c == classUrgent})
	}
	b.pack()
	for _, row := range []struct {
		name    string
		lane    *lane
		records int
		class   link.Class
	}{
		{"urgent", &b.urgent, 1, classUrgent}, {"for shards", &b.shards, 3, link.ClassInbound}, {"users'", &b.ordinary, 2, link.ClassUser},
	} {
		row.lane.flush()
		if len(row.lane.unsent) != 1 {
			t.Errorf("%s: %d bundles, want 1", row.name, len(row.lane.unsent))
			continue
		}
		if got := row.lane.unsent[0]; len(got.records) != row.records || got.class != row.class || got.urgent != (row.class == classUrgent) {
			t.Errorf("%s: a bundle of %d records and class %d, want %d and %d", row.name, len(got.records), got.class, row.records, row.class)
		}
	}
}
