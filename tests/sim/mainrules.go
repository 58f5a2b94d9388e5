package sim

import (
	"fmt"
	"maps"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard/link"
)

// epochBlocks is how many blocks of main an epoch has.
const epochBlocks = 12

func epochs() *staking.Params { return &staking.Params{EpochBlocks: epochBlocks} }

// epochOf returns the epoch of a block of main.
func epochOf(height uint64) uint64 { return epochs().Epoch(height) }

// mainRules is the whole of a block of main: what shards acknowledge, anchors, the
// transactions, and the notices that they make.
type mainRules struct{ net *network }

func isMain(p link.Place) bool { return p == link.Place{} }

// apply is that of rules.
func (m *mainRules) apply(v chain.View, b *block, strict bool) (*applied, error) {
	o := chain.NewOverlay(v)
	ctx := &link.Context{State: o, Here: isMain, Height: b.height, Clock: b.height}
	out := &applied{kept: block{height: b.height, parent: b.parent, txs: b.txs}}
	for _, raw := range b.imports {
		if err := m.bring(ctx, raw, out); err != nil {
			if err := out.refuse(strict, err); err != nil {
				return nil, err
			}
			continue
		}
		out.kept.imports = append(out.kept.imports, raw)
	}
	for _, raw := range b.anchors {
		list, err := m.net.anchors(o, b.height, raw)
		if err != nil {
			if err := out.refuse(strict, err); err != nil {
				return nil, err
			}
			continue
		}
		out.kept.anchors, out.anchored = append(out.kept.anchors, raw), append(out.anchored, list...)
	}
	txs := make([]settlement.BlockTx, len(b.txs))
	for i, raw := range b.txs {
		tx, err := chain.DecodeTx(m.net.mainDomain(), raw)
		txs[i].Tx = tx
		if err != nil {
			code, _ := chain.CodeOf(err)
			txs[i] = settlement.BlockTx{Tx: chain.Tx{Raw: raw, Hash: chain.TxHash(raw)}, Refused: &chain.RuleError{Code: code}}
		}
	}
	changes, res, err := settlement.ApplyBlock(v, m.net.main, m.net.mainDomain(), settlement.Block{Height: b.height, Txs: txs}, m.net.check)
	if err != nil {
		return nil, err
	}
	for _, c := range changes {
		if c.Value == nil {
			o.Delete(c.Key)
		} else {
			o.Set(c.Key, c.Value)
		}
	}
	if err := m.notify(ctx, &res); err != nil {
		return nil, err
	}
	out.epoch = epochOf(b.height)
	if b.height == epochs().LastBlock(out.epoch) {
		e := registry.EpochRecord{Epoch: out.epoch + 1, Sigma: res.Clock, First: b.height + 1}
		o.Set(registry.EpochKey(e.Epoch), e.Encode())
	}
	out.rows = m.net.rows(o, b.height)
	out.main, out.results, out.changes = res, res.ResultsRoot, o.Changes()
	out.box, err = link.NewOutbox(out.changes)
	return out, err
}

// bring takes acknowledgements, and messages, all of which main refuses.
func (m *mainRules) bring(ctx *link.Context, raw []byte, out *applied) error {
	if a, ok := decodeAgain(raw); ok {
		return a.apply(ctx)
	}
	done, err := m.net.bring(ctx, raw)
	if err == nil {
		out.imports = append(out.imports, done)
	}
	return err
}

// notify tells the homes of channels what the block did: see channel's notices.
func (m *mainRules) notify(ctx *link.Context, res *settlement.Result) error {
	for i := range res.Events {
		e := &res.Events[i]
		c, open := settlement.ChannelAt(ctx.State, e.Index)
		var err error
		switch {
		case e.Kind == channel.EventOpened && open:
			n := c.Opened(e.Index)
			err = m.send(ctx, e.Payer, channel.NoticeOpened, n.Encode())
		case e.Kind == channel.EventOpened: // and closed again: settlement has no way to do that in a block
			err = fmt.Errorf("channel %d was opened and is gone", e.Index)
		case e.Kind.Closed():
			n := e.ClosedNotice()
			err = m.send(ctx, e.Payer, channel.NoticeClosed, n.Encode())
		case open && (e.Kind == channel.EventToppedUp || e.Kind == channel.EventExtended):
			n := c.Changed(e.Index)
			err = m.send(ctx, e.Payer, channel.NoticeChanged, n.Encode())
		}
		if err != nil {
			return err
		}
	}
	return m.redeemed(ctx, res)
}

// redeemed sends what was paid out, one notice for each home.
func (m *mainRules) redeemed(ctx *link.Context, res *settlement.Result) error {
	homes := map[link.Place]map[[2]uint64]channel.LaneTotal{}
	payers := map[link.Place]ledger.Address{}
	for i := range res.Receipts {
		for _, e := range res.Receipts[i].Entries {
			c, open := settlement.ChannelAt(ctx.State, e.Index)
			if e.Paid == 0 && e.Burned == 0 || !open {
				continue
			}
			l, _ := settlement.LaneAt(ctx.State, e.Index, e.Lane)
			home := link.Place{Service: c.Service, Zone: c.Payer.Zone(), Bucket: c.Payer.Bucket()}
			if homes[home] == nil {
				homes[home], payers[home] = map[[2]uint64]channel.LaneTotal{}, c.Payer
			}
			homes[home][[2]uint64{e.Index, uint64(e.Lane)}] = channel.LaneTotal{Index: e.Index, Lane: e.Lane, Redeemed: l.Redeemed}
		}
	}
	for _, home := range slices.SortedFunc(maps.Keys(homes), link.Place.Compare) {
		n := channel.RedeemedNotice{Zone: home.Zone, Bucket: home.Bucket}
		n.Lanes = slices.SortedFunc(maps.Values(homes[home]), func(a, b channel.LaneTotal) int { return a.Compare(&b) })
		if err := m.send(ctx, payers[home], channel.NoticeRedeemed, n.Encode()); err != nil {
			return err
		}
	}
	return nil
}

// send sends a notice to the home of a payer. It does not expire: nothing else would
// tell the home.
func (m *mainRules) send(ctx *link.Context, payer ledger.Address, kind channel.NoticeKind, payload []byte) error {
	home := link.Place{Service: serviceID, Zone: payer.Zone(), Bucket: payer.Bucket()}
	_, err := ctx.Send(link.Draft{
		Link: link.Link{Dst: home}, Kind: uint16(kind), Recipient: payer, Lifetime: link.MaxLifetime, Payload: payload,
	})
	if err != nil {
		return fmt.Errorf("notice to %s: %w", home, err)
	}
	return nil
}
