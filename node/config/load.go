package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/pflag"

	"github.com/tributary-network/tributary/node/home"
)

// Origins of a value, as Setting shows them. An environment variable or a flag
// shows its own name instead: "env TRIBUTARY_GRPC_LISTEN", "flag --grpc.listen".
const (
	OriginDefault = "default"
	OriginFile    = "file"
)

// Setting is one line of `tributary config show --effective`.
type Setting struct {
	Key    string // section.name
	Value  string // as TOML
	Origin string // see OriginDefault
}

// Parse reads a settings file over the defaults. name stands for the file in
// errors, which also give the line. The result is not validated.
func Parse(name string, data []byte) (Config, error) {
	c := Default()
	if err := decode(name, data, &c); err != nil {
		return Config{}, err
	}
	present, err := keysOf(name, data)
	if err != nil {
		return Config{}, err
	}
	c.origins = map[string]string{}
	for _, f := range fields(&c) {
		if _, ok := present[f.key]; ok {
			c.origins[f.key] = OriginFile
		}
		delete(present, f.key)
	}
	delete(present, "version")
	for key := range present { // the TOML decoder does not mind the case
		return Config{}, fmt.Errorf("%s: %s is no setting%s", name, key, hint(nearest(strings.ToLower(key), knownKeys())))
	}
	return c, nil
}

// keysOf returns what the file sets, by section.name, or by name at its top.
func keysOf(name string, data []byte) (map[string]any, error) {
	var sections map[string]any
	if err := toml.Unmarshal(data, &sections); err != nil {
		return nil, fmt.Errorf("read settings %s: %w", name, err)
	}
	keys := map[string]any{}
	for section, content := range sections {
		if table, ok := content.(map[string]any); ok {
			for key, value := range table {
				keys[section+"."+key] = value
			}
		} else {
			keys[section] = content
		}
	}
	return keys, nil
}

// Load reads the settings of the node in the home directory dir, lays environ (in
// the form of os.Environ) and the flags that were given over them, and validates
// the result. flags are those of AddFlags, or nil. A missing file is an error
// that wraps fs.ErrNotExist.
func Load(dir string, environ []string, flags *pflag.FlagSet) (Config, error) {
	file := filepath.Join(dir, FileName)
	data, err := home.ReadFile(file, MaxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return Config{}, fmt.Errorf("read settings: %w: run `tributary init` or choose another --home", err)
	}
	if err != nil {
		return Config{}, fmt.Errorf("read settings: %w", err)
	}
	c, err := Parse(file, data)
	if err != nil {
		return Config{}, err
	}
	c.Home = dir
	if err := errors.Join(applyEnvironment(&c, environ), applyFlags(&c, flags)); err != nil {
		return Config{}, err
	}
	if err := c.Validate(); err != nil {
		return Config{}, err
	}
	return c, nil
}

// Write writes c as a documented file below its home directory, whole or not at
// all. The file has mode 0600, directories it makes 0700. An existing file is
// replaced.
func Write(c Config) error {
	file := filepath.Join(c.Home, FileName)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	if err := home.WritePrivate(file, c.Encode(), true); err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	return nil
}

// AddFlags adds a flag --section.key for each setting. Load takes the values of
// those that were given.
func AddFlags(flags *pflag.FlagSet) {
	c := Default()
	texts := describe()
	for _, f := range fields(&c) {
		// pflag would take what stands in backticks for the name of the value.
		flags.Var(&flag{field: f}, f.key, strings.ReplaceAll(texts[f.key], "`", "'"))
		if _, ok := reflect.TypeAssert[bool](f.value); ok {
			flags.Lookup(f.key).NoOptDefVal = "true"
		}
	}
}

// Effective lists every setting with its origin, in the order of the file.
func (c Config) Effective() []Setting {
	var list []Setting
	for _, f := range fields(&c) {
		list = append(list, Setting{Key: f.key, Value: f.literal(), Origin: c.origin(f.key)})
	}
	return list
}

func (c Config) origin(key string) string {
	if o := c.origins[key]; o != "" {
		return o
	}
	return OriginDefault
}

