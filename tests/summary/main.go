// Command summary turns the stream of `go test -json` into what a person wants
// to read: one line per package while it runs, the output of every failed test,
// and at the end which packages were slow, what was skipped and why, and the
// counts. The exit status is 1 if anything failed or nothing ran.
//
// Usage:
//
//	go test -json ./... | go run ./tests/summary
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

func main() {
	ok, err := summarise(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "summary:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// event is one line of `go test -json` (go doc test2json).
type event struct {
	Action     string
	Package    string
	ImportPath string // of build-output
	Test       string
	Elapsed    float64 // seconds
	Output     string
}

type test struct{ pkg, name string }

type timing struct {
	pkg     string
	seconds float64
}

type tally struct {
	out            io.Writer
	output         map[test]*strings.Builder // name "" collects the package's own lines
	passedIn       map[string]int            // tests passed per package
	passed, failed int
	skipped        []string
	failedPkgs     []string
	timings        []timing
	bare           int // packages without tests
}

func summarise(r io.Reader, w io.Writer) (ok bool, err error) {
	start := time.Now()
	t := &tally{out: w, output: map[test]*strings.Builder{}, passedIn: map[string]int{}}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Fprintln(w, lines.Text()) // go's own words, not an event
			continue
		}
		t.add(e)
	}
	if err := lines.Err(); err != nil {
		return false, fmt.Errorf("read test events: %w", err)
	}
	t.close(time.Since(start))
	return len(t.failedPkgs) == 0 && t.failed == 0 && len(t.timings) > 0, nil
}

func (t *tally) add(e event) {
	key := test{e.Package, e.Test}
	switch e.Action {
	case "output":
		t.buffer(key).WriteString(e.Output)
	case "build-output":
		fmt.Fprint(t.out, e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			t.endPackage(e)
		} else {
			t.endTest(e)
		}
		delete(t.output, key)
	}
}

func (t *tally) buffer(key test) *strings.Builder {
	b := t.output[key]
	if b == nil {
		b = &strings.Builder{}
		t.output[key] = b
	}
	return b
}

func (t *tally) endTest(e event) {
	switch e.Action {
	case "pass":
		t.passed++
		t.passedIn[e.Package]++
	case "fail":
		t.failed++
		fmt.Fprint(t.out, t.buffer(test{e.Package, e.Test}))
	case "skip":
		t.skipped = append(t.skipped, short(e.Package)+" "+e.Test+": "+reason(t.buffer(test{e.Package, e.Test}).String()))
	}
}

func (t *tally) endPackage(e event) {
	name := short(e.Package)
	switch e.Action {
	case "skip":
		t.bare++
		return
	case "fail":
		// A panic or a time-out fails the package with tests still open.
		for key, b := range t.output {
			if key.pkg == e.Package {
				fmt.Fprint(t.out, b)
			}
		}
		t.failedPkgs = append(t.failedPkgs, name)
		fmt.Fprintf(t.out, "FAIL %s %.1fs\n", name, e.Elapsed)
	default:
		fmt.Fprintf(t.out, "ok   %s %.1fs, %d tests\n", name, e.Elapsed, t.passedIn[e.Package])
	}
	t.timings = append(t.timings, timing{name, e.Elapsed})
}

func (t *tally) close(took time.Duration) {
	fmt.Fprintln(t.out)
	slices.SortFunc(t.timings, func(a, b timing) int { return int(1e3*b.seconds) - int(1e3*a.seconds) })
	var slow []string
	for _, s := range t.timings[:min(5, len(t.timings))] {
		slow = append(slow, fmt.Sprintf("%s %.1fs", s.pkg, s.seconds))
	}
	if len(slow) > 0 {
		fmt.Fprintln(t.out, "slowest:", strings.Join(slow, ", "))
	}
	for _, s := range t.skipped {
		fmt.Fprintln(t.out, "skipped:", s)
	}
	for _, p := range t.failedPkgs {
		fmt.Fprintln(t.out, "FAIL", p)
	}
	if len(t.timings) == 0 {
		fmt.Fprintln(t.out, "test: no package ran")
		return
	}
	fmt.Fprintf(t.out, "test: %d packages, %d failed; %d tests passed, %d failed, %d skipped; %d packages without tests; %s\n",
		len(t.timings), len(t.failedPkgs), t.passed, t.failed, len(t.skipped), t.bare, took.Round(time.Second))
}

// short cuts the module path off an import path.
func short(pkg string) string {
	if _, rest, ok := strings.Cut(pkg, "/tributary/"); ok {
		return rest
	}
	return pkg
}

// reason finds what t.Skip was given in a skipped test's output.
func reason(output string) string {
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "===") && !strings.HasPrefix(line, "---") {
			return line
		}
	}
	return "no reason given"
}
