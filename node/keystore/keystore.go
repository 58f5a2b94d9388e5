// Package keystore keeps account keys in a directory, one per name.
//
//	NAME.age   the key, encrypted with a passphrase in the format of age
//	           (scrypt); `age -d NAME.age` opens it without this program
//	NAME.key   the same, not encrypted: a test key, on local networks only
//	NAME.pub   the public key in hexadecimal, so that keys can be listed
//	           without a passphrase; checked whenever the key is loaded
//
// A new key is 24 words of BIP-39 (256 random bits). The seed of the Ed25519 key
// is derived from the BIP-39 seed, with an empty BIP-39 passphrase, by SLIP-0010
// at m/44'/1414678850'/ACCOUNT', where 1414678850 is "TRIB" in ASCII and ACCOUNT
// is 0 unless stated. The words are kept in the file beside nothing else, so
// that they can be shown again; a key that was made from a bare seed has none.
//
// The directory must have mode 0700 and its files 0600 (package home); anything
// else is refused with the file's name and the remedy. Files are written whole
// or not at all, and no method replaces a key by another one. A Keystore is safe
// for concurrent use, in one process and by several.
package keystore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/home"
)

const (
	suffixEncrypted = ".age"
	suffixPlain     = ".key"
	suffixPublic    = ".pub"
)

// Errors of this package, wrapped by those of its functions.
var (
	ErrExists     = errors.New("there is a key of that name already")
	ErrNotFound   = errors.New("no such key")
	ErrName       = errors.New("not a name: use 1 to 63 lower-case letters, digits, hyphens and underscores")
	ErrPassphrase = errors.New("wrong passphrase")
	ErrPlain      = errors.New("unencrypted keys are for local networks only")
)

// Options changes how a Keystore works.
type Options struct {
	// WorkFactor is the base-2 logarithm of scrypt's N for keys that are
	// written, 1 to 24; 0 means DefaultWorkFactor. Keys that need more than
	// four times as much work are not read.
	WorkFactor int
	// Plain allows unencrypted keys. Set it on local networks only.
	Plain bool
}

// DefaultWorkFactor makes one try of a passphrase cost about a second and
// 256 MiB.
const DefaultWorkFactor = 18

// Keystore is a directory of keys.
type Keystore struct {
	dir        string
	workFactor int
	plain      bool
}

// Open opens the directory dir. One that is missing is a store without keys; it
// is made when the first key is added.
func Open(dir string, o Options) (*Keystore, error) {
	if o.WorkFactor == 0 {
		o.WorkFactor = DefaultWorkFactor
	}
	if o.WorkFactor < 1 || o.WorkFactor > 24 {
		return nil, fmt.Errorf("open key store: work factor %d, want 1 to 24", o.WorkFactor)
	}
	if err := home.CheckPrivateDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open key store: %w", err)
	}
	return &Keystore{dir: dir, workFactor: o.WorkFactor, plain: o.Plain}, nil
}

// Info is what is known of a key without its passphrase.
type Info struct {
	Name      string
	Public    ledger.PublicKey // zero if NAME.pub is missing; Load writes it again
	Encrypted bool
}

// Passphrase gives a passphrase when one is needed. See [Prompt].
type Passphrase func() (string, error)

// Fixed returns a Passphrase that is already known.
func Fixed(passphrase string) Passphrase {
	return func() (string, error) { return passphrase, nil }
}

// Add stores key under name, encrypted with the passphrase that is asked for, or
// unencrypted if passphrase is nil, which the options must allow. A name is 1 to
// 63 lower-case letters, digits, hyphens and underscores and begins with a
// letter or digit. The errors wrap ErrExists or ErrPlain.
func (k *Keystore) Add(name string, key Key, passphrase Passphrase) error {
	if err := k.free(name); err != nil {
		return fmt.Errorf("add key %q: %w", name, err)
	}
	suffix, data := suffixPlain, key.Encode()
	switch {
	case passphrase == nil && !k.plain:
		return fmt.Errorf("add key %q: %w", name, ErrPlain)
	case passphrase != nil:
		text, err := passphrase()
		if err != nil {
			return fmt.Errorf("add key %q: %w", name, err)
		}
		if data, err = seal(data, text, k.workFactor, false); err != nil {
			return fmt.Errorf("add key %q: %w", name, err)
		}
		suffix = suffixEncrypted
	}
	if err := os.MkdirAll(k.dir, 0o700); err != nil {
		return fmt.Errorf("add key %q: %w", name, err)
	}
	if err := home.WritePrivate(k.path(name, suffix), data, false); err != nil {
		return fmt.Errorf("add key %q: %w", name, err)
	}
	return k.writePublic(name, key)
}

