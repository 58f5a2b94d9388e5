// Package zone says under which policy the shards of a zone live, and what a
// service is: its name and unit, what its providers prove, where its zones are
// and how many shards they begin with.
//
// A zone is a group of shards of one service with one policy: region, fees,
// limits, replication, and the kinds of proofs that count there. Its number is
// the first byte of the addresses of the accounts that are at home in it, so a
// number means the same place in every service. Which shards a zone has, and how
// they change, is the map's business (shard.Map); a policy changes only with the
// service that holds it, by a version one higher.
//
// A ServiceType is registered on the main chain by its owner. Registering it
// founds its zones: ServiceType.Foundings are what shard.Announce takes. A newer
// version may add zones and change policies; what other people's channels and
// accounts rely on stays (see ServiceType.CheckSuccessor).
//
// Source: the design's chapters on places and on the registry of services. Fees
// are drops and basis points, sizes bytes. What decodes is valid: every decoder
// ends in Validate, whose errors are the sentinels here, wrapped with the field
// and its range.
//
// It belongs to row 1b of the dependency order: pure functions of values. All of
// it is safe for concurrent use.
package zone

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/tributary-network/tributary/ledger/codec"
)

// MaxZones is the largest number of zones of a service.
const MaxZones = 64

// Errors of registries.
var (
	// ErrBadZones means no zones, too many, or zones that do not ascend.
	ErrBadZones = errors.New("not the zones of a service")
	// ErrUnknownZone means a zone that a service does not have.
	ErrUnknownZone = errors.New("the service does not have the zone")
)

// Zone is a zone of a service.
type Zone struct {
	// Number is the first byte of the addresses at home in the zone.
	Number byte
	Policy Policy
}

// Registry is the zones of a service, ascending by number, 1 to MaxZones.
type Registry []Zone

// Find returns the policy of a zone, or ErrUnknownZone, in O(log n).
func (r Registry) Find(number byte) (Policy, error) {
	i, ok := slices.BinarySearchFunc(r, number, func(z Zone, n byte) int { return cmp.Compare(z.Number, n) })
	if !ok {
		return Policy{}, fmt.Errorf("zone %d: %w, which has %s", number, ErrUnknownZone, r)
	}
	return r[i].Policy, nil
}

// Has reports whether the service has a zone.
func (r Registry) Has(number byte) bool {
	_, ok := slices.BinarySearchFunc(r, number, func(z Zone, n byte) int { return cmp.Compare(z.Number, n) })
	return ok
}

// Numbers returns the numbers of the zones, ascending.
func (r Registry) Numbers() []byte {
	list := make([]byte, len(r))
	for i := range r {
		list[i] = r[i].Number
	}
	return list
}

// String names the zones for people: "zones [0 1]".
func (r Registry) String() string { return fmt.Sprintf("zones %d", r.Numbers()) }

// Validate returns ErrBadZones, or what is wrong with the first bad policy.
func (r Registry) Validate() error {
	if len(r) < 1 || len(r) > MaxZones {
		return fmt.Errorf("%d zones, want 1 to %d: %w", len(r), MaxZones, ErrBadZones)
	}
	for i := range r {
		if i > 0 && r[i].Number <= r[i-1].Number {
			return fmt.Errorf("zone %d after %d, want strictly ascending: %w", r[i].Number, r[i-1].Number, ErrBadZones)
		}
		if err := r[i].Policy.Validate(); err != nil {
			return fmt.Errorf("zone %d: %w", r[i].Number, err)
		}
	}
	return nil
}

// append writes the canonical encoding: number of zones 1, and per zone its number 1 and
// its policy.
func (r Registry) append(w *codec.Writer) {
	w.Uint8(uint8(len(r)))
	for i := range r {
		w.Uint8(r[i].Number)
		r[i].Policy.append(w)
	}
}

func readRegistry(r *codec.Reader) Registry {
	list := make(Registry, 0, MaxZones)
	for range r.Uint8() {
		z := Zone{Number: r.Uint8()}
		z.Policy.read(r)
		if r.Err() != nil {
			return nil
		}
		list = append(list, z)
	}
	return slices.Clip(list)
}
