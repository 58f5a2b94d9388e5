package main

import (
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tributary-network/tributary/ledger"
)

// Colours, for terminals.
const (
	red    = "31"
	green  = "32"
	yellow = "33"
	faint  = "2"
)

// paint colours text if standard error is a terminal that may have colours.
func (c *cli) paint(colour, text string) string { return c.paintOn(c.stderr, colour, text) }

func (c *cli) paintOn(w io.Writer, colour, text string) string {
	if c.getenv("NO_COLOR") != "" || c.getenv("TERM") == "dumb" || !terminal(w) {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// print writes a result: value as JSON with -o json, what table writes
// otherwise.
func (c *cli) print(value any, table func(t *table)) error {
	if c.output == "json" {
		return writeJSON(c.stdout, value)
	}
	t := newTable(c.stdout)
	table(t)
	return t.flush()
}

func writeJSON(w io.Writer, value any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(value)
}

// table writes columns that line up.
type table struct{ w *tabwriter.Writer }

func newTable(w io.Writer) *table {
	return &table{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
}

// row writes one line. Cells are printed as fmt.Sprint does.
func (t *table) row(cells ...any) {
	texts := make([]string, len(cells))
	for i, cell := range cells {
		texts[i] = cellText(cell)
	}
	fmt.Fprintln(t.w, strings.TrimRight(strings.Join(texts, "\t"), "\t "))
}

// field writes a name and its value on a line, an amount with its unit.
func (t *table) field(name string, value any) {
	if amount, ok := value.(ledger.Amount); ok {
		value = coins(amount)
	}
	t.row(name, value)
}

// line writes a line outside the columns.
func (t *table) line(format string, args ...any) {
	_ = t.w.Flush() // its error comes again with the last flush
	fmt.Fprintf(t.w, format+"\n", args...)
	_ = t.w.Flush()
}

func (t *table) flush() error { return t.w.Flush() }

func cellText(cell any) string {
	switch v := cell.(type) {
	case time.Time:
		if v.IsZero() {
			return "-"
		}
		return v.UTC().Format("2006-01-02 15:04:05Z")
	case ledger.Amount:
		return v.String()
	case string:
		if v == "" {
			return "-"
		}
		return v
	default:
		return fmt.Sprint(v)
	}
}

// coins returns an amount as people read it: "12.5 coins". In columns, whose
// heads name the unit, the number stands alone; JSON has drops.
func coins(a ledger.Amount) string {
	if a == ledger.DropsPerCoin {
		return "1 coin"
	}
	return a.String() + " coins"
}

// dropsText finds amounts in what a node says, which counts in drops as the rules
// do: "payments of 50 drops, balance is 20", "60 drops exceeds 50".
var dropsText = regexp.MustCompile(`\b(\d+) drops\b(?:(,[a-z_ ]+| exceeds? )(\d+)\b)?`)

// inCoins returns text with the amounts in it in coins.
func inCoins(text string) string {
	return dropsText.ReplaceAllStringFunc(text, func(found string) string {
		parts := dropsText.FindStringSubmatch(found)
		first, err := ledger.ParseAmount(parts[1] + "drops")
		if err != nil {
			return found // more than there can be
		}
		if parts[3] == "" {
			return coins(first)
		}
		second, err := ledger.ParseAmount(parts[3] + "drops")
		if err != nil {
			return found
		}
		return coins(first) + parts[2] + coins(second)
	})
}

// bpsText finds parts of the rewards in what a node says, which counts them in
// basis points: "commission from 750 to 900, by at most 100", "max_change 20000".
var bpsText = regexp.MustCompile(`\bcommission from \d+ to \d+, by at most \d+|\b(max_)?commission \d+|\bmax_change \d+(, at most \d+)?`)

var number = regexp.MustCompile(`\d+`)

// inPercent returns text with the parts of the rewards in it in per cent.
func inPercent(text string) string {
	return bpsText.ReplaceAllStringFunc(text, func(found string) string {
		return number.ReplaceAllStringFunc(found, func(digits string) string {
			bps, err := strconv.ParseUint(digits, 10, 64)
			if err != nil {
				return digits // more than there can be
			}
			return percent(bps) + " %"
		})
	})
}

// plural returns "1 channel" or "2 channels", "1 batch" or "2 batches".
func plural(n int, noun string) string {
	switch {
	case n == 1:
	case strings.HasSuffix(noun, "ch"):
		noun += "es"
	default:
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}
