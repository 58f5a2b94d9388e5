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

// TestReadmeCommands: every command that the README shows exists, and has the flags it is shown
// with.
func TestReadmeCommands(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile(filepath.Join("..", "..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	shown := 0
	for line := range strings.Lines(string(readme)) {
		text, ok := strings.CutPrefix(line, "    tributary ")
		if !ok {
			continue
		}
		shown++
		text, _, _ = strings.Cut(text, " # ")
		text, _, _ = strings.Cut(text, " > ")
		args := strings.Fields(strings.ReplaceAll(text, `"$(cat voucher)"`, "voucher"))
		cmd, rest, err := (&cli{}).root().Find(args)
		if err != nil || cmd.HasSubCommands() {
			t.Errorf("README: %s: there is no such command: %v", strings.TrimSpace(text), err)
			continue
		}
		if err := cmd.ParseFlags(rest); err != nil {
			t.Errorf("README: %s: %v", strings.TrimSpace(text), err)
		}
	}
	if shown < 30 {
		t.Errorf("the README shows %d commands: they are not where they are looked for", shown)
	}
}
