package testnet

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// broken is a member that ends as soon as it is started.
type broken struct {
	starts int
	result error
}

func (b *broken) start() error               { b.starts++; return nil }
func (b *broken) stop(context.Context) error { return ErrStopped }
func (b *broken) kill() error                { return ErrStopped }
func (b *broken) pause(bool) error           { return ErrStopped }
func (b *broken) exited() <-chan struct{}    { return closed() }
func (b *broken) err() error                 { return b.result }
func (b *broken) pid() int                   { return 0 }

// supervised looks after a member as often as Supervise would in a time, and
// returns the waits that were told.
func supervised(n *Network, w *watched, now time.Time, d time.Duration) []time.Duration {
	var told []time.Duration
	for end := now.Add(d); now.Before(end); now = now.Add(supervisePoll) {
		n.look(0, w, now, func(e End) { told = append(told, e.Restart) })
	}
	return told
}

func TestRestartsAreBounded(t *testing.T) {
	t.Parallel()
	m := &broken{result: errors.New("killed")}
	n := &Network{members: []member{m}, idle: make([]atomic.Bool, 1)}
	now := time.Now()
	got := supervised(n, &watched{since: now}, now, time.Hour)
	var want []time.Duration
	for _, seconds := range []int{1, 2, 4, 8, 16, 30, 30, 30, 30, 30, 0} {
		want = append(want, time.Duration(seconds)*time.Second)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("waits (-want +got):\n%s", diff)
	}
	if m.starts != restartLimit {
		t.Errorf("started %d times, want %d", m.starts, restartLimit)
	}

	w := watched{since: now.Add(-time.Hour), ends: 5}
	if got := supervised(n, &w, now, supervisePoll); !cmp.Equal(got, []time.Duration{restartFirst}) {
		t.Errorf("after an hour without an end the waits are %v", got)
	}
}

func TestStoppedNodesStayStopped(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		result error
		idle   bool // StopNode or KillNode was called
		told   int
	}{
		{"in good order by a signal", nil, false, 1},
		{"by StopNode", nil, true, 0},
		{"by KillNode", errors.New("killed"), true, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m := &broken{result: test.result}
			n := &Network{members: []member{m}, idle: make([]atomic.Bool, 1)}
			n.idle[0].Store(test.idle)
			now := time.Now()
			told := supervised(n, &watched{since: now}, now, time.Hour)
			if m.starts != 0 || len(told) != test.told {
				t.Errorf("started %d times, told %v", m.starts, told)
			}
		})
	}
}
