package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/directory"
	"github.com/tributary-network/tributary/shard"
)

// openPeers makes what reaches other nodes for shards that do not run here.
func (n *Node) openPeers(context.Context, Options) (err error) {
	d := &doors{own: n.nodeKey.ID(), directory: n.directory, keepers: n.keepers}
	if file := n.cfg.Path(n.cfg.Shards.CAFile); file != "" {
		if d.roots, err = api.LoadAuthority(file); err != nil {
			return fmt.Errorf("shards.ca_file: %w", err)
		}
	}
	n.doors = d
	n.peers, err = api.NewPeers(api.PeersConfig{Directory: d.endpoints, Credentials: d.credentials, Now: time.Now})
	return err
}

// doors knows where other nodes serve the API, and how. It is safe for concurrent use.
type doors struct {
	own       string // id of this node
	directory *directory.Directory
	// keepers returns who may have what a shard did that has ended, nobody of any other.
	keepers func(id ledger.ChainID) []ledger.PublicKey
	roots   *x509.CertPool // nil means the system's

	mu     sync.Mutex
	secure map[string]bool // by endpoint, of those that were handed out
}

// endpoints returns where nodes that run a shard serve the API: those of validators, and
// those that have caught up, first. Of a shard that has ended they are followed by those
// of the validators that ended it. Plaintext is spoken on this machine only.
func (d *doors) endpoints(id ledger.ChainID) (list []string) {
	for _, e := range d.directory.Hosts(id) {
		if !slices.Contains(list, e.GRPC) && d.open(&e) {
			list = append(list, e.GRPC)
		}
	}
	keepers := d.keepers(id)
	if len(keepers) == 0 {
		return list
	}
	for _, e := range d.directory.Nodes() {
		if e.Validator != (ledger.PublicKey{}) && slices.Contains(keepers, e.Validator) && !slices.Contains(list, e.GRPC) && d.open(&e) {
			list = append(list, e.GRPC)
		}
	}
	return list
}

// open reports whether another node can be asked, and notes how.
func (d *doors) open(e *directory.Entry) bool {
	if e.NodeID == d.own || e.GRPC == "" || !e.TLS && !api.Loopback(e.GRPC) {
		return false
	}
	d.note(e.GRPC, e.TLS)
	return true
}

func (d *doors) note(endpoint string, secure bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.secure == nil || len(d.secure) > directory.MaxRecords {
		d.secure = make(map[string]bool)
	}
	d.secure[endpoint] = secure
}

// credentials returns how the connection to an endpoint is secured.
func (d *doors) credentials(endpoint string) credentials.TransportCredentials {
	d.mu.Lock()
	secure, known := d.secure[endpoint]
	d.mu.Unlock()
	if known && !secure && api.Loopback(endpoint) {
		return insecure.NewCredentials()
	}
	host, _, _ := net.SplitHostPort(endpoint)
	return credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS13, RootCAs: d.roots, ServerName: host})
}

// hostedShards are the shards of a node for the API.
type hostedShards struct{ shards *shards }

// Shard implements api.Shards.
func (s hostedShards) Shard(id shard.ID) (api.Shard, bool) {
	h := s.shards.find(id)
	if h == nil {
		return nil, false
	}
	return api.HostShard(h.shard, h.serves), true
}

// serves tells how the chain of a shard does. One that does not run yet, or any more, or has
// no state, catches up.
func (h *hosted) serves() api.ChainInfo {
	s := &h.sample.Load().chain
	info := chainInfo(s)
	info.CatchingUp = info.CatchingUp || !s.Running && s.Halt == nil || h.layer.Empty()
	return info
}

// Hosted implements api.Shards.
func (s hostedShards) Hosted() []shard.ID { return s.shards.running() }

// runElsewhere reports whether another node says that it runs a shard.
func (n *Node) runElsewhere(id shard.ID) bool {
	own := n.nodeKey.ID()
	return slices.ContainsFunc(n.directory.Hosts(id), func(e directory.Entry) bool { return e.NodeID != own })
}
