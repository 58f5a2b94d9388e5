package config

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// field is one setting of one Config: its key, section.name, and its place.
type field struct {
	key   string
	value reflect.Value // addressable
}

// fields lists the settings of c in the order of the struct. Writing to them
// changes c.
func fields(c *Config) []field {
	var list []field
	sections := reflect.ValueOf(c).Elem()
	for i := range sections.NumField() {
		section := sections.Type().Field(i)
		if section.Type.Kind() != reflect.Struct {
			continue
		}
		values := sections.Field(i)
		for j := range values.NumField() {
			key := section.Tag.Get("toml") + "." + values.Type().Field(j).Tag.Get("toml")
			list = append(list, field{key, values.Field(j)})
		}
	}
	return list
}

// set parses text into the field, as environment and flags give it: lists are
// separated by commas.
func (f field) set(text string) error {
	if u, ok := reflect.TypeAssert[encoding.TextUnmarshaler](f.value.Addr()); ok {
		return u.UnmarshalText([]byte(text))
	}
	switch f.value.Kind() {
	case reflect.String:
		f.value.SetString(text)
	case reflect.Bool:
		v, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q is not true or false", text)
		}
		f.value.SetBool(v)
	case reflect.Int:
		v, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
		f.value.SetInt(int64(v))
	case reflect.Slice:
		list := []string{}
		for item := range strings.SplitSeq(text, ",") {
			if item = strings.TrimSpace(item); item != "" {
				list = append(list, item)
			}
		}
		f.value.Set(reflect.ValueOf(list))
	default:
		panic("config: no parser for " + f.key)
	}
	return nil
}

// literal returns the field's value as TOML.
func (f field) literal() string {
	switch v := f.value.Interface().(type) {
	case string:
		return quote(v)
	case []string:
		items := make([]string, len(v))
		for i, item := range v {
			items[i] = quote(item)
		}
		return "[" + strings.Join(items, ", ") + "]"
	case Blocks:
		if v == 0 {
			return quote(v.String())
		}
		return v.String()
	case fmt.Stringer: // Duration, Size
		return quote(v.String())
	default:
		return fmt.Sprint(v)
	}
}

// lines returns the field's value as TOML, a list of several items with a line for
// each.
func (f field) lines() string {
	list, ok := reflect.TypeAssert[[]string](f.value)
	if !ok || len(list) < 2 {
		return f.literal()
	}
	var b strings.Builder
	b.WriteString("[\n")
	for _, item := range list {
		b.WriteString("  " + quote(item) + ",\n")
	}
	b.WriteString("]")
	return b.String()
}

// quote returns s as a TOML basic string.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// Variable returns the name of the environment variable for key,
// "grpc.listen" -> "TRIBUTARY_GRPC_LISTEN".
func Variable(key string) string {
	return variablePrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

const variablePrefix = "TRIBUTARY_"

// nearest returns the candidate that is closest to name, or "" if none is close
// enough to have been meant.
func nearest(name string, candidates []string) string {
	best, bestDistance := "", len(name)/3+2
	for _, c := range candidates {
		if d := distance(name, c); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// distance is the Levenshtein distance of a and b in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			above := row[j+1]
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(above+1, row[j]+1, diagonal+cost)
			diagonal = above
		}
	}
	return row[len(b)]
}
