package main

import (
	"context"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tributary-network/tributary/node/testnet"
)

// While a validator is away its uptime falls on the other nodes, by as many blocks as
// it does not sign, and nobody else's does by as much.
func TestUptimeFallsWhileAValidatorIsAway(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	s := newShell(t)
	n, err := testnet.Start(ctx, testnet.Options{Dir: filepath.Join(s.home, ".tributary", "testnet"), Validators: 4})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.Stop(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	}()
	if _, err := n.Announce(); err != nil {
		t.Fatal(err)
	}
	validators := func() []validatorResult {
		list := parse[[]validatorResult](t, s.ok(t, "validator", "list", "-o", "json"))
		if len(list) != 4 {
			t.Fatalf("validators: %+v", list)
		}
		return list
	}
	missed := func(v *validatorResult) uint32 { return v.UptimeBlocks - v.UptimeSigned }
	s.ok(t, "tx", "transfer", "carol", "1", "--from", "alice")
	before := validators()
	if err := n.StopNode(ctx, 3); err != nil {
		t.Fatal(err)
	}
	const away = 6
	after := before
	for deadline := time.Now().Add(testTimeout); missed(&after[3]) < missed(&before[3])+away; after = validators() {
		if time.Now().After(deadline) {
			t.Fatalf("its uptime does not fall: %+v, was %+v", after[3], before[3])
		}
		s.ok(t, "tx", "transfer", "carol", "1", "--from", "alice")
	}
	for i := range after {
		v := &after[i]
		if v.UptimeWindow == 0 || v.UptimeBlocks != v.UptimeWindow || uint64(v.UptimeWindow) > v.Height {
			t.Errorf("validator %d: uptime %s of %d blocks at height %d", i, v.uptime(), v.UptimeWindow, v.Height)
		}
		if i < 3 && missed(v) >= missed(&before[i])+away { // without the fourth all three are needed
			t.Errorf("validator %d was there and has %s, had %s", i, v.uptime(), before[i].uptime())
		}
	}
	shown := s.ok(t, "validator", "list") // of later blocks, maybe
	if !strings.Contains(shown, "UPTIME") || !regexp.MustCompile(`validator4 .* \d+/\d+ `).MatchString(shown) {
		t.Errorf("validator list:\n%s", shown)
	}
	if shown := s.ok(t, "validator", "show", "3"); !strings.Contains(shown, "of the last blocks") || !strings.Contains(shown, "as jailing counts") {
		t.Errorf("validator show:\n%s", shown)
	}
}
