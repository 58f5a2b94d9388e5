package testnet

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLastError(t *testing.T) {
	t.Parallel()
	const before = "error: of the run before\n"
	for name, test := range map[string]struct{ log, want string }{
		"nothing":       {"", ""},
		"the program's": {"{\"level\":\"ERROR\",\"msg\":\"x\"}\nerror: home is in use\n", "home is in use"},
		"with a hint":   {"error: unknown flag\nsee 'tributary start --help'\n", "unknown flag"},
		"a panic":       {"panic: boom\n\ngoroutine 1 [running]:\nmain.main()\n\t/x.go:1\n", "panic: boom"},
		"a log line":    {"time=1 level=ERROR msg=a\ntime=2 level=INFO msg=b\n", "time=1 level=ERROR msg=a"},
		"no error":      {"one\ntwo\n\n", ""},
		"a long line":   {"error: " + strings.Repeat("x", 1000), strings.Repeat("x", maxEndingLine-len("error: ")) + "..."},
		"a long log":    {"error: early\n" + strings.Repeat("line\n", maxEnding), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), logName)
			if err := os.WriteFile(path, []byte(before+test.log), 0o600); err != nil {
				t.Fatal(err)
			}
			if got := lastError(path, int64(len(before))); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
	if got := lastError(filepath.Join(t.TempDir(), "none"), 0); got != "" {
		t.Errorf("of no file: %q", got)
	}
}
