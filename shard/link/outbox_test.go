package link_test

import (
	"slices"
	"testing"

	"github.com/tributary-network/tributary/shard/link"
)

// An outbox that is made of its leaves is the one that they were taken from; leaves in
// another order are none.
func TestOutboxOfItsLeaves(t *testing.T) {
	t.Parallel()
	ack := func(bucket uint8) link.Leaf {
		return link.Leaf{Ack: &link.Ack{Link: link.Link{Src: link.Place{Service: 1, Bucket: bucket}, Dst: link.Place{Service: 2}}, Next: 1}}
	}
	leaves := []link.Leaf{ack(1), ack(2), ack(3)}
	slices.SortFunc(leaves, link.Leaf.Compare)
	box, err := link.OutboxOf(leaves)
	if err != nil {
		t.Fatal(err)
	}
	again, err := link.OutboxOf(slices.Clone(box.Leaves()))
	if err != nil || again.Root() != box.Root() || box.Root().IsZero() {
		t.Errorf("root %s, want %s: %v", again.Root(), box.Root(), err)
	}
	if in, err := again.Import(9, 4, 1, 3); err != nil || len(in.Leaves) != 2 {
		t.Errorf("import %+v, %v", in, err)
	}
	if empty, err := link.OutboxOf(nil); err != nil || !empty.Root().IsZero() {
		t.Errorf("an outbox of nothing: %v", err)
	}
	for name, wrong := range map[string][]link.Leaf{
		"reversed": {leaves[1], leaves[0]}, "repeated": {leaves[0], leaves[0]},
	} {
		if _, err := link.OutboxOf(wrong); err == nil {
			t.Errorf("leaves that are %s make an outbox", name)
		}
	}
}
