package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
)

// Figure is one measured value, and its ratio to another of the same run where
// that says more than the value: wall-clock figures of a shared machine move by
// a quarter, ratios within one run hardly do.
type Figure struct {
	Name  string   `json:"name"`
	Value float64  `json:"value"`
	Unit  string   `json:"unit"`
	Of    string   `json:"of,omitempty"`    // what the ratio is taken of; "" if there is none
	Ratio *float64 `json:"ratio,omitempty"` // Value over the figure named by Of; nil if there is none
	Limit float64  `json:"limit,omitempty"` // that Value must not exceed; 0 if there is none
	Least float64  `json:"least,omitempty"` // that Value must reach; 0 if there is none
}

// report collects figures and tells about progress. It is safe for concurrent use.
type report struct {
	progress io.Writer

	mu      sync.Mutex
	figures []Figure
}

// add records a figure.
func (r *report) add(name string, value float64, unit string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.figures = append(r.figures, Figure{Name: name, Value: value, Unit: unit})
	fmt.Fprintf(r.progress, "  %s: %s %s\n", name, number(value), unit)
}

// addRatio records a figure beside the earlier figure named of. Without that one,
// which was not measured, it has no ratio.
func (r *report) addRatio(name string, value float64, unit, of string) {
	base := r.value(of)
	if base == 0 {
		r.add(name, value, unit)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	ratio := value / base
	r.figures = append(r.figures, Figure{Name: name, Value: value, Unit: unit, Of: of, Ratio: &ratio})
	fmt.Fprintf(r.progress, "  %s: %s %s (%.3f of %s)\n", name, number(value), unit, ratio, of)
}

// limit sets the limit of an earlier figure.
func (r *report) limit(name string, limit float64) {
	r.bound(name, func(f *Figure) { f.Limit = limit })
}

// least sets what an earlier figure must reach.
func (r *report) least(name string, least float64) {
	r.bound(name, func(f *Figure) { f.Least = least })
}

func (r *report) bound(name string, set func(*Figure)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.figures {
		if f := &r.figures[i]; f.Name == name {
			set(f)
			fmt.Fprintf(r.progress, "  %s: %s (%.3f of it)\n", name, f.bounds(), f.Value/max(f.Limit, f.Least))
		}
	}
}

// kept reports whether the figure keeps to its limit, if it has one.
func (f *Figure) kept() bool {
	return (f.Limit == 0 || f.Value <= f.Limit) && (f.Least == 0 || f.Value >= f.Least)
}

// bounds says what the limit is and whether the figure keeps to it, nothing without one.
func (f *Figure) bounds() string {
	switch {
	case f.Limit != 0 && !f.kept():
		return "at most " + number(f.Limit) + " OVER"
	case f.Limit != 0:
		return "at most " + number(f.Limit) + " OK"
	case f.Least != 0 && !f.kept():
		return "at least " + number(f.Least) + " UNDER"
	case f.Least != 0:
		return "at least " + number(f.Least) + " OK"
	default:
		return ""
	}
}

// relate sets the ratio of an earlier figure to another.
func (r *report) relate(name, of string) {
	value, base := r.value(name), r.value(of)
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.figures {
		if f := &r.figures[i]; f.Name == name && base != 0 {
			ratio := value / base
			f.Of, f.Ratio = of, &ratio
			fmt.Fprintf(r.progress, "  %s: %.3f of %s\n", name, ratio, of)
		}
	}
}

// value returns the figure called name, or 0.
func (r *report) value(name string) float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.figures {
		if f.Name == name {
			return f.Value
		}
	}
	return 0
}

// step tells what is being measured now.
func (r *report) step(format string, args ...any) {
	fmt.Fprintf(r.progress, format+"\n", args...)
}

// table writes all figures in columns, and after them once more those that have limits.
func (r *report) table(w io.Writer) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "FIGURE\tVALUE\tUNIT\tRATIO\tOF")
	var bounded []*Figure
	for i := range r.figures {
		f, ratio := &r.figures[i], ""
		if f.Ratio != nil {
			ratio = strconv.FormatFloat(*f.Ratio, 'f', 3, 64)
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\n", f.Name, number(f.Value), f.Unit, ratio, f.Of)
		if f.bounds() != "" {
			bounded = append(bounded, f)
		}
	}
	if len(bounded) > 0 {
		fmt.Fprintln(tw, "\nLIMITED\tVALUE\tUNIT\tLIMIT")
	}
	for _, f := range bounded {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", f.Name, number(f.Value), f.Unit, f.bounds())
	}
	return tw.Flush()
}

// kept returns an error that names the figures that do not keep to their limits.
func (r *report) kept() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var missed []string
	for i := range r.figures {
		if f := &r.figures[i]; !f.kept() {
			missed = append(missed, fmt.Sprintf("%s: %s %s, %s", f.Name, number(f.Value), f.Unit, f.bounds()))
		}
	}
	if len(missed) == 0 {
		return nil
	}
	return fmt.Errorf("limits that are not kept:\n  %s", strings.Join(missed, "\n  "))
}

// save writes all figures to path as a JSON array.
func (r *report) save(path string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	raw, err := json.MarshalIndent(r.figures, "", "  ")
	if err != nil {
		return fmt.Errorf("encode figures: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make directory of %q: %w", path, err)
	}
	if err := os.WriteFile(path, append(raw, '\n'), 0o644); err != nil {
		return fmt.Errorf("write figures: %w", err)
	}
	return nil
}

func number(v float64) string {
	switch {
	case v >= 1000 || v == float64(int64(v)):
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return strconv.FormatFloat(v, 'f', 3, 64)
	}
}
