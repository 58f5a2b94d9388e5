package node

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tributary-network/tributary/node/home"
)

// TestHeightFile keeps a height over several runs and refuses a store below it.
func TestHeightFile(t *testing.T) {
	t.Parallel()
	dir := home.Dir(t.TempDir())
	path := filepath.Join(string(dir), "height")
	log := slog.New(slog.DiscardHandler)
	run := func(store uint64, then ...uint64) error {
		t.Helper()
		h, err := openHeightFile(path, log)
		if err != nil {
			t.Fatal(err)
		}
		err = h.check(store, lostStore(dir))
		for _, height := range then {
			if err := h.set(height); err != nil {
				t.Fatal(err)
			}
		}
		if closed := errors.Join(h.close(), h.close()); closed != nil {
			t.Error(closed)
		}
		return err
	}
	for _, step := range []struct {
		store uint64
		then  []uint64
		ok    bool
	}{
		{0, nil, true},
		{0, []uint64{1, 2, 7}, true},
		{7, []uint64{5}, true},
		{6, nil, false},
		{0, nil, false},
		{8, []uint64{1 << 63}, true},
		{1 << 62, nil, false},
	} {
		err := run(step.store, step.then...)
		if step.ok && err != nil || !step.ok && (!errors.Is(err, ErrStoreBehind) || !strings.Contains(err.Error(), dir.Data())) {
			t.Errorf("a store at %d: %v, want ok = %v", step.store, err, step.ok)
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range data { // what a power loss leaves does not stop the node
		damaged := append(append([]byte{}, data[:i]...), data[i]^0x10)
		if err := os.WriteFile(path, append(damaged, data[i+1:]...), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := run(3); err != nil {
			t.Errorf("byte %d changed: %v", i, err)
		}
	}
}

// FuzzDecodeHeight decodes anything: what it takes encodes to the same.
func FuzzDecodeHeight(f *testing.F) {
	f.Add(encodeHeight(12))
	f.Add("12")
	f.Fuzz(func(t *testing.T, text string) {
		if height, err := decodeHeight(text); err == nil && encodeHeight(height) != text {
			t.Errorf("%q is taken for %d", text, height)
		}
	})
}
