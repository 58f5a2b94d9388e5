package comet_test

import (
	"testing"
	"time"

	"github.com/tributary-network/tributary/consensus/comet"
)

// TestNudges: peers are reminded of what waits for a second, at once after a block and then
// the more seldom the larger it is, so that reminders do not keep a block from them.
func TestNudges(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		size int
		want int // reminders in a minute without a block
	}{
		{"small", 200, 60},
		{"64 KiB", 64 << 10, 30},
		{"1 MiB", 1 << 20, 4},
		{"4 MiB", 4 << 20, 1},
	} {
		var n comet.Nudges
		begin := time.Unix(1_700_000_000, 0)
		count := func() (sent int) {
			for waited := time.Duration(0); waited <= time.Minute; waited += 250 * time.Millisecond {
				if now := begin.Add(waited); n.Due(now, waited) {
					if sent == 0 && waited != time.Second {
						t.Errorf("%s: the first time after %v", row.name, waited)
					}
					n.Sent(now, row.size)
					sent++
				}
			}
			return sent
		}
		for range 2 {
			if got := count(); got > row.want || got < row.want*4/5 {
				t.Errorf("%s: %d times in a minute, want %d", row.name, got, row.want)
			}
			begin = begin.Add(time.Minute) // there was a block
		}
	}
}
