package client

import (
	"context"
	"fmt"
	"sync"

	"github.com/tributary-network/tributary/chain"
)

// nonces hands out the nonces of one account, each to one transaction. An
// account may use the nonces of a window in any order, so as many transactions
// can be under way. It is safe for concurrent use.
type nonces struct {
	load func(context.Context) (accountNonces, error) // reads the account

	mu      sync.Mutex
	known   bool // floor and used are those of the chain, or newer
	floor   uint64
	used    map[uint64]bool // from floor on
	busy    map[uint64]bool // handed out and not given back
	doubted map[uint64]bool // handed out, and nobody knows what became of it
	freed   chan struct{}   // closed and replaced whenever a nonce may be free
}

// accountNonces is what the chain says about an account's nonces.
type accountNonces struct {
	floor uint64
	used  []byte // bit i of byte i/8: floor+i
}

func newNonces(load func(context.Context) (accountNonces, error)) *nonces {
	return &nonces{
		load: load, used: make(map[uint64]bool), busy: make(map[uint64]bool), doubted: make(map[uint64]bool),
		freed: make(chan struct{}),
	}
}

// take returns the lowest free nonce and marks it busy. If the window is full it
// waits until one is given back.
func (n *nonces) take(ctx context.Context) (uint64, error) {
	for asked := false; ; {
		if err := n.ensure(ctx); err != nil {
			return 0, err
		}
		n.mu.Lock()
		nonce, ok := n.lowest()
		if ok {
			n.busy[nonce] = true
		}
		freed := n.freed
		n.mu.Unlock()
		if ok {
			return nonce, nil
		}
		if !asked { // the chain may be further than we know
			asked = true
			n.forget()
			continue
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return 0, fmt.Errorf("wait for one of %d nonces: %w", chain.NonceWindow, ctx.Err())
		}
	}
}

// lowest returns the lowest nonce of the window that is free, or else doubted:
// using it settles what became of it.
func (n *nonces) lowest() (uint64, bool) {
	doubted, found := uint64(0), false
	for nonce := n.floor; nonce < n.floor+chain.NonceWindow; nonce++ {
		switch {
		case n.used[nonce] || n.busy[nonce]:
		case !n.doubted[nonce]:
			return nonce, true
		case !found:
			doubted, found = nonce, true
		}
	}
	if found {
		delete(n.doubted, doubted)
	}
	return doubted, found
}

// ensure reads the account unless its nonces are known.
func (n *nonces) ensure(ctx context.Context) error {
	n.mu.Lock()
	known := n.known
	n.mu.Unlock()
	if known {
		return nil
	}
	a, err := n.load(ctx)
	if err != nil {
		return fmt.Errorf("read the account's nonces: %w", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.known = true
	for i := range uint64(len(a.used)) * 8 {
		if a.used[i/8]&(1<<(i%8)) != 0 {
			n.used[a.floor+i] = true
		}
	}
	n.raise(a.floor)
	n.announce()
	return nil
}

// raise makes floor the least floor, and goes on over what is used.
func (n *nonces) raise(floor uint64) {
	if floor > n.floor {
		for _, set := range []map[uint64]bool{n.used, n.busy, n.doubted} {
			for nonce := range set {
				if nonce < floor {
					delete(set, nonce)
				}
			}
		}
		n.floor = floor
	}
	for n.used[n.floor] {
		delete(n.used, n.floor)
		n.floor++
	}
}

// The ends of a nonce that take has handed out.
type nonceEnd uint8

const (
	nonceUsed  nonceEnd = iota // the chain has it
	nonceFree                  // it was not used and will not be
	nonceDoubt                 // it may be used by a transaction that is out of sight
)

// give ends the use of a nonce.
func (n *nonces) give(nonce uint64, end nonceEnd) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.busy, nonce)
	switch {
	case nonce < n.floor:
	case end == nonceUsed:
		n.used[nonce] = true
		n.raise(n.floor)
	case end == nonceDoubt:
		n.doubted[nonce] = true
	}
	n.announce()
}

// forget makes the next take read the account again.
func (n *nonces) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.known = false
}

func (n *nonces) announce() {
	close(n.freed)
	n.freed = make(chan struct{})
}
