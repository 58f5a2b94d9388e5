package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/home"
	"github.com/tributary-network/tributary/node/keystore"
)

// keyResult is what is shown of a key.
type keyResult struct {
	Name      string           `json:"name"`
	Address   string           `json:"address"`
	PublicKey ledger.PublicKey `json:"public_key"`
	Encrypted bool             `json:"encrypted"`
	Testnet   bool             `json:"testnet"` // of the test network's named accounts
	Words     string           `json:"words,omitempty"`
}

func newKeyResult(info keystore.Info) keyResult { return keyResultIn(info, 0) }

// keyResultIn is a key with its address in a zone.
func keyResultIn(info keystore.Info, zone byte) keyResult {
	r := keyResult{Name: info.Name, PublicKey: info.Public, Encrypted: info.Encrypted}
	if !info.Public.IsZero() {
		r.Address = ledger.NewAddress(zone, info.Public).String()
	}
	return r
}

func (c *cli) keysCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Keep account keys",
		Long: `Keep account keys in the home directory, encrypted with a passphrase (age).

The passphrase is asked for at the terminal, or taken from --passphrase-file,
TRIBUTARY_PASSPHRASE_FILE or TRIBUTARY_PASSPHRASE.`,
	}
	cmd.PersistentFlags().StringVar(&c.passphraseFile, "passphrase-file", "", "file whose first line is the passphrase")
	cmd.AddCommand(c.keysAddCommand(), c.keysListCommand(), c.keysShowCommand(), c.keysExportCommand(),
		c.keysImportCommand(), c.keysRotateCommand(), c.keysDeleteCommand())
	return cmd
}

func (c *cli) prompt(file string) keystore.Prompt {
	p := keystore.Prompt{File: file, Environ: c.environ, Output: c.stderr}
	if f, ok := c.stdin.(*os.File); ok {
		p.Terminal = f
	}
	return p
}

// newPrompt asks for the passphrase that replaces one. What the environment says
// is the old one.
func (c *cli) newPrompt(file string) keystore.Prompt {
	p := c.prompt(file)
	p.Environ, p.Flag = nil, "--new-passphrase-file"
	return p
}

func (c *cli) printKey(r keyResult) error {
	return c.print(r, func(t *table) {
		t.field("name", r.Name)
		t.field("address", r.Address)
		t.field("public key", r.PublicKey)
		t.field("encrypted", yes(r.Encrypted))
		if r.Words != "" {
			t.field("words", r.Words)
		}
	})
}

func (c *cli) keysAddCommand() *cobra.Command {
	var recoverWords, plain, showWords bool
	var account uint32
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Make a key, or restore one from its 24 words",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			ring, err := c.keyring()
			if err != nil {
				return err
			}
			var key keystore.Key
			if recoverWords {
				if terminal(c.stdin) {
					c.note("type the 24 words, then end the line:")
				}
				words, err := readLine(c.stdin)
				if err != nil {
					return fmt.Errorf("read words: %w", err)
				}
				if key, err = keystore.FromWords(words, account); err != nil {
					return err
				}
			} else if key, err = keystore.NewKey(); err != nil {
				return err
			}
			var ask keystore.Passphrase
			if !plain {
				ask = c.prompt(c.passphraseFile).Choose(args[0])
			}
			if err := ring.Add(args[0], key, ask); err != nil {
				return err
			}
			r := keyResult{
				Name: args[0], Address: key.Private().Address(0).String(),
				PublicKey: key.Private().Public(), Encrypted: !plain,
			}
			if showWords {
				r.Words, _ = key.Words()
				c.note("write the words down; who has them has the key")
			} else if !recoverWords {
				c.note("to back the key up: tributary keys show %s --words", args[0])
			}
			return c.printKey(r)
		},
	}
	cmd.Flags().BoolVar(&recoverWords, "recover", false, "read 24 words from standard input")
	cmd.Flags().Uint32Var(&account, "account", 0, "with --recover: number of the key among those of the words")
	cmd.Flags().BoolVar(&plain, "plain", false, "do not encrypt; only in the home of a node of a local network")
	cmd.Flags().BoolVar(&showWords, "show-words", false, "print the 24 words of the new key")
	return cmd
}

func (c *cli) keysListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the keys",
		Long: `List the keys of the home directory, and those of the named accounts of the test
network, if there is one: in HOME/testnet, or where --testnet says.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			list, err := c.allKeys()
			if err != nil {
				return err
			}
			if len(list) == 0 {
				c.note("no keys; make one with 'tributary keys add NAME'")
			}
			return c.print(list, func(t *table) {
				if len(list) > 0 {
					t.row("NAME", "ADDRESS", "ENCRYPTED", "OF")
				}
				for _, k := range list {
					of := "home"
					if k.Testnet {
						of = "test network"
					}
					t.row(k.Name, k.Address, yes(k.Encrypted), of)
				}
			})
		},
	}
}

func (c *cli) keysShowCommand() *cobra.Command {
	var addressOnly, words bool
	var zone uint8
	cmd := &cobra.Command{
		Use:   "show NAME",
		Short: "Show a key's address and public key, and with --words its backup",
		Long: `Show a key's address and public key, and with --words its backup. A key has an account
