package testnet

import (
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"

	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/config"
	"github.com/tributary-network/tributary/node/genesis"
	"github.com/tributary-network/tributary/node/telemetry"
	"github.com/tributary-network/tributary/zone"
)

const (
	// DefaultValidators is the smallest number that goes on without one.
	DefaultValidators = 4
	// MaxValidators bounds a network on one machine: its validators, and its nodes.
	MaxValidators = 32
	// DefaultBasePort is the port that the addresses of a network count from
	// unless free ones are asked for: node i listens on DefaultBasePort + 100*i
	// for its peers, on the port after it for gRPC, on the next for HTTP, and from the
	// tenth after the first on for the peers of its shards.
	DefaultBasePort = 40_000

	portStep   = 100 // between two nodes
	shardPorts = 10  // from a node's first to that of its first shard

	faucetBalance  = 1_000_000_000 * ledger.DropsPerCoin
	memberBalance  = 1_000_000 * ledger.DropsPerCoin
	validatorStake = 100_000 * ledger.DropsPerCoin // besides its operator's balance

	// Of a validator in the genesis, in basis points.
	commission       = 500
	maxCommission    = 2_000
	commissionChange = 100
)

// Options says what a network is to be like. The zero value is four validators
// on free ports of 127.0.0.1 in a temporary directory.
type Options struct {
	// Dir is the directory of the network. One that holds a network already is
	// used again, as it is. Empty means a temporary one, which Stop removes.
	Dir string
	// Discard makes Stop remove Dir, and a start that fails remove what it made.
	Discard bool
	// Name is the network's name: "local", the default, or "local-...".
	Name string
	// Validators is their number, 1 to MaxValidators. 0 means
	// DefaultValidators.
	Validators int
	// FullNodes is the number of nodes besides that are not validators yet. They
	// have keys, and accounts with money, to be registered with.
	FullNodes int
	// BasePort is where the addresses count from, as DefaultBasePort says. 0
	// picks free ports.
	BasePort int
	// TLS gives the nodes certificates of an authority made for the network; see
	// Layout.CA.
	TLS bool
	// Params changes the consensus parameters, which are
	// settlement.LocalParams.
	Params func(*settlement.Params)
	// NoServices leaves the services out of the genesis, and with them the shards: for
	// what is about the main chain alone.
	NoServices bool
	// Services are those of the genesis; nil means Services().
	Services []zone.ServiceType
	// Accounts are in the genesis besides the named ones and the faucets'.
	Accounts []genesis.Account
	// Configure changes the settings of node i after all else.
	Configure func(i int, c *config.Config)
	// Environ returns what the process of node i has in its environment besides what this
	// one has, as "NAME=value"; nil means nothing. Only for networks of processes.
	Environ func(i int) []string
	// InMemory keeps stores in memory. Only for networks in one process.
	InMemory bool
	// Handler takes the log lines of node i of a network in one process. nil
	// means a file node.log in its home directory.
	Handler func(i int) slog.Handler
	// Build is what nodes in one process say they were made from.
	Build telemetry.Build
	// Progress takes a line for every step; nil means none.
	Progress io.Writer
}

func (o Options) withDefaults() Options {
	if o.Name == "" {
		o.Name = "local"
	}
	if o.Validators == 0 {
		o.Validators = DefaultValidators
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	return o
}

// nodes is the number of nodes.
func (o Options) nodes() int { return o.Validators + o.FullNodes }

// nodeName returns the name of node i.
func (o Options) nodeName(i int) string {
	if i < o.Validators {
		return ValidatorName(i)
	}
	return FullNodeName(i - o.Validators)
}

// described says how many nodes there are.
func (o Options) described() string {
	text := fmt.Sprintf("%d validators", o.Validators)
	if o.FullNodes > 0 {
		text += fmt.Sprintf(" and %d full nodes", o.FullNodes)
	}
	return text
}

// operators lists the names of the accounts that operate the nodes, which are those
// of the nodes.
func (o Options) operators() (names []string) {
	for i := range o.nodes() {
		names = append(names, o.nodeName(i))
	}
	return names
}

// Validate reports what is wrong with the name, the number of nodes or the base
// port.
func (o Options) Validate() error { return o.withDefaults().validate() }

func (o Options) validate() error {
	switch {
	case !config.LocalNetwork(o.Name):
		return fmt.Errorf("network name %q: a network of test keys must be \"local\" or begin with \"local-\"", o.Name)
	case o.Validators < 1 || o.Validators > MaxValidators:
		return fmt.Errorf("%d validators: want 1 to %d", o.Validators, MaxValidators)
	case o.FullNodes < 0 || o.nodes() > MaxValidators:
		return fmt.Errorf("%d full nodes: want 0 to %d beside %d validators", o.FullNodes, MaxValidators-o.Validators, o.Validators)
	case o.BasePort < 0 || o.BasePort > 65_535-portStep*o.nodes():
		return fmt.Errorf("base port %d: want 1 to %d for %d nodes, or 0 for free ports", o.BasePort, 65_535-portStep*o.nodes(), o.nodes())
	}
	return nil
}

func (o Options) say(format string, args ...any) {
	fmt.Fprintf(o.Progress, format+"\n", args...)
}

// ValidatorName is the name of validator i of the genesis, from 0, of its node, and
// of the account that operates it.
func ValidatorName(i int) string { return fmt.Sprintf("%s%d", validatorPrefix, i+1) }

// FullNodeName is the name of full node i, from 0, and of the account to register
// it with.
func FullNodeName(i int) string { return fmt.Sprintf("%s%d", fullNodePrefix, i+1) }

const validatorPrefix, fullNodePrefix = "validator", "fullnode"

// Names lists the named accounts of every test network. Each node has an account
// for its faucet and one for its operator besides: see FaucetName, ValidatorName.
func Names() []string { return []string{"alice", "bob", "carol", "dave", "erin"} }

// FaucetName is the name of the account that the faucet of node i, from 0, pays
// from.
func FaucetName(i int) string { return fmt.Sprintf("faucet%d", i+1) }

// RelayerName is the name of the account that node i, from 0, pays from for what it
// carries between chains.
func RelayerName(i int) string { return fmt.Sprintf("relayer%d", i+1) }

// Key returns the key of a named account. It follows from the name alone and is
// known to everyone: it holds play money on local networks.
func Key(name string) ledger.PrivateKey {
	return ledger.NewPrivateKey(sha256.Sum256([]byte("tributary test network account " + name)))
}

// Address returns the address of a named account, in zone 0.
func Address(name string) ledger.Address { return Key(name).Address(0) }

// namedAccounts are the accounts in the genesis of every test network whose nodes
// have these operators.
func namedAccounts(operators []string) []genesis.Account {
	var list []genesis.Account
	for _, name := range Names() {
		list = append(list, genesis.Account{Name: name, Address: Address(name), Balance: memberBalance})
	}
	for _, name := range operators {
		list = append(list, genesis.Account{Name: name, Address: Address(name), Balance: memberBalance})
	}
	for i := range operators {
		name := FaucetName(i)
		list = append(list, genesis.Account{Name: name, Address: Address(name), Balance: faucetBalance})
	}
	for i := range operators {
		name := RelayerName(i)
		list = append(list, genesis.Account{Name: name, Address: Address(name), Balance: memberBalance})
	}
	return list
}
