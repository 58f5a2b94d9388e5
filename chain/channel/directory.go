package channel

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/tributary-network/tributary/chain"
)

// Place is where a lane from 1 to 63 is kept.
type Place struct {
	Lane uint8
	Row  uint64 // of the lane table
}

// Directory finds the lanes from 1 to 63 of a channel: those that were used,
// ascending. It is one value of the state, so that a channel with many lanes
// costs the state's tree one key, and its end one deletion.
type Directory []Place

const (
	placeSize = 9

	// MaxDirectorySize is the length of the longest encoded Directory, in bytes.
	MaxDirectorySize = (Lanes - 1) * placeSize
)

// Encode returns the value of the directory: lane u8 | row u64 for each lane.
func (d Directory) Encode() []byte {
	b := make([]byte, 0, len(d)*placeSize)
	for _, p := range d {
		b = binary.BigEndian.AppendUint64(append(b, p.Lane), p.Row)
	}
	return b
}

// DecodeDirectory reads a value written by Directory.Encode. A directory has one
// lane at least.
func DecodeDirectory(b []byte) (Directory, error) {
	if len(b) == 0 || len(b) > MaxDirectorySize || len(b)%placeSize != 0 {
		return nil, fmt.Errorf("directory of %d bytes, want %d for each of 1 to %d lanes", len(b), placeSize, Lanes-1)
	}
	d := make(Directory, len(b)/placeSize)
	last := uint8(0)
	for i := range d {
		p := b[i*placeSize:]
		d[i] = Place{Lane: p[0], Row: binary.BigEndian.Uint64(p[1:])}
		if p[0] <= last || p[0] >= Lanes {
			return nil, fmt.Errorf("directory has lane %d after %d, want strictly ascending from 1 to %d", p[0], last, Lanes-1)
		}
		last = p[0]
	}
	return d, nil
}

// used returns the set of lanes in d, as a channel's row has it.
func (d Directory) used() (lanes uint64) {
	for _, p := range d {
		lanes |= 1 << p.Lane
	}
	return lanes
}

// find returns the position in d of lane, or where it would be.
func (d Directory) find(lane uint8) (at int, ok bool) {
	return slices.BinarySearchFunc(d, lane, func(p Place, lane uint8) int { return cmp.Compare(p.Lane, lane) })
}

// Find returns the row of the lane table that holds lane.
func (d Directory) Find(lane uint8) (row uint64, ok bool) {
	i, ok := d.find(lane)
	if !ok {
		return 0, false
	}
	return d[i].Row, true
}

// directoryAt returns the directory of channel index, and an error if it has
// other lanes than those in used, which names one at least.
func directoryAt(v chain.View, index, used uint64) (Directory, error) {
	d, err := DecodeDirectory(v.Get(DirectoryKey(index)))
	if err == nil && d.used() != used {
		err = errors.New("the directory has other lanes than the channel's row")
	}
	return d, err
}

// mustDirectoryAt is directoryAt for the rules. It returns no directory for no
// lanes, and panics on an error: a replica that cannot read its own state must
// stop.
func mustDirectoryAt(v chain.View, index, used uint64) Directory {
	if used == 0 {
		return nil
	}
	d, err := directoryAt(v, index, used)
	if err != nil {
		panic(fmt.Errorf("channel %d: %w", index, err))
	}
	return d
}

// DirectoryKey returns the state key of the directory of channel index, which is there if a
// lane from 1 to 63 was used.
func DirectoryKey(index uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{prefixDirectory}, index)
}

// laneOf returns a lane of the channel with row r, and the row of the lane
// table that holds it, valid if the lane is not 0 and was used.
func laneOf(v chain.View, r row, index uint64, lane uint8) (Lane, uint64) {
	switch {
	case lane == 0:
		return laneAt(r[offLane0:]), 0
	case r.uint64(offLanesUsed)>>lane&1 == 0:
		return Lane{}, 0
	}
	d := mustDirectoryAt(v, index, r.furtherLanes())
	i, _ := d.find(lane)
	l, err := DecodeLane(v.Get(LaneRows().Key(d[i].Row)))
	if err != nil {
		panic(fmt.Errorf("lane %d of channel %d: %w", lane, index, err))
	}
	return l, d[i].Row
}

// addLane stores the first state of a lane other than 0 of the channel with row
// r, in the next row of the lane table.
func addLane(o *chain.Overlay, r row, l *Lane, index uint64, lane uint8) {
	n := ReadCounters(o)
	at := n.Lanes
	n.Lanes++
	o.Set(CountersKey(), n.Encode())
	d := mustDirectoryAt(o, index, r.furtherLanes())
	i, _ := d.find(lane)
	d = slices.Insert(d, i, Place{Lane: lane, Row: at})
	o.Set(DirectoryKey(index), d.Encode())
	o.Set(LaneRows().Key(at), l.Encode())
}

// eraseLanes deletes the lanes other than 0 of the channel with row r.
func eraseLanes(o *chain.Overlay, r row, index uint64) {
	d := mustDirectoryAt(o, index, r.furtherLanes())
	if len(d) == 0 {
		return
	}
	for _, p := range d {
		o.Delete(LaneRows().Key(p.Row))
	}
	o.Delete(DirectoryKey(index))
}
