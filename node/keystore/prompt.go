package keystore

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/tributary-network/tributary/node/home"
)

// Environment variables that give a passphrase: the name of a file whose first
// line it is, or the passphrase itself.
const (
	VariableFile       = "TRIBUTARY_PASSPHRASE_FILE"
	VariablePassphrase = "TRIBUTARY_PASSPHRASE"
)

// MinPassphrase is the least length of a new passphrase, in bytes.
const MinPassphrase = 8

// Prompt says where passphrases come from: File if it is set, else the
// environment, else the person at the terminal.
type Prompt struct {
	File     string    // first line; must be private like a key, or a pipe
	Environ  []string  // in the form of os.Environ
	Flag     string    // that gives File, for errors; "" = --passphrase-file
	Terminal *os.File  // usually os.Stdin; nil = nobody to ask
	Output   io.Writer // where questions are written, usually os.Stderr
}

// Ask returns a Passphrase that asks for the one of name.
func (p Prompt) Ask(name string) Passphrase {
	return func() (string, error) {
		return p.get(fmt.Sprintf("Passphrase of %s: ", name))
	}
}

// Choose returns a Passphrase that asks for a new one for name, twice at a
// terminal. It must have MinPassphrase bytes.
func (p Prompt) Choose(name string) Passphrase {
	return func() (string, error) {
		passphrase, err := p.get(fmt.Sprintf("New passphrase of %s: ", name))
		if err != nil {
			return "", err
		}
		if len(passphrase) < MinPassphrase {
			return "", fmt.Errorf("the passphrase is shorter than %d characters", MinPassphrase)
		}
		if given, err := p.given(); given != "" || err != nil {
			return passphrase, err
		}
		again, err := p.ask("Again: ")
		if err != nil {
			return "", err
		}
		if again != passphrase {
			return "", errors.New("the two passphrases differ")
		}
		return passphrase, nil
	}
}

func (p Prompt) get(question string) (string, error) {
	if given, err := p.given(); given != "" || err != nil {
		return given, err
	}
	return p.ask(question)
}

// given returns the passphrase of the file or the environment, "" if neither is
// set.
func (p Prompt) given() (string, error) {
	file, fromEnvironment := p.File, ""
	for _, variable := range p.Environ {
		name, value, _ := strings.Cut(variable, "=")
		switch {
		case name == VariableFile && file == "":
			file = value
		case name == VariablePassphrase:
			fromEnvironment = value
		}
	}
	if file == "" {
		return fromEnvironment, nil
	}
	data, err := readPassphraseFile(file)
	if err != nil {
		return "", fmt.Errorf("read passphrase: %w", err)
	}
	line, _, _ := strings.Cut(string(data), "\n")
	if line = strings.TrimSuffix(line, "\r"); line == "" {
		return "", fmt.Errorf("read passphrase: the first line of %s is empty", file)
	}
	return line, nil
}

// readPassphraseFile reads a private file, or a pipe that a shell or a service
// manager hands over.
func readPassphraseFile(name string) ([]byte, error) {
	if info, err := os.Stat(name); err == nil && info.Mode()&os.ModeNamedPipe != 0 {
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer func() { _ = file.Close() }() // nothing was written
		return io.ReadAll(io.LimitReader(file, maxContent))
	}
	return home.ReadPrivate(name)
}

func (p Prompt) ask(question string) (string, error) {
	if p.Terminal == nil || !term.IsTerminal(int(p.Terminal.Fd())) {
		if p.Environ == nil && p.Flag != "" {
			return "", fmt.Errorf("no terminal to ask for a passphrase: give %s", p.Flag)
		}
		return "", fmt.Errorf("no terminal to ask for a passphrase: give %s or set %s", cmp.Or(p.Flag, "--passphrase-file"), VariableFile)
	}
	_, _ = fmt.Fprint(p.Output, question) // a terminal that cannot be written to shows itself
	answer, err := term.ReadPassword(int(p.Terminal.Fd()))
	_, _ = fmt.Fprintln(p.Output)
	if err != nil {
		return "", fmt.Errorf("read passphrase: %w", err)
	}
	return string(answer), nil
}
