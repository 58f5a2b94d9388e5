package house_test

import (
	"encoding/json"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// goMod is the part of `go mod edit -json` that the tests look at.
type goMod struct {
	Module    struct{ Path string }
	Go        string
	Toolchain string
	Require   []version
	Exclude   []version
	Replace   []json.RawMessage
}

type version struct {
	Path     string
	Version  string
	Indirect bool
}

func modFile(t *testing.T, name string) goMod {
	t.Helper()
	cmd := exec.Command("go", "mod", "edit", "-json", name)
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("read %s: %v", name, err)
	}
	var mod goMod
	if err := json.Unmarshal(out, &mod); err != nil {
		t.Fatalf("decode %s: %v", name, err)
	}
	return mod
}

func (m goMod) requires(path string) string {
	for _, r := range m.Require {
		if r.Path == path {
			return r.Version
		}
	}
	return ""
}

func TestGoMod(t *testing.T) {
	t.Parallel()
	mod := modFile(t, "go.mod")
	if mod.Module.Path != "github.com/tributary-network/tributary" {
		t.Errorf("module is %s", mod.Module.Path)
	}
	if !strings.HasPrefix(mod.Go, "1.26") {
		t.Errorf("go %s, want 1.26", mod.Go)
	}
	// Validators built with different Go versions have disagreed before now.
	if !regexp.MustCompile(`^go1\.26\.\d+$`).MatchString(mod.Toolchain) {
		t.Errorf("toolchain %q, want an exact go1.26 version", mod.Toolchain)
	}
	if len(mod.Replace) > 0 {
		t.Errorf("go.mod replaces %d modules; a replaced module is not what `go install` of this one gives", len(mod.Replace))
	}
	excluded := map[version]bool{}
	for _, v := range mod.Exclude {
		excluded[v] = true
	}
	// The abandoned 1.x line sorts above 0.40, which is newer.
	for _, wrong := range []string{"v1.0.0", "v1.0.1"} {
		if !excluded[version{Path: "github.com/cometbft/cometbft", Version: wrong}] {
			t.Errorf("go.mod does not exclude github.com/cometbft/cometbft %s", wrong)
		}
	}
}

// TestLinkedVersions asks which versions are really selected, whatever go.mod
// names.
func TestLinkedVersions(t *testing.T) {
	t.Parallel()
	tests := []struct {
		module string
		want   *regexp.Regexp
		why    string
	}{
		{"github.com/cometbft/cometbft", regexp.MustCompile(`^v0\.40\.0$`), "consensus is tested against exactly v0.40.0"},
		{"github.com/dgraph-io/badger/v4", regexp.MustCompile(`^v4\.(9\.([6-9]|[1-9]\d+)|[1-9]\d+\.\d+)$`), "before v4.9.4 deleted keys could come back; v4.9.6 is tested"},
	}
	for _, tt := range tests {
		t.Run(tt.module, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command("go", "list", "-m", "-f", "{{.Version}}", tt.module)
			cmd.Dir = root
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("go list -m %s: %v", tt.module, err)
			}
			if got := strings.TrimSpace(string(out)); !tt.want.MatchString(got) {
				t.Errorf("%s %s is linked, want %s: %s", tt.module, got, tt.want, tt.why)
			}
		})
	}
}

func TestToolsFitTheRuntime(t *testing.T) {
	t.Parallel()
	mod, tools := modFile(t, "go.mod"), modFile(t, ".tools/go.mod")
	const protobuf = "google.golang.org/protobuf"
	if generator, runtime := tools.requires(protobuf), mod.requires(protobuf); generator != runtime {
		t.Errorf("protoc-gen-go %s generates for protobuf %s", generator, runtime)
	}
	if tools.Toolchain != mod.Toolchain {
		t.Errorf(".tools/go.mod pins %s, go.mod %s", tools.Toolchain, mod.Toolchain)
	}
}
