package comet

import (
	"context"
	"fmt"
	"strings"
	"sync"

	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/p2p"
)

const (
	// inboundRoom is how many connections of peers to keep are accepted beyond
	// Config.MaxInbound, besides those that are known at the start.
	inboundRoom = 64
	// filterPath is what CometBFT asks the application before it takes a peer, with the
	// peer's id behind it.
	filterPath = "/p2p/filter/id/"
	// codeStranger is the answer that keeps a peer out.
	codeStranger = 1
)

// inbound lets in whom this node is to keep connected, and of others as many as it may.
// CometBFT knows the first of these from the start only, and counts all that are named
// later as strangers, who could keep them out. It is safe for concurrent use.
type inbound struct {
	most int // strangers

	mu    sync.Mutex
	kept  map[p2p.ID]bool
	peers func() []p2p.Peer // those that are connected; nil before the start
}

func newInbound(most int, peers []string) *inbound {
	i := &inbound{most: max(most, 0)}
	i.keep(peers)
	return i
}

// keep replaces the peers that are let in always.
func (i *inbound) keep(peers []string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.kept = make(map[p2p.ID]bool, len(peers))
	for _, peer := range peers {
		if id, _, ok := cutPeer(peer); ok {
			i.kept[id] = true
		}
	}
}

// look tells who is connected.
func (i *inbound) look(peers func() []p2p.Peer) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.peers = peers
}

// admits reports whether a peer may come in. CometBFT asks of one at a time.
func (i *inbound) admits(id p2p.ID) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.kept[id] || i.peers == nil {
		return true
	}
	strangers := 0
	for _, peer := range i.peers() {
		if !peer.IsOutbound() && !i.kept[peer.ID()] {
			strangers++
		}
	}
	return strangers < i.most
}

// Query implements abci.Application: CometBFT asks nothing but whether to take a peer.
func (a *adapter) Query(_ context.Context, req *abci.RequestQuery) (*abci.ResponseQuery, error) {
	id, ok := strings.CutPrefix(req.Path, filterPath)
	if ok && !a.inbound.admits(p2p.ID(id)) {
		return &abci.ResponseQuery{Code: codeStranger, Log: fmt.Sprintf("%d peers that this node does not keep are enough", a.inbound.most)}, nil
	}
	return &abci.ResponseQuery{}, nil
}
