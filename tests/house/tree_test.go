package house_test

import (
	"bytes"
	"go/format"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// files returns the slash-separated paths of the tree's files below its root.
func files(t *testing.T) []string {
	t.Helper()
	cmd := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return walk(t)
	}
	var list []string
	for name := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		if _, err := os.Lstat(filepath.Join(root, name)); err == nil { // tracked but removed files are gone
			list = append(list, name)
		}
	}
	return list
}

func walk(t *testing.T) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name == "build" || name != "." && strings.HasPrefix(d.Name(), ".") {
				return filepath.SkipDir
			}
			return nil
		}
		list = append(list, filepath.ToSlash(name))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func handwritten(name string) bool {
	return strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, ".pb.go")
}

func TestTopLevelIsTheLayout(t *testing.T) {
	t.Parallel()
	folders := []string{"api", "chain", "consensus", "deploy", "ledger", "node", "proto", "shard", "tests", "zone"}
	plain := []string{"CHANGELOG.md", "LICENSE", "Makefile", "README.md", "SECURITY.md", "go.mod", "go.sum"}
	for _, name := range files(t) {
		top, _, inFolder := strings.Cut(name, "/")
		switch {
		case strings.HasPrefix(top, "."):
		case inFolder && !slices.Contains(folders, top):
			t.Errorf("%s: folder %s is not part of the layout %v", name, top, folders)
		case !inFolder && !slices.Contains(plain, top):
			t.Errorf("%s: only %v and dot-files lie at the top", name, plain)
		}
	}
}

func TestFormatting(t *testing.T) {
	t.Parallel()
	for _, name := range files(t) {
		if !handwritten(name) {
			continue
		}
		source := read(t, name)
		formatted, err := format.Source(source)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !bytes.Equal(source, formatted) {
			t.Errorf("%s: not formatted, run gofmt -w %s", name, name)
		}
	}
}

func TestFileLength(t *testing.T) {
	t.Parallel()
	const most = 600 // lines; 400 is usual
	for _, name := range files(t) {
		if !handwritten(name) {
			continue
		}
		if lines := bytes.Count(read(t, name), []byte("\n")); lines > most {
			t.Errorf("%s: %d lines, at most %d: cut it where its subject changes", name, lines, most)
		}
	}
}

// TestForbiddenText looks for what does not belong into a finished file. The
// patterns are broken up so that this file does not match itself.
func TestForbiddenText(t *testing.T) {
	t.Parallel()
	rules := []struct {
		name    string
		pattern *regexp.Regexp
		applies func(name string) bool
	}{
		{
			"unfinished work", regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X|HA` + `CK)\b|\bplace` + `holder\b|\bfor n` + `ow\b|simplified vers` + `ion|not yet implem` + `ented`),
			handwritten,
		},
		{
			"a path of one machine", regexp.MustCompile("(^|[\\s\"'`=(:])/(wo" + "rk|ro" + "ot|Us" + "ers/|tm" + "p/tri" + "b)"),
			func(name string) bool { return !strings.HasSuffix(name, ".sum") },
		},
		{
			"a sleep in a test", regexp.MustCompile(`time\.Sl` + `eep\(`),
			func(name string) bool { return strings.HasSuffix(name, "_test.go") },
		},
	}
	for _, name := range files(t) {
		for i, line := range strings.Split(string(read(t, name)), "\n") {
			for _, rule := range rules {
				if rule.applies(name) && rule.pattern.MatchString(line) {
					t.Errorf("%s:%d: %s: %s", name, i+1, rule.name, strings.TrimSpace(line))
				}
			}
		}
	}
}

func TestReadmeShowsTheCommands(t *testing.T) {
	t.Parallel()
	readme, makefile := string(read(t, "README.md")), string(read(t, "Makefile"))
	for _, command := range []string{"make demo", "make test"} {
		if !strings.Contains(readme, command) {
			t.Errorf("README.md does not show %q", command)
		}
	}
	// A command in backquotes, or alone on its line in a block of commands.
	promised := regexp.MustCompile("(?m)(?:^\\s*|`)make ([a-z-]+)(?:`|\\s*#|\\s*$)")
	for _, match := range promised.FindAllStringSubmatch(readme, -1) {
		if !strings.Contains(makefile, "\n"+match[1]+":") {
			t.Errorf("README.md shows make %s, which the Makefile does not have", match[1])
		}
	}
}

func TestMakefileTargets(t *testing.T) {
	t.Parallel()
	makefile := string(read(t, "Makefile"))
	for _, target := range []string{"build", "demo", "test", "lint", "proto", "bench", "fuzz", "testnet", "testnet-down", "clean", "help"} {
		if !regexp.MustCompile(`(?m)^` + target + `:.*## \S`).MatchString(makefile) {
			t.Errorf("Makefile: target %s is missing or says nothing in `make help`", target)
		}
	}
}
