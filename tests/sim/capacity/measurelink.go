package main

import (
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard/link"
)

// benchMessages is how many messages a measured outbox has.
const benchMessages = 256

// mirror is the anchors of one outbox, and a handler that does nothing.
type mirror struct{ outbox ledger.Hash }

// Anchored is that of link.Anchors.
func (m *mirror) Anchored(_ ledger.ChainID, height uint64) (link.Anchored, bool) {
	return link.Anchored{Outbox: m.outbox, Clock: height}, true
}

// Owned is that of link.Anchors.
func (m *mirror) Owned(ledger.ChainID, uint64, link.Place) bool { return true }

// Execute is that of link.Handler.
func (m *mirror) Execute(*link.Context, *link.Message) error { return nil }

// Return is that of link.Handler.
func (m *mirror) Return(*link.Context, *link.Message, *link.Message) {}

func anywhere(link.Place) bool { return true }

// messages measures sending to all buckets of a shard, and importing few and many.
func (m meter) messages(c *Costs) error {
	state := unordered{table{}}
	earnings := service.EarningsMessage{Payee: keyOf("payee", 0).Address(1), Epoch: 1, Sums: service.Sums{Amount: 1, Units: 1, Work: 1}}
	payload := earnings.Encode()
	var box *link.Outbox
	send := func() error {
		o := chain.NewOverlay(state)
		ctx := &link.Context{State: o, Here: anywhere, Height: 1, Clock: 1}
		for i := range benchMessages {
			to := link.Place{Service: serviceID, Zone: 1, Bucket: uint8(i)}
			if _, err := ctx.Send(link.Draft{Link: link.Link{Src: link.Place{Service: serviceID}, Dst: to}, Kind: uint16(service.KindEarnings), Payload: payload}); err != nil {
				return err
			}
		}
		var err error
		box, err = link.NewOutbox(o.Changes())
		return err
	}
	var err error
	if c.Send, err = m.each(benchMessages, nil, send); err != nil {
		return err
	}
	one, size, err := m.imported(state, box, 1)
	if err != nil {
		return err
	}
	many, all, err := m.imported(state, box, benchMessages)
	if err != nil {
		return err
	}
	c.ImportLeaf = max(0, (many-one)/(benchMessages-1))
	proof, err := m.proof()
	if err != nil {
		return err
	}
	c.Import = max(0, one-c.ImportLeaf) + 2*proof
	c.LeafBytes = float64(all-size) / (benchMessages - 1)
	c.ImportBytes = float64(size) - c.LeafBytes + mainProofBytes
	return nil
}

// mainProofBytes is about what proves to a shard that an outbox root is anchored: a
// checkpoint with its path in the tree of its shard's heights, and the row of the shard
// with its path in main's state. The second is counted as if it cost as much as the
// first to verify, which is measured.
const mainProofBytes = 2_500

// proof measures verifying that a checkpoint is anchored.
func (m meter) proof() (micros float64, err error) {
	list := make([]cert.Checkpoint, 1_024)
	var state anchor.State
	for i := range list {
		list[i] = cert.Checkpoint{Network: networkID(), Chain: 2, Height: uint64(i + 1)}
		state.Tree.Push(list[i].Encode())
	}
	p, err := anchor.Prove(list, 500)
	if err != nil {
		return 0, err
	}
	return m.each(1, nil, func() error { return p.Verify(&state) })
}

// imported measures taking so many leaves from their encoding, with their
// acknowledgements.
func (m meter) imported(state chain.View, box *link.Outbox, leaves int) (micros float64, size int, err error) {
	in, err := box.Import(2, 1, 0, leaves)
	if err != nil {
		return 0, 0, err
	}
	raw := in.Encode()
	anchors := &mirror{outbox: box.Root()}
	micros, err = m.each(1, nil, func() error {
		in, err := link.DecodeImport(raw)
		if err != nil {
			return err
		}
		o := chain.NewOverlay(state)
		ctx := &link.Context{State: o, Here: anywhere, Height: 1, Clock: 1}
		receipts, err := ctx.Apply(&in, anchors, anchors)
		if err == nil && len(receipts) != leaves {
			err = fmt.Errorf("%d receipts of %d leaves", len(receipts), leaves)
		}
		if err == nil {
			_, err = link.NewOutbox(o.Changes())
		}
		return err
	})
	return micros, len(raw), err
}
