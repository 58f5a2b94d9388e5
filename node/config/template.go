package config

import (
	_ "embed"
	"strings"
)

// template is the documented file with every default.
//
//go:embed template.toml
var template string

// Default returns the defaults: what template.toml says.
func Default() Config {
	var c Config
	if err := decode("template.toml", []byte(template), &c); err != nil {
		panic(err) // the template is part of the program
	}
	return c
}

// Encode returns c as a documented settings file. Parse of it gives c again.
func (c Config) Encode() []byte {
	values := map[string]string{}
	for _, f := range fields(&c) {
		values[f.key] = f.lines()
	}
	var out strings.Builder
	walk(func(line, key, _ string) {
		if value, ok := values[key]; ok {
			name, _, _ := strings.Cut(line, " = ")
			line = name + " = " + value
		}
		out.WriteString(line)
		out.WriteByte('\n')
	})
	return []byte(out.String())
}

// describe returns the first sentence of each setting's comment, by key.
func describe() map[string]string {
	texts := map[string]string{}
	walk(func(_, key, comment string) {
		if key != "" {
			sentence, _, _ := strings.Cut(comment, ". ")
			texts[key] = strings.TrimSuffix(sentence, ".")
		}
	})
	return texts
}

// walk calls visit for each line of the template, with the key that the line
// sets ("" if none) and the comment right above that line.
func walk(visit func(line, key, comment string)) {
	section, comment := "", ""
	for line := range strings.Lines(template) {
		line = strings.TrimSuffix(line, "\n")
		key := ""
		switch name, _, assigns := strings.Cut(line, " = "); {
		case strings.HasPrefix(line, "#"):
			comment = strings.TrimSpace(comment + strings.TrimPrefix(line, "#"))
			visit(line, "", "")
			continue
		case strings.HasPrefix(line, "["):
			section = strings.Trim(line, "[]")
		case assigns && section != "":
			key = section + "." + name
		}
		visit(line, key, comment)
		comment = ""
	}
}