// List returns the keys in the order of their names.
func (k *Keystore) List() ([]Info, error) {
	entries, err := os.ReadDir(k.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	var list []Info
	for _, e := range entries {
		name, encrypted := strings.CutSuffix(e.Name(), suffixEncrypted)
		if !encrypted {
			var plain bool
			if name, plain = strings.CutSuffix(e.Name(), suffixPlain); !plain {
				continue
			}
		}
		if checkName(name) != nil {
			continue
		}
		info, err := k.Info(name)
		if err != nil {
			return nil, err
		}
		list = append(list, info)
	}
	return slices.CompactFunc(list, func(a, b Info) bool { return a.Name == b.Name }), nil
}

// Info returns what is known of a key without its passphrase. The error wraps
// ErrNotFound if there is none.
func (k *Keystore) Info(name string) (Info, error) {
	suffix, err := k.find(name)
	if err != nil {
		return Info{}, fmt.Errorf("key %q: %w", name, err)
	}
	info := Info{Name: name, Encrypted: suffix == suffixEncrypted}
	info.Public, err = k.readPublic(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Info{}, fmt.Errorf("key %q: %w", name, err)
	}
	return info, nil
}

// Load opens a key. The passphrase is asked for only if the key is encrypted;
// nil stands for one that nobody knows. The errors wrap ErrNotFound,
// ErrPassphrase or ErrPlain.
func (k *Keystore) Load(name string, passphrase Passphrase) (Key, error) {
	key, err := k.load(name, passphrase)
	if err != nil {
		return Key{}, fmt.Errorf("load key %q: %w", name, err)
	}
	return key, nil
}

func (k *Keystore) load(name string, passphrase Passphrase) (Key, error) {
	suffix, err := k.find(name)
	if err != nil {
		return Key{}, err
	}
	if suffix == suffixPlain && !k.plain {
		return Key{}, ErrPlain
	}
	data, err := home.ReadPrivate(k.path(name, suffix))
	if err != nil {
		return Key{}, err
	}
	if suffix == suffixEncrypted {
		if passphrase == nil {
			return Key{}, fmt.Errorf("it is encrypted: %w", ErrPassphrase)
		}
		text, err := passphrase()
		if err != nil {
			return Key{}, err
		}
		if data, err = unseal(data, text, k.workFactor+2); err != nil {
			return Key{}, err
		}
	}
	key, err := Decode(data)
	if err != nil {
		return Key{}, err
	}
	switch public, err := k.readPublic(name); {
	case errors.Is(err, fs.ErrNotExist):
		return key, k.writePublic(name, key)
	case err != nil:
		return Key{}, err
	case public != key.Private().Public():
		path := k.path(name, suffixPublic)
		return Key{}, fmt.Errorf("%s is not its public key but that of another: do not use the address it gave; remove the file if you trust the key", path)
	}
	return key, nil
}

// Export returns the key encrypted with another passphrase, as armoured text
// that Import and age read.
func (k *Keystore) Export(name string, passphrase, exportPassphrase Passphrase) ([]byte, error) {
	key, err := k.Load(name, passphrase)
	if err != nil {
		return nil, err
	}
	text, err := exportPassphrase()
	if err != nil {
		return nil, fmt.Errorf("export key %q: %w", name, err)
	}
	data, err := seal(key.Encode(), text, k.workFactor, true)
	if err != nil {
		return nil, fmt.Errorf("export key %q: %w", name, err)
	}
	return data, nil
}

// Import adds a key that Export returned, or the content of a NAME.age.
func (k *Keystore) Import(name string, data []byte, exportPassphrase, passphrase Passphrase) error {
	if err := k.free(name); err != nil {
		return fmt.Errorf("import key %q: %w", name, err)
	}
	text, err := exportPassphrase()
	if err != nil {
		return fmt.Errorf("import key %q: %w", name, err)
	}
	content, err := unseal(data, text, k.workFactor+2)
	if err != nil {
		return fmt.Errorf("import key %q: %w", name, err)
	}
	key, err := Decode(content)
	if err != nil {
		return fmt.Errorf("import key %q: %w", name, err)
	}
	return k.Add(name, key, passphrase)
}

// Rotate encrypts a key with another passphrase, with this store's work factor.
// An unencrypted key cannot be rotated: add it again under another name.
func (k *Keystore) Rotate(name string, passphrase, newPassphrase Passphrase) error {
	suffix, err := k.find(name)
	if err == nil && suffix == suffixPlain {
		err = errors.New("it has no passphrase")
	}
	if err != nil {
		return fmt.Errorf("rotate the passphrase of key %q: %w", name, err)
	}
	key, err := k.Load(name, passphrase)
	if err != nil {
		return err
	}
	text, err := newPassphrase()
	if err != nil {
		return fmt.Errorf("rotate the passphrase of key %q: %w", name, err)
	}
	data, err := seal(key.Encode(), text, k.workFactor, false)
	if err != nil {
		return fmt.Errorf("rotate the passphrase of key %q: %w", name, err)
	}
	if err := home.WritePrivate(k.path(name, suffixEncrypted), data, true); err != nil {
		return fmt.Errorf("rotate the passphrase of key %q: %w", name, err)
	}
	return nil
}

// Delete removes a key for good. The error wraps ErrNotFound if there is none.
func (k *Keystore) Delete(name string) error {
	suffix, err := k.find(name)
	if err != nil {
		return fmt.Errorf("delete key %q: %w", name, err)
	}
	// The public key goes first: an address must not outlive its key.
	if err := os.Remove(k.path(name, suffixPublic)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete key %q: %w", name, err)
	}
	if err := os.Remove(k.path(name, suffix)); err != nil {
		return fmt.Errorf("delete key %q: %w", name, err)
	}
	return nil
}

func (k *Keystore) path(name, suffix string) string { return filepath.Join(k.dir, name+suffix) }

// find returns the suffix of the key's file.
func (k *Keystore) find(name string) (string, error) {
	if err := checkName(name); err != nil {
		return "", err
	}
	for _, suffix := range []string{suffixEncrypted, suffixPlain} {
		switch _, err := os.Lstat(k.path(name, suffix)); {
		case err == nil:
			return suffix, nil
		case !errors.Is(err, fs.ErrNotExist):
			return "", err
		}
	}
	return "", fmt.Errorf("%w in %s", ErrNotFound, k.dir)
}

// free reports whether a key may be added under name.
func (k *Keystore) free(name string) error {
	switch _, err := k.find(name); {
	case err == nil:
		return ErrExists
	case !errors.Is(err, ErrNotFound):
		return err
	}
	return nil
}

func (k *Keystore) readPublic(name string) (ledger.PublicKey, error) {
	data, err := home.ReadPrivate(k.path(name, suffixPublic))
	if err != nil {
		return ledger.PublicKey{}, err
	}
	public, err := ledger.ParsePublicKey(strings.TrimSpace(string(data)))
	if err != nil {
		return ledger.PublicKey{}, fmt.Errorf("read %s: %w", k.path(name, suffixPublic), err)
	}
	return public, nil
}

func (k *Keystore) writePublic(name string, key Key) error {
	text := key.Private().Public().String() + "\n"
	if err := home.WritePrivate(k.path(name, suffixPublic), []byte(text), true); err != nil {
		return fmt.Errorf("write public key of %q: %w", name, err)
	}
	return nil
}

func checkName(name string) error {
	if !regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`).MatchString(name) {
		return ErrName
	}
	return nil
}
