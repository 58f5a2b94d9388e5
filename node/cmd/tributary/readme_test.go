package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestJailingIsToldOnce: what counts and when who is jailed leaves reads the same in the
// README and in the help.
func TestJailingIsToldOnce(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile(filepath.Join("..", "..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"README": string(readme), "validator list --help": newShell(t).ok(t, "validator", "list", "--help")} {
		for _, want := range []string{
			"Counted are the blocks in which a transaction paid a fee, those of ticks, and the last two of each epoch.",
			"in the last block of one, whose successor is elected by then, at the one after",
		} {
			if !strings.Contains(strings.Join(strings.Fields(text), " "), want) {
				t.Errorf("%s does not say: %s", name, want)
			}
		}
	}
}
