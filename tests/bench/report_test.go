package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A figure has a ratio to another if that was measured, and else none: not in the
// lines, not in the table, not in the file.
func TestRatios(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		measured bool
		want     [3]string // in the lines, the table and the file
		not      string    // in none of them
	}{
		{"measured", true, [3]string{"part: 20.5 a second (0.500 of limit)", "part 20.5 a second 0.500 limit", `"ratio": 0.5`}, "nothing"},
		{"not measured", false, [3]string{"part: 20.5 a second\n", "part 20.5 a second\n", `"unit": "a second"`}, "limit"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var lines, table bytes.Buffer
			r := &report{progress: &lines}
			if test.measured {
				r.add("limit", 41.0, "a second")
			}
			r.addRatio("part", 20.5, "a second", "limit")
			r.relate("part", "limit")
			if err := r.table(&table); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "bench.json")
			if err := r.save(path); err != nil {
				t.Fatal(err)
			}
			file, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			columns := ""
			for line := range strings.Lines(table.String()) {
				columns += strings.Join(strings.Fields(line), " ") + "\n"
			}
			for i, text := range []string{lines.String(), columns, string(file)} {
				if !strings.Contains(text, test.want[i]) || strings.Contains(text, test.not) {
					t.Errorf("want %q and no %q in:\n%s", test.want[i], test.not, text)
				}
			}
		})
	}
}

// A figure with a limit says whether it keeps to it.
func TestLimits(t *testing.T) {
	t.Parallel()
	var lines, table bytes.Buffer
	r := &report{progress: &lines}
	r.add("fast", 20.0, "ms")
	r.limit("fast", 300)
	r.add("slow", 301.0, "ms")
	r.limit("slow", 300)
	r.add("many", 300.0, "a second")
	r.least("many", 300)
	r.add("few", 299.0, "a second")
	r.least("few", 300)
	r.add("free", 5.0, "ms")
	if err := r.table(&table); err != nil {
		t.Fatal(err)
	}
	_, limited, _ := strings.Cut(strings.Join(strings.Fields(table.String()), " "), "LIMITED VALUE UNIT LIMIT ")
	want := "fast 20 ms at most 300 OK slow 301 ms at most 300 OVER many 300 a second at least 300 OK few 299 a second at least 300 UNDER"
	if limited != want {
		t.Errorf("got %q, want %q", limited, want)
	}
	if !strings.Contains(lines.String(), "slow: at most 300 OVER") {
		t.Errorf("it is not told: %s", lines.String())
	}
}

// A run in which a figure does not keep to its limit fails and names it, and so does one
// with a part that failed; the table and the file are written all the same.
func TestFinish(t *testing.T) {
	t.Parallel()
	broken := errors.New("a part broke")
	for _, row := range []struct {
		name   string
		figure func(*report)
		err    error
		want   []string // in the error; none if there is none
	}{
		{"kept", func(r *report) { r.limit("figure", 10) }, nil, nil},
		{"no limit", func(*report) {}, nil, nil},
		{"over", func(r *report) { r.limit("figure", 9) }, nil, []string{"figure: 10 ms, at most 9 OVER"}},
		{"under", func(r *report) { r.least("figure", 11) }, nil, []string{"figure: 10 ms, at least 11 UNDER"}},
		{"broken", func(r *report) { r.limit("figure", 9) }, broken, []string{"a part broke", "at most 9 OVER"}},
	} {
		var table bytes.Buffer
		b := &bench{options: options{out: filepath.Join(t.TempDir(), "bench.json")}, report: &report{progress: io.Discard}}
		b.report.add("figure", 10, "ms")
		row.figure(b.report)
		err := b.finish(&table, row.err)
		if (err != nil) != (len(row.want) > 0) || !errors.Is(err, row.err) && row.err != nil {
			t.Errorf("%s: %v", row.name, err)
		}
		for _, text := range row.want {
			if err != nil && !strings.Contains(err.Error(), text) {
				t.Errorf("%s: no %q in %v", row.name, text, err)
			}
		}
		if raw, err := os.ReadFile(b.out); err != nil || !bytes.Contains(raw, []byte(`"figure"`)) || !strings.Contains(table.String(), "figure") {
			t.Errorf("%s: not written: %v", row.name, err)
		}
	}
}
