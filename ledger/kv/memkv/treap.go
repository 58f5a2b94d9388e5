package memkv

import (
	"bytes"
	"hash/fnv"
)

// node is a node of a persistent treap: a search tree by key and a heap by
// weight, which makes its shape a function of its keys. Nodes never change.
type node struct {
	key, value  []byte
	weight      uint64
	left, right *node
}

func weigh(key []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(key) // a hash never fails
	// FNV keeps the order of keys that differ in the last byte; the
	// multiplication spreads it (the finaliser of MurmurHash3).
	w := h.Sum64()
	w ^= w >> 33
	w *= 0xff51afd7ed558ccd
	w ^= w >> 33
	return w
}

func (n *node) count() int {
	if n == nil {
		return 0
	}
	return n.left.count() + 1 + n.right.count()
}

// get returns a copy of the value of key, or nil.
func (n *node) get(key []byte) []byte {
	for n != nil {
		switch c := bytes.Compare(key, n.key); {
		case c < 0:
			n = n.left
		case c > 0:
			n = n.right
		default:
			return append([]byte{}, n.value...)
		}
	}
	return nil
}

// with returns a copy of n with other children.
func (n *node) with(left, right *node) *node {
	return &node{key: n.key, value: n.value, weight: n.weight, left: left, right: right}
}

// set returns the tree with key set to value. Both are kept.
func (n *node) set(key, value []byte) *node {
	if n == nil {
		return &node{key: key, value: value, weight: weigh(key)}
	}
	switch c := bytes.Compare(key, n.key); {
	case c < 0:
		l := n.left.set(key, value)
		if l.weight > n.weight {
			return l.with(l.left, n.with(l.right, n.right))
		}
		return n.with(l, n.right)
	case c > 0:
		r := n.right.set(key, value)
		if r.weight > n.weight {
			return r.with(n.with(n.left, r.left), r.right)
		}
		return n.with(n.left, r)
	default:
		return &node{key: n.key, value: value, weight: n.weight, left: n.left, right: n.right}
	}
}

// remove returns the tree without key.
func (n *node) remove(key []byte) *node {
	if n == nil {
		return nil
	}
	switch c := bytes.Compare(key, n.key); {
	case c < 0:
		if l := n.left.remove(key); l != n.left {
			return n.with(l, n.right)
		}
	case c > 0:
		if r := n.right.remove(key); r != n.right {
			return n.with(n.left, r)
		}
	default:
		return join(n.left, n.right)
	}
	return n
}

// join merges two trees of which every key of l is below every key of r.
func join(l, r *node) *node {
	switch {
	case l == nil:
		return r
	case r == nil:
		return l
	case l.weight > r.weight:
		return l.with(l.left, join(l.right, r))
	default:
		return r.with(join(l, r.left), r.right)
	}
}
