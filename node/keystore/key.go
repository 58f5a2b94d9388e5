package keystore

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	bip39 "github.com/cosmos/go-bip39"

	"github.com/tributary-network/tributary/ledger"
)

const (
	purpose  = 44         // BIP-44
	coinType = 0x54524942 // "TRIB"
	hardened = 1 << 31
)

// Key is an account key and, if it has them, the words it was made from. It
// never prints its secrets.
type Key struct {
	private ledger.PrivateKey
	words   string
	account uint32
}

// NewKey makes a key from 24 random words.
func NewKey() (Key, error) {
	entropy := make([]byte, 32)
	if _, err := rand.Read(entropy); err != nil {
		return Key{}, fmt.Errorf("make key: %w", err)
	}
	words, err := bip39.NewMnemonic(entropy)
	if err != nil {
		return Key{}, fmt.Errorf("make key: %w", err)
	}
	return FromWords(words, 0)
}

// FromWords returns the key that 24 words of BIP-39 stand for; the case and the
// space between them do not matter. account, below 2^31, numbers the keys of one
// set of words.
func FromWords(words string, account uint32) (Key, error) {
	list := strings.Fields(strings.ToLower(words))
	if len(list) != 24 {
		return Key{}, fmt.Errorf("%d words, want 24", len(list))
	}
	if account >= hardened {
		return Key{}, fmt.Errorf("account %d is not below %d", account, uint32(hardened))
	}
	words = strings.Join(list, " ")
	seed, err := bip39.NewSeedWithErrorChecking(words, "")
	if err != nil {
		return Key{}, errors.New("these are not 24 words of BIP-39, or one of them is wrong: the checksum does not fit")
	}
	return Key{ledger.NewPrivateKey(Derive(seed, purpose, coinType, account)), words, account}, nil
}

// FromSeed returns the key of a bare Ed25519 seed. It has no words.
func FromSeed(seed [ledger.SeedSize]byte) Key {
	return Key{private: ledger.NewPrivateKey(seed)}
}

// Private returns the key itself.
func (k Key) Private() ledger.PrivateKey { return k.private }

// Words returns the 24 words, "" if the key was made from a seed, and the number
// of the account. Who has the words has the key.
func (k Key) Words() (words string, account uint32) { return k.words, k.account }

// String hides the secrets and shows the public key.
func (k Key) String() string { return k.private.String() }

// GoString hides the secrets like String.
func (k Key) GoString() string { return k.String() }

// LogValue hides the secrets like String.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// keyFile is the content of a key file before encryption: words and account, or
// seed.
type keyFile struct {
	Version int    `json:"version"`
	Words   string `json:"words,omitempty"`
	Account uint32 `json:"account,omitempty"`
	Seed    string `json:"seed,omitempty"` // hexadecimal
}

const keyFileVersion = 1

// Encode returns the secret content of a key file: one line of JSON.
func (k Key) Encode() []byte {
	f := keyFile{Version: keyFileVersion, Words: k.words, Account: k.account}
	if k.words == "" {
		seed := k.private.Seed()
		f.Seed = hex.EncodeToString(seed[:])
	}
	data, err := json.Marshal(f)
	if err != nil {
		panic(err) // strings and numbers always encode
	}
	return append(data, '\n')
}

// Decode reads what Encode returned, and nothing else.
func Decode(data []byte) (Key, error) {
	var f keyFile
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return Key{}, errors.New("read key file: not a key of Tributary") // err would quote secrets
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Key{}, errors.New("read key file: something follows the key")
	}
	if f.Version != keyFileVersion {
		return Key{}, fmt.Errorf("read key file: version %d, this program reads version %d", f.Version, keyFileVersion)
	}
	if f.Words != "" && f.Seed == "" {
		key, err := FromWords(f.Words, f.Account)
		if err != nil {
			return Key{}, fmt.Errorf("read key file: %w", err)
		}
		return key, nil
	}
	seed, err := hex.DecodeString(f.Seed)
	if err != nil || len(seed) != ledger.SeedSize || f.Words != "" || f.Account != 0 {
		return Key{}, errors.New("read key file: neither words nor a seed of 32 bytes")
	}
	return FromSeed([ledger.SeedSize]byte(seed)), nil
}

// Derive returns the Ed25519 seed that SLIP-0010 derives from seed along path.
// Every step is hardened, as the curve requires; path holds the numbers without
// the mark, each below 2^31.
func Derive(seed []byte, path ...uint32) [ledger.SeedSize]byte {
	node := hmacSHA512([]byte("ed25519 seed"), seed)
	for _, index := range path {
		step := binary.BigEndian.AppendUint32(append([]byte{0}, node[:32]...), index|hardened)
		node = hmacSHA512(node[32:], step)
	}
	return [ledger.SeedSize]byte(node[:32])
}

func hmacSHA512(key, message []byte) []byte {
	mac := hmac.New(sha512.New, key)
	mac.Write(message)
	return mac.Sum(nil)
}
