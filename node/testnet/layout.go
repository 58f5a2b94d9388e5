package testnet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/node"
	"github.com/tributary-network/tributary/node/config"
	"github.com/tributary-network/tributary/node/genesis"
	"github.com/tributary-network/tributary/node/home"
)

const (
	layoutFile    = "network.json"
	layoutVersion = 1
	maxLayout     = 16 << 20 // bytes of each of the files that describe a network

	// localReserve is the disk reserve of a node that shares a machine with its
	// whole network.
	localReserve = 256 << 20
)

// Node is one node of a network, as others reach it. The validators of the genesis
// come first.
type Node struct {
	Name   string `json:"name"`
	NodeID string `json:"node_id"`
	Home   string `json:"home"` // directory
	P2P    string `json:"p2p"`  // host:port, from this machine
	GRPC   string `json:"grpc"`
	HTTP   string `json:"http"`
	Full   bool   `json:"full_node,omitempty"` // no validator of the genesis
}

// Layout is a network on disk: a directory with the genesis, a home directory
// for each node, and a description of where they listen.
type Layout struct {
	Dir     string
	Genesis genesis.Document
	Nodes   []Node
	// CA is the file of the certificate authority that signed the nodes'
	// certificates; empty if the network is without TLS.
	CA string
}

// layout is the description on disk. Paths are relative to the directory, which
// may be moved.
type layout struct {
	Version   int    `json:"version"`
	Network   string `json:"network"`
	NetworkID string `json:"network_id"`
	CA        string `json:"ca,omitempty"`
	Nodes     []Node `json:"nodes"`
}

// site is where a node is to be: what it listens on, what peers dial, and what
// it is reached by from this machine.
type site struct {
	listen    addresses
	endpoint  string
	published addresses
	shards    int // first port of its shards, 0 for any
}

// Open reads the layout in dir. The error wraps fs.ErrNotExist if there is none.
func Open(dir string) (*Layout, error) {
	data, err := home.ReadFile(filepath.Join(dir, layoutFile), maxLayout)
	if err != nil {
		return nil, fmt.Errorf("open test network: %w", err)
	}
	var l layout
	if err := json.Unmarshal(data, &l); err != nil {
		return nil, fmt.Errorf("open test network %s: %w", filepath.Join(dir, layoutFile), err)
	}
	if l.Version != layoutVersion {
		return nil, fmt.Errorf("open test network %s: layout version %d, this program reads %d; remove the directory", dir, l.Version, layoutVersion)
	}
	doc, err := LoadGenesis(dir)
	if err != nil {
		return nil, fmt.Errorf("open test network: %w", err)
	}
	for i := range l.Nodes {
		l.Nodes[i].Home = filepath.Join(dir, l.Nodes[i].Home)
	}
	if l.CA != "" {
		l.CA = filepath.Join(dir, l.CA)
	}
	return &Layout{Dir: dir, Genesis: doc, Nodes: l.Nodes, CA: l.CA}, nil
}

// Exists reports whether dir is the directory of a network, running or not.
func Exists(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, layoutFile))
	return err == nil
}

// openOrCreate opens the layout in o.Dir, or makes one there.
func openOrCreate(ctx context.Context, o Options) (*Layout, error) {
	l, err := Open(o.Dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return l, err
	}
	sites, err := localSites(ctx, o)
	if err != nil {
		return nil, err
	}
	o.say("making %s in %s", o.described(), o.Dir)
	return create(o, sites, o.TLS)
}

func localSites(ctx context.Context, o Options) ([]site, error) {
	var list []addresses
	if o.BasePort == 0 {
		var err error
		if list, err = freeAddresses(ctx, o.nodes()); err != nil {
			return nil, err
		}
	} else {
		for i := range o.nodes() {
			list = append(list, fixedAddresses("127.0.0.1", o.BasePort, i))
		}
	}
	var sites []site
	for i, a := range list {
		at := site{listen: a, endpoint: a.P2P, published: a}
		if o.BasePort != 0 {
			at.shards = o.BasePort + portStep*i + shardPorts
		}
		sites = append(sites, at)
	}
	return sites, nil
}

