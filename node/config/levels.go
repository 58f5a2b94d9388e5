package config

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// Levels says from which level on lines are logged: Base for every module but
// those in Modules.
type Levels struct {
	Base    slog.Level
	Modules map[string]slog.Level
}

// ParseLevels parses the setting log.level: a level, then module=level for
// single modules, separated by commas.
func ParseLevels(text string) (Levels, error) {
	l := Levels{Modules: map[string]slog.Level{}}
	for i, part := range strings.Split(text, ",") {
		module, name, single := strings.Cut(strings.TrimSpace(part), "=")
		if !single {
			module, name = "", module
		}
		level, err := parseLevel(name)
		switch {
		case err != nil:
			return Levels{}, err
		case single && module == "":
			return Levels{}, errors.New("a level without a module")
		case single:
			l.Modules[module] = level
		case i == 0:
			l.Base = level
		default:
			return Levels{}, errors.New("two levels for all modules")
		}
	}
	return l, nil
}

func parseLevel(name string) (slog.Level, error) {
	switch name {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("%q is not error, warn, info or debug", name)
}
