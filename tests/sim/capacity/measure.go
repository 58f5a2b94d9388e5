package main

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
)

// measure measures all costs, which takes some seconds, or a tenth with quick.
func measure(quick bool) (Costs, error) {
	m := meter{least: time.Second / 2}
	if quick {
		m.least /= 10
	}
	var c Costs
	for _, step := range []struct {
		name string
		do   func(*Costs) error
	}{
		{"bookings", m.bookings},
		{"messages", m.messages},
		{"certificates and anchors", m.anchors},
		{"settlements", m.settlements},
	} {
		if err := step.do(&c); err != nil {
			return Costs{}, fmt.Errorf("measure %s: %w", step.name, err)
		}
	}
	return c, nil
}

// meter measures.
type meter struct{ least time.Duration }

// each returns the processor time, in microseconds, of one of the so many things that each
// call of do does: the mean over three calls at least and m.least. prepare makes what
// a call needs and is not measured. do must not leave its goroutine.
func (m meter) each(things int, prepare func() error, do func() error) (micros float64, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var used time.Duration
	calls := 0
	for ; calls < 3 || used < m.least; calls++ {
		if prepare != nil {
			if err := prepare(); err != nil {
				return 0, err
			}
		}
		began := threadCPU()
		if err := do(); err != nil {
			return 0, err
		}
		used += threadCPU() - began
	}
	return float64(used.Nanoseconds()) / 1e3 / float64(calls*things), nil
}

// threadCPU returns the processor time, user and system, of this thread.
func threadCPU() time.Duration {
	const thisThread = 1 // RUSAGE_THREAD
	var u syscall.Rusage
	if err := syscall.Getrusage(thisThread, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// table is a state in memory. It keeps no order, so that what is measured is the rules.
type table map[string][]byte

// Get is that of chain.View.
func (t table) Get(key []byte) []byte { return t[string(key)] }

// Range is that of chain.View.
func (t table) Range(prefix []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		var keys []string
		for k := range t {
			if strings.HasPrefix(k, string(prefix)) {
				keys = append(keys, k)
			}
		}
		slices.Sort(keys)
		for _, k := range keys {
			if !yield([]byte(k), t[k]) {
				return
			}
		}
	}
}

// unordered is a table without what Range would find, which a map finds slowly: of
// what is measured no block looks for anything that is there.
type unordered struct{ table }

// Range is that of chain.View. It yields nothing.
func (unordered) Range([]byte) iter.Seq2[[]byte, []byte] { return func(func([]byte, []byte) bool) {} }

func (t table) apply(changes chain.Changes) {
	for _, c := range changes {
		if c.Value == nil {
			delete(t, string(c.Key))
		} else {
			t[string(c.Key)] = c.Value
		}
	}
}

// keyOf returns a key that role and i determine.
func keyOf(role string, i int) ledger.PrivateKey {
	return ledger.NewPrivateKey(ledger.HashOf("capacity/"+role, binary.BigEndian.AppendUint64(nil, uint64(i))))
}

func networkID() ledger.NetworkID { return ledger.HashOf("capacity/network") }

func verifyBatch(claims []ledger.Claim) []int { return ledger.VerifyBatch(rand.Reader, claims) }