in every zone: --zone says of which the address is. Commands that take the name of a key
mean the account in zone 0, and that in zone 1 by NAME@1.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			ring, err := c.keyringOf(args[0])
			if err != nil {
				return err
			}
			info, err := ring.Info(args[0])
			if err != nil {
				return err
			}
			r := keyResultIn(info, zone)
			if words {
				key, err := ring.Load(args[0], c.prompt(c.passphraseFile).Ask(args[0]))
				if err != nil {
					return err
				}
				text, account := key.Words()
				if text == "" {
					return fmt.Errorf("key %q was not made from words; use 'tributary keys export'", args[0])
				}
				if account != 0 {
					c.note("restore it with --account %d", account)
				}
				r.Words = text
			}
			if addressOnly {
				_, err := fmt.Fprintln(c.stdout, r.Address)
				return err
			}
			return c.printKey(r)
		},
	}
	cmd.Flags().Uint8Var(&zone, "zone", 0, "zone of the account whose address is shown")
	cmd.Flags().BoolVar(&addressOnly, "address", false, "print the address only")
	cmd.Flags().BoolVar(&words, "words", false, "also print the 24 words; who has them has the key")
	return cmd
}

func (c *cli) keysExportCommand() *cobra.Command {
	var exportFile string
	cmd := &cobra.Command{
		Use:   "export NAME",
		Short: "Print a key, encrypted with a passphrase of its own (age)",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			ring, err := c.keyringOf(args[0])
			if err != nil {
				return err
			}
			data, err := ring.Export(args[0], c.prompt(c.passphraseFile).Ask(args[0]), c.prompt(exportFile).Choose("the export"))
			if err != nil {
				return err
			}
			_, err = c.stdout.Write(data)
			return err
		},
	}
	cmd.Flags().StringVar(&exportFile, "export-passphrase-file", "", "file whose first line is the passphrase of the export")
	return cmd
}

func (c *cli) keysImportCommand() *cobra.Command {
	var exportFile string
	cmd := &cobra.Command{
		Use:   "import NAME FILE",
		Short: "Add a key that 'keys export' printed; FILE may be -",
		Args:  cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			ring, err := c.keyring()
			if err != nil {
				return err
			}
			data, err := c.readInput(args[1])
			if err != nil {
				return err
			}
			if err := ring.Import(args[0], data, c.prompt(exportFile).Ask("the export"), c.prompt(c.passphraseFile).Choose(args[0])); err != nil {
				return err
			}
			info, err := ring.Info(args[0])
			if err != nil {
				return err
			}
			return c.printKey(newKeyResult(info))
		},
	}
	cmd.Flags().StringVar(&exportFile, "export-passphrase-file", "", "file whose first line is the passphrase of the export")
	return cmd
}

func (c *cli) keysRotateCommand() *cobra.Command {
	var newFile string
	cmd := &cobra.Command{
		Use:   "rotate-passphrase NAME",
		Short: "Encrypt a key with another passphrase",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			ring, err := c.keyring()
			if err != nil {
				return err
			}
			if err := ring.Rotate(args[0], c.prompt(c.passphraseFile).Ask(args[0]), c.newPrompt(newFile).Choose(args[0])); err != nil {
				return err
			}
			c.note("%s has a new passphrase; copies of the old file still open with the old one", args[0])
			return nil
		},
	}
	cmd.Flags().StringVar(&newFile, "new-passphrase-file", "", "file whose first line is the new passphrase")
	return cmd
}

func (c *cli) keysDeleteCommand() *cobra.Command {
	var confirm string
	cmd := &cobra.Command{
		Use:   "delete NAME",
		Short: "Delete a key for good",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			ring, err := c.keyring()
			if err != nil {
				return err
			}
			info, err := ring.Info(args[0])
			if err != nil {
				return err
			}
			address := newKeyResult(info).Address
			if confirm != address {
				return usagef("this destroys the key of %s: confirm with --confirm %s", address, address)
			}
			return ring.Delete(args[0])
		},
	}
	cmd.Flags().StringVar(&confirm, "confirm", "", "the key's address")
	return cmd
}

// maxInput bounds what is read of a file that a command is given, in bytes.
const maxInput = 16 << 20

// readInput reads a file, or standard input for "-".
func (c *cli) readInput(name string) ([]byte, error) {
	const most = maxInput
	if name != "-" {
		return home.ReadFile(name, most)
	}
	data, err := io.ReadAll(io.LimitReader(c.stdin, most+1))
	if err == nil && len(data) > most {
		err = fmt.Errorf("standard input has more than %d bytes", most)
	}
	return data, err
}

// readLine reads one line.
func readLine(r io.Reader) (string, error) {
	var line strings.Builder
	one := make([]byte, 1)
	for line.Len() < 4096 {
		n, err := r.Read(one)
		if n == 1 && one[0] == '\n' || errors.Is(err, io.EOF) {
			return line.String(), nil
		}
		if err != nil {
			return "", err
		}
		line.Write(one[:n])
	}
	return "", errors.New("the line is too long")
}
