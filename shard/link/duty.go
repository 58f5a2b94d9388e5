package link

import (
	"encoding/binary"

	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
)

const (
	// Relays is how many members of a committee are expected to carry what waits on
	// a link.
	Relays = 2
	// RelayTimeout is after how many blocks one more is expected to.
	RelayTimeout = 8
)

// Expected returns which members of a committee of n, by their index, carry what
// is on a link in an epoch, if the oldest of it has been provable for waited blocks
// of the chain whose committee it is: two at first, and one more after each
// RelayTimeout blocks, until all do. seed is the epoch's. The order is by lot, the
// same on every node, and another one for each link and epoch; who was expected
// before stays so. Anybody else may do it too.
func Expected(seed ledger.Hash, epoch uint64, l Link, n int, waited uint64) []int {
	members := make([]committee.Member, n)
	for i := range members {
		members[i] = committee.Member{Validator: uint64(i), Power: 1}
	}
	steps := min(waited/RelayTimeout, uint64(n))
	tag := append(l.Src.bytes(), l.Dst.bytes()...)
	tag = binary.BigEndian.AppendUint64(tag, epoch)
	drawn := committee.Draw(seed, "trib/relay/1\x00"+string(tag), members, Relays+int(steps))
	expected := make([]int, len(drawn))
	for i, m := range drawn {
		expected[i] = int(m.Validator)
	}
	return expected
}