func applyEnvironment(c *Config, environ []string) error {
	byName := map[string]field{}
	var names, sections []string
	for _, f := range fields(c) {
		name := Variable(f.key)
		byName[name] = f
		names = append(names, name)
		section, _, _ := strings.Cut(f.key, ".")
		sections = append(sections, Variable(section)+"_")
	}
	var problems []error
	for _, variable := range environ {
		name, text, _ := strings.Cut(variable, "=")
		f, known := byName[name]
		switch {
		case known:
			if err := f.set(text); err != nil {
				problems = append(problems, fmt.Errorf("environment variable %s: %w", name, err))
			}
			c.origins[f.key] = "env " + name
		case slices.ContainsFunc(sections, func(s string) bool { return strings.HasPrefix(name, s) }):
			problems = append(problems, fmt.Errorf("environment variable %s is no setting%s", name, hint(nearest(name, names))))
		}
	}
	return errors.Join(problems...)
}

func applyFlags(c *Config, flags *pflag.FlagSet) error {
	if flags == nil {
		return nil
	}
	var problems []error
	for _, f := range fields(c) {
		given := flags.Lookup(f.key)
		if given == nil || !given.Changed {
			continue
		}
		if err := f.set(given.Value.String()); err != nil {
			problems = append(problems, fmt.Errorf("flag --%s: %w", f.key, err))
		}
		c.origins[f.key] = "flag --" + f.key
	}
	return errors.Join(problems...)
}

// flag is a pflag.Value over a field of a Config of its own: it checks the text
// when it is given and keeps it.
type flag struct {
	field field
	text  string
	given bool
}

func (f *flag) Set(text string) error {
	f.text, f.given = text, true
	return f.field.set(text)
}

// String returns what was given, or the default as the help text shows it.
func (f *flag) String() string {
	switch {
	case f.given:
		return f.text
	case f.field.key == "":
		return "" // pflag asks a zero value whether a default is worth showing
	}
	return strings.Trim(f.field.literal(), `"`)
}

func (f *flag) Type() string {
	switch f.field.value.Interface().(type) {
	case Duration:
		return "duration"
	case Size:
		return "size"
	case Blocks:
		return "blocks"
	case []string:
		return "list"
	}
	return f.field.value.Kind().String()
}

// decode reads data strictly over c.
func decode(name string, data []byte, c *Config) error {
	err := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields().Decode(c)
	var unknown *toml.StrictMissingError
	var wrong *toml.DecodeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &unknown):
		var problems []error
		for _, e := range unknown.Errors {
			line, _ := e.Position()
			key := strings.Join(e.Key(), ".")
			problems = append(problems, fmt.Errorf("%s:%d: %s is no setting%s", name, line, key, hint(nearest(key, knownKeys()))))
		}
		return errors.Join(problems...)
	case errors.As(err, &wrong):
		line, _ := wrong.Position()
		text := strings.TrimPrefix(wrong.Error(), "toml: ")
		if key := strings.Join(wrong.Key(), "."); key != "" {
			return fmt.Errorf("%s:%d: %s: %s", name, line, key, text)
		}
		return fmt.Errorf("%s:%d: %s", name, line, text)
	}
	// A value's own parser refused it without saying where.
	if present, keysErr := keysOf(name, data); keysErr == nil {
		for _, f := range fields(&Config{}) {
			if value, ok := present[f.key]; ok && f.set(fmt.Sprint(value)) != nil {
				return fmt.Errorf("%s: %s: %w", name, f.key, err)
			}
		}
	}
	return fmt.Errorf("read settings %s: %w", name, err)
}

// knownKeys lists the settings and the sections.
func knownKeys() []string {
	keys := []string{"version"}
	for _, f := range fields(&Config{}) {
		section, _, _ := strings.Cut(f.key, ".")
		if !slices.Contains(keys, section) {
			keys = append(keys, section)
		}
		keys = append(keys, f.key)
	}
	return keys
}

func hint(name string) string {
	if name == "" {
		return ""
	}
	return "; did you mean " + name + "?"
}
