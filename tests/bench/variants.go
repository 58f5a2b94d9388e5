package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
)

// variants measures under other circumstances.
func (b *bench) variants(ctx context.Context) error {
	for _, v := range []variant{
		{name: "10,000 channels", channels: 10_000},
		{name: "lane 1 of 10,000 channels", channels: 10_000, lane: 1},
		{name: "page cache of 4 MiB, 100,000 channels", channels: 100_000, cache: 4 << 20},
		{name: "settlements among transfers", channels: 10_000, mixed: true},
		{name: "1,000,000 channels", channels: b.large},
	} {
		if v.channels == 0 {
			continue
		}
		if err := b.variant(ctx, v); err != nil {
			return fmt.Errorf("%s: %w", v.name, err)
		}
	}
	return nil
}

// variant is a shorter measurement under other circumstances.
type variant struct {
	name     string
	channels int
	lane     uint8
	cache    int64 // bytes of page cache; 0 is the default
	mixed    bool  // transfers run beside the settlements
}

func (b *bench) variant(ctx context.Context, v variant) error {
	b.report.step("%s", v.name)
	net, w, err := b.network(ctx, fmt.Sprintf("n%d-%d-%d-%v", v.channels, v.lane, v.cache, v.mixed), v.cache)
	if err != nil {
		return err
	}
	defer b.end(net, w)
	if err := b.openAll(ctx, w, v.channels); err != nil {
		return err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	side, cancel := context.WithCancel(groupCtx)
	var moved atomic.Int64
	if v.mixed {
		group.Go(func() error { return w.keepTransferring(side, &moved) })
	}
	s, err := w.sustained(groupCtx, net, 4*time.Second, b.window/3, v.lane, 25_000)
	cancel()
	if err := errors.Join(err, group.Wait()); err != nil {
		return err
	}
	b.report.addRatio("settled entries, "+v.name, s.perSecond(), "entries/s", settledFigure)
	b.report.addRatio("cpu per entry and validator, "+v.name, s.cpu(), "us", cpuFigure)
	if v.mixed {
		b.report.add("transfers beside them", float64(moved.Load())/(s.to.at.Sub(s.from.at)+4*time.Second).Seconds(), "transfers/s")
	}
	return b.resident(net, ", "+v.name)
}

// keepTransferring sends transfers from the payer until ctx ends.
func (w *world) keepTransferring(ctx context.Context, moved *atomic.Int64) error {
	const burst = 200
	for ctx.Err() == nil {
		first := w.nonce
		w.nonce += burst
		err := w.transfers(context.WithoutCancel(ctx), func(i int) []byte {
			payload := settlement.Transfer{Payments: []settlement.Payment{{To: w.payees[i%payees].key.Address(0), Amount: 1}}}
			return chain.SignTx(w.domain, w.payer, chain.TxFields{
				Kind: chain.KindTransfer, Nonce: first + uint64(i), MaxFee: ledger.MaxAmount, Payload: payload.Encode(),
			})
		}, burst)
		if err != nil {
			return err
		}
		moved.Add(burst)
	}
	return nil
}
