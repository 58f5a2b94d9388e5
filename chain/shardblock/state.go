package shardblock

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// The state of a shard, beside that of its service and of its links:
//
//	'c'                 the Config
//	't'                 the Status
//	'k' | epoch u64     the committee of main in that epoch: the last KeptMain
//	'h' | slot u8       a Head: of those that are known whose heights leave the rest slot,
//	                    divided by MaxHeads, the highest
//	'o' | height u64    the committee of the shard that votes from that height on: the
//	                    last KeptOwn
const (
	prefixConfig = 'c'
	prefixStatus = 't'
	prefixMain   = 'k'
	prefixHead   = 'h'
	prefixOwn    = 'o'
)

// ConfigKey returns the state key of the Config, StatusKey that of the Status.
func ConfigKey() []byte { return []byte{prefixConfig} }

// StatusKey returns the state key of the Status.
func StatusKey() []byte { return []byte{prefixStatus} }

// MainCommitteeKey returns the state key of the committee of main in an epoch.
func MainCommitteeKey(epoch uint64) []byte { return numbered(prefixMain, epoch) }

// HeadKey returns the state key of a block of main, which it shares with those that are
// a multiple of MaxHeads higher or lower.
func HeadKey(height uint64) []byte { return []byte{prefixHead, byte(height % MaxHeads)} }

// CommitteeKey returns the state key of the committee of the shard that votes from a
// height on.
func CommitteeKey(from uint64) []byte { return numbered(prefixOwn, from) }

func numbered(prefix byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{prefix}, n)
}

// Config is what holds for a shard for ever.
type Config struct {
	Network ledger.NetworkID
	// Clock is the anchor clock before the shard's first block; see link.Context.
	Clock uint64
	// EpochBlocks is how many blocks an epoch of main has: no committee can then certify
	// a height out of its epoch. 0 leaves that unchecked.
	EpochBlocks uint64
	// BeatBlocks is how far above the newest block of main that the state knows one has to be
	// that a relay brings for its own sake, so that the shard makes a block. 0 leaves that
	// unchecked.
	BeatBlocks uint64
	Params     Params
}

// ConfigSize is the length of an encoded Config in bytes.
const ConfigSize = ledger.HashSize + 12*8

// Encode returns the canonical encoding: network 32, clock 8, blocks of an epoch 8 and
// between heartbeats 8, and the parameters, 8 each: capacity (inbox, outbox, bytes, missed
// anchors), lifetime, messages under way and their bytes, heavy bytes, bytes of a message.
func (c *Config) Encode() []byte {
	w := codec.NewWriter(ConfigSize)
	c.write(w)
	return w.Bytes()
}

func (c *Config) write(w *codec.Writer) {
	w.Fixed(c.Network[:])
	w.Uint64(c.Clock)
	w.Uint64(c.EpochBlocks)
	w.Uint64(c.BeatBlocks)
	c.Params.write(w)
}

func (c *Config) read(r *codec.Reader) {
	r.Into(c.Network[:])
	c.Clock, c.EpochBlocks, c.BeatBlocks = r.Uint64(), r.Uint64(), r.Uint64()
	c.Params.read(r)
}

// DecodeConfig reads what Encode wrote.
func DecodeConfig(b []byte) (Config, error) {
	var c Config
	r := codec.NewReader(b)
	c.read(r)
	if err := r.Done(); err != nil {
		return Config{}, fmt.Errorf("decode the configuration of a shard: %w", err)
	}
	if err := c.Params.Validate(); err != nil {
		return Config{}, fmt.Errorf("decode the configuration of a shard: %w", err)
	}
	return c, nil
}

// Head is what the state remembers of a block of main.
type Head struct {
	Height     uint64
	Epoch      uint64
	StateRoot  ledger.Hash
	OutboxRoot ledger.Hash
}

// Encode returns the value under HeadKey: height 8, epoch 8, state root 32, outbox root 32.
func (h *Head) Encode() []byte {
	w := codec.NewWriter(16 + 2*ledger.HashSize)
	w.Uint64(h.Height)
	w.Uint64(h.Epoch)
	w.Fixed(h.StateRoot[:])
	w.Fixed(h.OutboxRoot[:])
	return w.Bytes()
}

// DecodeHead reads what Encode wrote.
func DecodeHead(b []byte) (Head, error) {
	r := codec.NewReader(b)
	h := Head{Height: r.Uint64(), Epoch: r.Uint64()}
	r.Into(h.StateRoot[:])
	r.Into(h.OutboxRoot[:])
	if err := r.Done(); err != nil {
		return Head{}, fmt.Errorf("decode a head of main: %w", err)
	}
	return h, nil
}

// Status is where a shard stands.
type Status struct {
	// Epoch is that of the newest committee of the shard.
	Epoch uint64
	// Generation is that which makes blocks, as their checkpoints say: see Resume.
	Generation uint32
	// Since is the first height at which that committee votes.
	Since uint64
	// Ended is the height of the shard's last block, 0 as long as that is not known. Epoch
	// is then the first that its heirs serve.
	Ended uint64
	// Outbox is how many messages of the shard's own are under way on all links from here,
	// and Bytes how many bytes they have.
	Outbox, Bytes uint64
	// Heavy and Light are the masks of a shard.Load up to the block at Loaded.
	Heavy, Light, Loaded uint64
	// First is the height of the shard's block that began Epoch, and MainFirst that of the
	// first block of Epoch on main.
	First, MainFirst uint64
	// Carried is how many bytes the blocks after First have, as a shard.Load counts them.
	Carried uint64
	// Calls is how many blocks of Epoch listed or acknowledged links again, at most
	// MaxCalls, and Called the height of the last such block.
	Calls, Called uint64
}

