package memkv

import (
	"bytes"

	"github.com/tributary-network/tributary/ledger/kv"
)

// iterator walks over one root with an explicit stack of the nodes that are
// still to be visited.
type iterator struct {
	store    *Store
	from, to []byte
	reverse  bool
	stack    []*node
	cur      *node
	err      error
	closed   bool
}

var _ kv.Iterator = (*iterator)(nil)

func newIterator(s *Store, root *node, from, to []byte, reverse bool, err error) *iterator {
	it := &iterator{store: s, from: bytes.Clone(from), to: bytes.Clone(to), reverse: reverse, err: err}
	if to != nil && it.to == nil {
		it.to = []byte{}
	}
	if err == nil {
		it.push(root)
	}
	return it
}

// push descends from n to the first node in range, keeping the way back.
func (it *iterator) push(n *node) {
	for n != nil {
		below := it.from != nil && bytes.Compare(n.key, it.from) < 0
		above := it.to != nil && bytes.Compare(n.key, it.to) >= 0
		switch {
		case below:
			n = n.right
		case above:
			n = n.left
		default:
			it.stack = append(it.stack, n)
			if it.reverse {
				n = n.right
			} else {
				n = n.left
			}
		}
	}
}

func (it *iterator) Next() bool {
	it.cur = nil
	if it.err != nil || it.closed {
		return false
	}
	if _, err := it.store.current(); err != nil {
		it.err = err
		return false
	}
	if len(it.stack) == 0 {
		return false
	}
	it.cur = it.stack[len(it.stack)-1]
	it.stack = it.stack[:len(it.stack)-1]
	if it.reverse {
		it.push(it.cur.left)
	} else {
		it.push(it.cur.right)
	}
	return true
}

func (it *iterator) Key() []byte   { return it.cur.key }
func (it *iterator) Value() []byte { return it.cur.value }
func (it *iterator) Err() error    { return it.err }

func (it *iterator) Close() error {
	it.closed, it.stack = true, nil
	return it.err
}
