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

	// localReserve is the disk reserve of a node that shares a machine with its
	// whole network.
	localReserve = 256 << 20
)

// Node is one validator of a network, as others reach it.
type Node struct {
	Name   string `json:"name"`
	NodeID string `json:"node_id"`
	Home   string `json:"home"` // directory
	P2P    string `json:"p2p"`  // host:port, from this machine
	GRPC   string `json:"grpc"`
	HTTP   string `json:"http"`
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
}

// Open reads the layout in dir. The error wraps fs.ErrNotExist if there is none.
func Open(dir string) (*Layout, error) {
	data, err := os.ReadFile(filepath.Join(dir, layoutFile))
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
	o.say("making %d validators in %s", o.Validators, o.Dir)
	return create(o, sites, o.TLS)
}

func localSites(ctx context.Context, o Options) ([]site, error) {
	var list []addresses
	if o.BasePort == 0 {
		var err error
		if list, err = freeAddresses(ctx, o.Validators); err != nil {
			return nil, err
		}
	} else {
		for i := range o.Validators {
			list = append(list, fixedAddresses("127.0.0.1", o.BasePort, i))
		}
	}
	var sites []site
	for _, a := range list {
		sites = append(sites, site{listen: a, endpoint: a.P2P, published: a})
	}
	return sites, nil
}

// create makes a network of len(sites) validators in o.Dir. If it fails, what
// was written stays; network.json is written last.
func create(o Options, sites []site, withTLS bool) (*Layout, error) {
	if err := Usable(o.Dir); err != nil {
		return nil, err
	}
	doc := genesis.Document{
		Name:     o.Name,
		Time:     now(),
		Params:   settlement.LocalParams(),
		Accounts: append(namedAccounts(len(sites)), o.Accounts...),
	}
	if o.Params != nil {
		o.Params(&doc.Params)
	}
	l := &Layout{Dir: o.Dir}
	for i, s := range sites {
		name := fmt.Sprintf("validator%d", i+1)
		dir := home.Dir(filepath.Join(o.Dir, name))
		if err := dir.Create(); err != nil {
			return nil, err
		}
		identity, err := node.CreateIdentity(dir)
		if err != nil {
			return nil, err
		}
		doc.Validators = append(doc.Validators, genesis.Validator{
			Name: name, PublicKey: identity.PublicKey, Power: 10, NodeID: identity.NodeID, Endpoint: s.endpoint,
		})
		l.Nodes = append(l.Nodes, Node{
			Name: name, NodeID: identity.NodeID, Home: string(dir),
			P2P: s.published.P2P, GRPC: s.published.GRPC, HTTP: s.published.HTTP,
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
		if err := l.configure(i, s, o, authority); err != nil {
			return nil, err
		}
	}
	if err := doc.Save(filepath.Join(o.Dir, "genesis.json")); err != nil {
		return nil, err
	}
	return l, l.save()
}

// configure writes the settings, the genesis and the certificate of node i.
func (l *Layout) configure(i int, s site, o Options, authority *authority) error {
	dir := home.Dir(l.Nodes[i].Home)
	c := config.Default()
	c.Home = string(dir)
	c.Node.Moniker = l.Nodes[i].Name
	c.Node.Network = o.Name
	c.P2P.Listen = s.listen.P2P
	c.P2P.ExternalAddress = s.endpoint
	c.P2P.PersistentPeers = l.Genesis.Peers(l.Nodes[i].NodeID)
	c.GRPC.Listen, c.HTTP.Listen = s.listen.GRPC, s.listen.HTTP
	c.Store.DiskReserve = localReserve
	if authority != nil {
		var err error
		if c.TLS.CertFile, c.TLS.KeyFile, err = authority.issue(dir, l.Nodes[i].Name); err != nil {
			return err
		}
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

// keys is the directory of the named accounts' keys.
func (l *Layout) keys() string { return filepath.Join(l.Dir, keysDir) }

// LoadGenesis reads the genesis of the network in dir.
func LoadGenesis(dir string) (genesis.Document, error) {
	return genesis.Load(filepath.Join(dir, "genesis.json"))
}
