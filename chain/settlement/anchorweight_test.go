package settlement_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/zone"
)

// heavy returns a run of heights of a committee of as many members, each signed by others.
func heavy(members, heights int) cert.Run {
	r := cert.Run{Chain: shard.FirstID, First: 1}
	for i := range heights {
		bitmap := make([]byte, (members+7)/8)
		for j := range bitmap {
			bitmap[j] = 0xff
		}
		bitmap[0] = byte(i + 1)
		r.Sets = append(r.Sets, cert.SignerSet{Epoch: 1, Bitmap: bitmap})
		r.Heads = append(r.Heads, cert.Head{Set: uint8(i)})
	}
	return r
}

// TestAnchorsFit: whatever the rules take of anchors and of conflicts fits every block that
// a network can have, and so does one height at least of every committee. What is too heavy
// is refused before anybody has it in a block.
func TestAnchorsFit(t *testing.T) {
	t.Parallel()
	p := settlement.DefaultParams()
	for _, size := range []int64{chain.MaxBundleSize, p.MaxBlockBytes, 8 << 20} {
		p.MaxBlockBytes = size
		if err := p.Validate(); err != nil {
			t.Fatal(err)
		}
		for _, members := range []int{4, 32, 100, 1_000, committee.MaxSeats} {
			name := fmt.Sprintf("%d members, blocks of %d bytes", members, size)
			fits := 0
			for _, heights := range []int{1, 2, 4, 8, 16, 32, 64} {
				a := anchor.Anchors{Runs: []cert.Run{heavy(members, heights)}}
				if anchor.Weight(&a) <= p.MaxAnchorWeight() {
					fits = heights
				}
			}
			if fits == 0 {
				t.Errorf("%s: not one height", name)
				continue
			}
			r := heavy(members, fits)
			for kind, payload := range map[chain.Kind]encoder{
				chain.KindAnchor: &anchor.Anchors{Runs: []cert.Run{r}}, chain.KindAnchorConflict: &anchor.Conflict{Height: 1, A: r, B: r},
			} {
				tx := chain.Tx{Kind: kind, Payload: payload.Encode()}
				if len(tx.Payload)+chain.TxOverhead > chain.MaxTxSize {
					t.Errorf("%s: %s of %d bytes", name, kind, len(tx.Payload))
				}
				if got := settlement.Weight(&tx); got > p.MaxBlockWeight() || got < 1<<18 {
					t.Errorf("%s: %s weighs %d, a block at most %d", name, kind, got, p.MaxBlockWeight())
				}
			}
		}
	}
	b := newServed(t)
	id := b.shards().Zone(1, 0)[0].ID
	r := heavy(committee.MaxSeats, 64)
	r.Network, r.Chain = b.domain.Network, id
	b.refused(6, anchorsOf(r), chain.CodeTooLarge)
	b.refused(6, &anchor.Conflict{Height: 1, A: r, B: r}, chain.CodeTooLarge)
}

// TestManyGuilty: more than one transaction punishes are to blame: the same evidence once
// more punishes the others, although their committee has lost its seats meanwhile.
func TestManyGuilty(t *testing.T) {
	t.Parallel()
	const validators = settlement.MaxPunished + 8
	stakes := make([]uint64, validators)
	for i := range stakes {
		stakes[i] = 50_000
	}
	b := &bench{t: t, params: serviceParams(), domain: testDomain, nonces: make([]uint64, validators+2)}
	for i := range b.nonces {
		b.keys, b.addrs = append(b.keys, keyOf("account", i)), append(b.addrs, accountOf(i))
	}
	g := stakedGenesis(b.params, validators+2, stakes...)
	g.Services = []zone.ServiceType{serviceOf(5, 1, "content", 0)}
	g.Services[0].CommitteeSize = validators - 2
	changes, err := g.State()
	if err != nil {
		t.Fatal(err)
	}
	b.view = newState(changes)
	id := b.shards().Zone(1, 0)[0].ID
	in := b.twice(id, 0, 1)
	by, guilty, total := validators, []uint32(nil), uint32(validators-2)
	for range 3 {
		res := b.block(b.signed(by, in))
		r := res.Receipts[0]
		if r.Code != chain.CodeOK {
			if r.Code != chain.CodeEvidenceKnown || r.Paid != 0 {
				t.Errorf("%s: %s", r.Code, r.Detail)
			}
			break
		}
		if r.Paid != r.Fee || res.Shards[0].Kind != settlement.ShardConflict {
			t.Errorf("paid back %d of %d: %+v", r.Paid, r.Fee, res.Shards)
		}
		guilty = append(guilty, res.Shards[0].Guilty)
	}
	if want := []uint32{settlement.MaxPunished, total - settlement.MaxPunished}; !slices.Equal(guilty, want) {
		t.Errorf("punished are %d, want %d", guilty, want)
	}
}