// StatusSize is the length of an encoded Status in bytes.
const StatusSize = 4 + 13*8

func (s *Status) fields() [13]*uint64 {
	return [13]*uint64{
		&s.Epoch, &s.Since, &s.Ended, &s.Outbox, &s.Bytes, &s.Heavy, &s.Light, &s.Loaded, &s.First, &s.MainFirst, &s.Carried,
		&s.Calls, &s.Called,
	}
}

// Encode returns the canonical encoding: the generation 4, and all other fields in their
// order, 8 each.
func (s *Status) Encode() []byte {
	w := codec.NewWriter(StatusSize)
	w.Uint32(s.Generation)
	for _, v := range s.fields() {
		w.Uint64(*v)
	}
	return w.Bytes()
}

// DecodeStatus reads what Encode wrote.
func DecodeStatus(b []byte) (Status, error) {
	r := codec.NewReader(b)
	s := Status{Generation: r.Uint32()}
	for _, v := range s.fields() {
		*v = r.Uint64()
	}
	if err := r.Done(); err != nil {
		return Status{}, fmt.Errorf("decode the status of a shard: %w", err)
	}
	return s, nil
}

// What follows reads the state for others. All of it panics if the state cannot be
// decoded: a replica that cannot read its own state must stop.

// ReadConfig returns the configuration in v.
func ReadConfig(v chain.View) Config { return must(DecodeConfig(v.Get(ConfigKey()))) }

// ReadStatus returns where the shard stands in v.
func ReadStatus(v chain.View) Status { return must(DecodeStatus(v.Get(StatusKey()))) }

// Domain returns where the records of the shard are valid.
func Domain(v chain.View) chain.Domain {
	c, s := ReadConfig(v), service.ReadShard(v)
	return service.Domain(c.Network, s.Service)
}

// Heads returns the blocks of main that the state remembers, ascending by height.
func Heads(v chain.View) (list []Head) {
	for _, b := range v.Range([]byte{prefixHead}) {
		list = append(list, must(DecodeHead(b)))
	}
	slices.SortFunc(list, func(a, b Head) int { return cmp.Compare(a.Height, b.Height) })
	return list
}

// HeadAt returns a block of main, and ok=false if the state does not remember it.
func HeadAt(v chain.View, height uint64) (h Head, ok bool) {
	h, ok = slotAt(v, height)
	return h, ok && h.Height == height
}

// slotAt returns the block of main that is remembered under the key of a height.
func slotAt(v chain.View, height uint64) (h Head, ok bool) {
	b := v.Get(HeadKey(height))
	if b == nil {
		return Head{}, false
	}
	return must(DecodeHead(b)), true
}

// newestHead returns the height of the newest block of main that the state remembers, 0 if
// there is none.
func newestHead(v chain.View) (height uint64) {
	for _, b := range v.Range([]byte{prefixHead}) {
		h := must(DecodeHead(b))
		height = max(height, h.Height)
	}
	return height
}

// MainCommittee returns the committee of main in an epoch, and ok=false if the state
// does not have it, not yet or not any more.
func MainCommittee(v chain.View, epoch uint64) (c committee.Committee, ok bool) {
	b := v.Get(MainCommitteeKey(epoch))
	if b == nil {
		return committee.Committee{}, false
	}
	return must(committee.Decode(b)), true
}

// MainEpochs returns the epochs whose committees of main the state has: all from first
// to last.
func MainEpochs(v chain.View) (first, last uint64) {
	found := false
	for k := range v.Range([]byte{prefixMain}) {
		if last = binary.BigEndian.Uint64(k[1:]); !found {
			first, found = last, true
		}
	}
	return first, last
}

// Committee returns who votes the block at height, by a state that is at least that of
// the block before; ok=false if the state has forgotten, or if the height is 0.
func Committee(v chain.View, height uint64) (c committee.Committee, ok bool) {
	var value []byte
	for k, b := range v.Range([]byte{prefixOwn}) {
		if binary.BigEndian.Uint64(k[1:]) > height {
			break
		}
		value = b
	}
	if value == nil {
		return committee.Committee{}, false
	}
	return must(committee.Decode(value)), true
}

// CommitteeOf returns the committee of the shard in an epoch, the last one if a generation
// began in it; ok=false if the state does not have it, not yet or not any more.
func CommitteeOf(v chain.View, epoch uint64) (c committee.Committee, ok bool) {
	for _, b := range v.Range([]byte{prefixOwn}) {
		if next := must(committee.Decode(b)); next.Epoch == epoch {
			c, ok = next, true
		}
	}
	return c, ok
}

// newest returns the committee of the shard that votes last, by what is known.
func newest(v chain.View) committee.Committee {
	s := ReadStatus(v)
	return must(committee.Decode(v.Get(CommitteeKey(s.Since))))
}

// keep stores a row under a number, and forgets those of the lowest numbers so that
// there are at most most.
func keep(o *chain.Overlay, prefix byte, n uint64, value []byte, most int) {
	o.Set(numbered(prefix, n), value)
	var numbers []uint64
	for k := range o.Range([]byte{prefix}) {
		numbers = append(numbers, binary.BigEndian.Uint64(k[1:]))
	}
	for _, old := range numbers[:max(0, len(numbers)-most)] {
		o.Delete(numbered(prefix, old))
	}
}

// must returns what was decoded from the state, and panics if it could not be.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
