package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/keystore"
	"github.com/tributary-network/tributary/node/testnet"
)

const (
	// dialAttempts is how often a call is tried: people wait for it.
	dialAttempts = 4
	dialMaxDelay = time.Second
)

// connection is a client with what a command needs beside it. Close it.
type connection struct {
	*client.Client

	cli    *cli
	target target
}

// connectTo dials a node.
func (c *cli) connectTo(ctx context.Context, t target) (*connection, error) {
	options := []client.Option{client.WithRetry(client.RetryPolicy{Attempts: dialAttempts, MaxDelay: dialMaxDelay})}
	secure, err := t.security()
	if err != nil {
		return nil, err
	}
	if secure != nil {
		options = append(options, client.WithTLS(secure))
	}
	conn, err := client.Dial(ctx, t.address, options...)
	if err != nil {
		return nil, t.unreachable(ctx, err)
	}
	return &connection{conn, c, t}, nil
}

// remoteExitCode says what the program ends with after the answer of a node.
func remoteExitCode(err error) int {
	switch code, _ := chain.CodeOf(err); code {
	case chain.CodeChannelNotFound, chain.CodeAccountNotFound, chain.CodeValidatorNotFound, chain.CodeDelegationNotFound:
		return exitNotFound
	default:
	}
	switch {
	case errors.Is(err, keystore.ErrNotFound):
		return exitNotFound
	case errors.Is(err, testnet.ErrNoNetwork), errors.Is(err, context.DeadlineExceeded):
		return exitUnavailable
	}
	e, ok := errors.AsType[*client.Error](err)
	if !ok {
		return exitError
	}
	switch e.Code {
	case codes.NotFound:
		return exitNotFound
	case codes.Unavailable:
		if e.Reason == "NOT_SYNCED" {
			return exitNotSynced
		}
		return exitUnavailable
	case codes.DeadlineExceeded, codes.ResourceExhausted:
		return exitUnavailable
	default:
		return exitError
	}
}

// keyrings are where keys are looked for: in the home directory, then, if the
// node is of the test network, among its named accounts. Elsewhere those names
// must not mean anything: everybody has their keys.
func (c *connection) keyrings() ([]*keystore.Keystore, error) {
	own, err := c.cli.keyring()
	if err != nil {
		return nil, err
	}
	list := []*keystore.Keystore{own.Keystore}
	if c.target.network != nil {
		named, err := keystore.Open(c.target.network.Keys, keystore.Options{Plain: true})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if err == nil {
			list = append(list, named)
		}
	}
	return list, nil
}

// zoneSign stands between the name of a key and the zone of the account that is meant.
const zoneSign = "@"

// inZone reads the name of a key, or NAME@ZONE: a key has an account in every zone, and
// that of zone 0 is meant where none is named.
func inZone(who string) (name string, zone byte, err error) {
	name, text, named := strings.Cut(who, zoneSign)
	if !named {
		return name, 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 8)
	if err != nil {
		return "", 0, usagef("%q names no account: behind %s is a zone, 0 to 255, as in alice%s1", who, zoneSign, zoneSign)
	}
	return name, byte(n), nil
}

// key opens the key called name, whatever zone follows the name.
func (c *connection) key(name string) (ledger.PrivateKey, error) {
	return find(c, name, func(ring *keystore.Keystore, name string) (ledger.PrivateKey, error) {
		key, err := ring.Load(name, c.cli.prompt(c.cli.passphraseFile).Ask(name))
		if err != nil {
			return ledger.PrivateKey{}, err
		}
		return key.Private(), nil
	})
}

// publicKey returns the public key of the key called name, whatever zone follows the name.
// It needs no passphrase.
func (c *connection) publicKey(name string) (ledger.PublicKey, error) {
	return find(c, name, func(ring *keystore.Keystore, name string) (ledger.PublicKey, error) {
		info, err := ring.Info(name)
		if err == nil && info.Public.IsZero() {
			err = fmt.Errorf("the file of key %q does not tell its public key", name)
		}
		return info.Public, err
	})
}

// find looks for a key in one keyring after the other.
func find[K any](c *connection, name string, in func(ring *keystore.Keystore, name string) (K, error)) (none K, err error) {
	rings, err := c.keyrings()
	if err != nil {
		return none, err
	}
	if name, _, err = inZone(name); err != nil {
		return none, err
	}
	if name == "" {
		return none, usagef("whose key? name it with --from")
	}
	for _, ring := range rings {
		if key, err := in(ring, name); !errors.Is(err, keystore.ErrNotFound) {
			return key, err
		}
	}
	return none, exitf(exitNotFound, "there is no key %q; 'tributary keys list' shows those there are", name)
}

// account returns the account that signs with the key called name, in the zone that is
// named with it.
func (c *connection) account(name string) (*client.Account, error) {
	key, err := c.key(name)
	if err != nil {
		return nil, err
	}
	_, zone, err := inZone(name)
	if err != nil {
		return nil, err
	}
	return c.Account(pay.NewIdentity(key, zone)), nil
}

// address reads an address, or the name of a key, with its zone behind an @ if it is not
// 0.
func (c *connection) address(who string) (ledger.Address, error) {
	if strings.HasPrefix(who, ledger.AddressPrefix+"1") {
		a, err := ledger.ParseAddress(who)
		if err != nil {
			return a, &usageError{err}
		}
		return a, nil
	}
	rings, err := c.keyrings()
	if err != nil {
		return ledger.Address{}, err
	}
	name, zone, err := inZone(who)
	if err != nil {
		return ledger.Address{}, err
	}
	for _, ring := range rings {
		if info, err := ring.Info(name); err == nil && !info.Public.IsZero() {
			return ledger.NewAddress(zone, info.Public), nil
		}
	}
	return ledger.Address{}, usagef("%q is neither an address (trib1...) nor the name of a key", who)
}

// amountFlag is a flag that holds an amount.
type amountFlag struct {
	value ledger.Amount
	given bool
}

// String implements pflag.Value.
func (a *amountFlag) String() string {
	if !a.given {
		return ""
	}
	return a.value.String()
}

// Set implements pflag.Value.
func (a *amountFlag) Set(text string) (err error) {
	a.value, err = ledger.ParseAmount(text)
	a.given = true
	return err
}

// Type implements pflag.Value.
func (a *amountFlag) Type() string { return "amount" }

// drops is an amount in JSON, in a form that the command line reads too.
type drops ledger.Amount

// MarshalText writes "12500000drops".
func (d drops) MarshalText() ([]byte, error) { //nolint:unparam // encoding.TextMarshaler
	return fmt.Appendf(nil, "%ddrops", uint64(d)), nil
}

// UnmarshalText reads what MarshalText writes.
func (d *drops) UnmarshalText(text []byte) error {
	a, err := ledger.ParseAmount(string(text))
	*d = drops(a)
	return err
}

// parseHash reads 64 hexadecimal digits, also after the name of a collection:
// channels/..., transactions/..., settlements/...
func parseHash(text string) (ledger.Hash, error) {
	if i := strings.LastIndexByte(text, '/'); i >= 0 {
		text = text[i+1:]
	}
	h, err := ledger.ParseHash(text)
	if err != nil {
		return h, usagef("%q: %w", text, err)
	}
	return h, nil
}