// create makes a network in o.Dir, of a node at each of the sites. If it fails,
// what was written stays; network.json is written last.
func create(o Options, sites []site, withTLS bool) (*Layout, error) {
	if err := Usable(o.Dir); err != nil {
		return nil, err
	}
	doc := genesis.Document{
		Name:     o.Name,
		Time:     now(),
		Params:   settlement.LocalParams(),
		Accounts: append(namedAccounts(o.operators()), o.Accounts...),
	}
	if doc.Services = o.Services; o.Services == nil && !o.NoServices {
		doc.Services = Services()
	}
	if o.Params != nil {
		o.Params(&doc.Params)
	}
	l := &Layout{Dir: o.Dir}
	for i, s := range sites {
		name := o.nodeName(i)
		dir := home.Dir(filepath.Join(o.Dir, name))
		if err := dir.Create(); err != nil {
			return nil, err
		}
		identity, err := node.CreateIdentity(dir)
		if err != nil {
			return nil, err
		}
		full := i >= o.Validators
		if !full {
			doc.Validators = append(doc.Validators, genesisValidator(name, name, identity, s.endpoint))
		}
		l.Nodes = append(l.Nodes, Node{
			Name: name, NodeID: identity.NodeID, Home: string(dir),
			P2P: s.published.P2P, GRPC: s.published.GRPC, HTTP: s.published.HTTP, Full: full,
		})
	}
	if err := doc.Validate(); err != nil {
		return nil, fmt.Errorf("test network: %w", err)
	}
	l.Genesis = doc
	var authority *authority
	if withTLS {
		var err error
		if authority, err = newAuthority(o.Dir, doc.ChainID()); err != nil {
			return nil, err
		}
		l.CA = authority.file
	}
	for i, s := range sites {
		if err := l.configure(i, s, o, l.peers(i, sites), authority); err != nil {
			return nil, err
		}
	}
	if err := doc.Save(filepath.Join(o.Dir, "genesis.json")); err != nil {
		return nil, err
	}
	return l, l.save()
}

// peers returns whom node i dials: the validators of the genesis, and a full node
// the others too, which it must reach once they are validators. They are dialled by
// full nodes alone, so that validators do not wait for them.
func (l *Layout) peers(i int, sites []site) []string {
	peers := l.Genesis.Peers(l.Nodes[i].NodeID)
	for j, n := range l.Nodes {
		if l.Nodes[i].Full && n.Full && j != i {
			peers = append(peers, n.NodeID+"@"+sites[j].endpoint)
		}
	}
	return peers
}

// configure writes the settings, the genesis and the certificate of node i.
func (l *Layout) configure(i int, s site, o Options, peers []string, authority *authority) error {
	dir := home.Dir(l.Nodes[i].Home)
	c := config.Default()
	c.Home = string(dir)
	c.Node.Moniker = l.Nodes[i].Name
	c.Node.Network = o.Name
	c.P2P.Listen = s.listen.P2P
	c.P2P.ExternalAddress = s.endpoint
	c.P2P.PersistentPeers = peers
	c.GRPC.Listen, c.HTTP.Listen = s.listen.GRPC, s.listen.HTTP
	c.Store.DiskReserve = localReserve
	c.Shards.FirstPort = s.shards
	if authority != nil {
		var err error
		if c.TLS.CertFile, c.TLS.KeyFile, err = authority.issue(dir, l.Nodes[i].Name); err != nil {
			return err
		}
		c.Shards.CAFile = "config/tls-ca.pem"
	}
	if o.Configure != nil {
		o.Configure(i, &c)
	}
	if err := c.Validate(); err != nil {
		return fmt.Errorf("settings of %s: %w", l.Nodes[i].Name, err)
	}
	if err := config.Write(c); err != nil {
		return err
	}
	if err := node.WriteFaucet(dir, Key(FaucetName(i))); err != nil {
		return err
	}
	if err := node.WriteRelayer(dir, Key(RelayerName(i))); err != nil {
		return err
	}
	return l.Genesis.Save(dir.Genesis())
}

func (l *Layout) save() error {
	d := layout{
		Version: layoutVersion, Network: l.Genesis.Name, NetworkID: l.Genesis.NetworkID().String(), Nodes: relative(l.Nodes),
	}
	if l.CA != "" {
		d.CA = filepath.Base(l.CA)
	}
	return writeJSON(filepath.Join(l.Dir, layoutFile), d)
}

// relative returns nodes with homes relative to the network's directory.
func relative(nodes []Node) []Node {
	list := slices.Clone(nodes)
	for i := range list {
		list[i].Home = filepath.Base(list[i].Home)
	}
	return list
}

// writeJSON writes a file whole or not at all.
func writeJSON(path string, value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	return home.WritePrivate(path, append(data, '\n'), true)
}

// Validators is the number of validators in the genesis, whose nodes come first.
func (l *Layout) Validators() int { return len(l.Genesis.Validators) }

// Operators lists the nodes, which have the names of the accounts that operate them.
func (l *Layout) Operators() (names []string) {
	for _, n := range l.Nodes {
		names = append(names, n.Name)
	}
	return names
}

// Keys is the directory of the named accounts' keys, a key store.
func (l *Layout) Keys() string { return filepath.Join(l.Dir, keysDir) }

// LoadGenesis reads the genesis of the network in dir.
func LoadGenesis(dir string) (genesis.Document, error) {
	return genesis.Load(filepath.Join(dir, "genesis.json"))
}
