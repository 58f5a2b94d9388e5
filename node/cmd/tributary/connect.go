package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/config"
	"github.com/tributary-network/tributary/node/keystore"
	"github.com/tributary-network/tributary/node/testnet"
)

const (
	defaultNode = "127.0.0.1:9090"

	// dialAttempts is how often a call is tried: people wait for it.
	dialAttempts = 4
	dialMaxDelay = time.Second
)

// target is the node that a command talks to.
type target struct {
	address string
	ca      string           // file of the authority that signed its certificate; "" for the system's
	network *testnet.Running // nil unless it is of a network on this machine
}

// target finds the node: --node, TRIBUTARY_NODE, the running test network, the
// node of the home directory, and at last the default address.
func (c *cli) target() (target, error) {
	t := target{address: c.node, ca: c.ca}
	if t.address == "" {
		t.address = c.getenv("TRIBUTARY_NODE")
	}
	if t.ca == "" {
		t.ca = c.getenv("TRIBUTARY_CA")
	}
	dir := c.network
	if dir == "" {
		var err error
		if dir, err = c.defaultTestnetDir(); err != nil {
			return t, err
		}
	}
	switch r, err := testnet.Find(dir); {
	case err == nil && (t.address == "" || ofNetwork(r, t.address)):
		t.network = &r
		if t.address == "" {
			t.address = r.Nodes[0].GRPC
		}
		if t.ca == "" {
			t.ca = r.CA
		}
	case err != nil && c.network != "":
		return t, err
	case err != nil && !errors.Is(err, testnet.ErrStopped):
		return t, err
	}
	if t.address == "" {
		t.address = c.homeNode()
	}
	return t, nil
}

func ofNetwork(r testnet.Running, address string) bool {
	for _, n := range r.Nodes {
		if n.GRPC == address {
			return true
		}
	}
	return false
}

// homeNode is the address of the home directory's own node, if it has one.
func (c *cli) homeNode() string {
	dir, err := c.homeDir()
	if err != nil {
		return defaultNode
	}
	settings, err := config.Load(string(dir), nil, nil)
	if err != nil || settings.GRPC.Listen == "" {
		return defaultNode
	}
	host, port, err := net.SplitHostPort(settings.GRPC.Listen)
	if err != nil {
		return defaultNode
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// connection is a client with what a command needs beside it. Close it.
type connection struct {
	*client.Client

	cli    *cli
	target target
}

// connect dials the node. The context that it returns ends after --timeout.
func (c *cli) connect(ctx context.Context) (*connection, error) {
	t, err := c.target()
	if err != nil {
		return nil, err
	}
	options := []client.Option{client.WithRetry(client.RetryPolicy{Attempts: dialAttempts, MaxDelay: dialMaxDelay})}
	if t.ca != "" {
		secure, err := trust(t.ca)
		if err != nil {
			return nil, err
		}
		options = append(options, client.WithTLS(secure))
	}
	conn, err := client.Dial(ctx, t.address, options...)
	if err != nil {
		return nil, unreachable(t.address, err)
	}
	return &connection{conn, c, t}, nil
}

// trust returns a configuration that trusts the authority in a file.
func trust(file string) (*tls.Config, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read certificate authority: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read certificate authority: %s holds no certificate", file)
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots}, nil
}

// unreachable says what to do if a node does not answer at all.
func unreachable(address string, err error) error {
	if e, ok := errors.AsType[*client.Error](err); !ok || e.Code != codes.Unavailable || e.Reason != "" {
		return err
	}
	return exitf(exitUnavailable, "no node answers at %s; start a network with 'tributary testnet up', or name a node with --node (%w)", address, err)
}

// remoteExitCode says what the program ends with after the answer of a node.
func remoteExitCode(err error) int {
	switch code, _ := chain.CodeOf(err); code {
	case chain.CodeChannelNotFound, chain.CodeAccountNotFound:
		return exitNotFound
	default:
	}
	switch {
	case errors.Is(err, keystore.ErrNotFound):
		return exitNotFound
	case errors.Is(err, testnet.ErrStopped), errors.Is(err, context.DeadlineExceeded):
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

// keyrings are where keys are looked for: in the home directory, then among the
// named accounts of the test network.
func (c *connection) keyrings() ([]*keystore.Keystore, error) {
	own, err := c.cli.keyring()
	if err != nil {
		return nil, err
	}
	list := []*keystore.Keystore{own}
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

// key opens the key called name, in zone 0.
func (c *connection) key(name string) (ledger.PrivateKey, error) {
	rings, err := c.keyrings()
	if err != nil {
		return ledger.PrivateKey{}, err
	}
	if name == "" {
		return ledger.PrivateKey{}, usagef("whose key signs? name it with --from")
	}
	for _, ring := range rings {
		key, err := ring.Load(name, c.cli.prompt(c.cli.passphraseFile).Ask(name))
		if err == nil {
			return key.Private(), nil
		}
		if !errors.Is(err, keystore.ErrNotFound) {
			return ledger.PrivateKey{}, err
		}
	}
	return ledger.PrivateKey{}, exitf(exitNotFound, "there is no key %q; 'tributary keys list' shows those there are", name)
}

// account returns the account that signs with the key called name.
func (c *connection) account(name string) (*client.Account, error) {
	key, err := c.key(name)
	if err != nil {
		return nil, err
	}
	return c.Account(pay.NewIdentity(key, 0)), nil
}

// address reads an address, or the name of a key.
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
	for _, ring := range rings {
		if info, err := ring.Info(who); err == nil && !info.Public.IsZero() {
			return ledger.NewAddress(0, info.Public), nil
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
