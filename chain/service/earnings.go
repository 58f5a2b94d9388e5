package service

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// KeptEpochs is how many epochs of a provider are kept apart. Older ones are in
// its total only.
const KeptEpochs = 8

// Earned is what a provider earned in one epoch. Each number stays at the most that there
// is (ledger.MaxAmount drops, 2^64-1 units) when more is said.
type Earned struct {
	Epoch uint64
	Sums
}

// Earnings is what a provider has earned on a service, in its home shard.
type Earnings struct {
	Total  Sums     // modulo 2^64
	Epochs []Earned // those with earnings, ascending, at most KeptEpochs
}

// In returns what was earned in epoch, zero if nothing was or if it is too old.
func (e *Earnings) In(epoch uint64) Sums {
	if i, ok := e.find(epoch); ok {
		return e.Epochs[i].Sums
	}
	return Sums{}
}

func (e *Earnings) find(epoch uint64) (int, bool) {
	return slices.BinarySearchFunc(e.Epochs, epoch, func(x Earned, epoch uint64) int { return cmp.Compare(x.Epoch, epoch) })
}

// add counts s for epoch, and forgets the oldest epoch if there are too many.
func (e *Earnings) add(epoch uint64, s Sums) {
	e.Total = e.Total.Plus(s)
	i, ok := e.find(epoch)
	if !ok {
		e.Epochs = slices.Insert(e.Epochs, i, Earned{Epoch: epoch})
	}
	e.Epochs[i].Sums = e.Epochs[i].upTo(s)
	if over := len(e.Epochs) - KeptEpochs; over > 0 {
		e.Epochs = e.Epochs[over:]
	}
}

// Encode returns the value of the earnings: total 24 | count u8 |
// count x (epoch u64 | sums 24).
func (e *Earnings) Encode() []byte {
	w := codec.NewWriter(SumsSize + 1 + len(e.Epochs)*(8+SumsSize))
	writeSums(w, e.Total)
	w.Uint8(uint8(len(e.Epochs)))
	for i := range e.Epochs {
		w.Uint64(e.Epochs[i].Epoch)
		writeSums(w, e.Epochs[i].Sums)
	}
	return w.Bytes()
}

// DecodeEarnings reads a value written by Encode.
func DecodeEarnings(b []byte) (Earnings, error) {
	var e Earnings
	r := codec.NewReader(b)
	e.Total = readSums(r)
	n := int(r.Uint8())
	if n > KeptEpochs {
		return Earnings{}, fmt.Errorf("decode earnings: %d epochs, at most %d", n, KeptEpochs)
	}
	for i := range n {
		x := Earned{Epoch: r.Uint64()}
		x.Sums = readSums(r)
		if i > 0 && x.Epoch <= e.Epochs[i-1].Epoch {
			return Earnings{}, fmt.Errorf("decode earnings: epoch %d after %d, want ascending", x.Epoch, e.Epochs[i-1].Epoch)
		}
		e.Epochs = append(e.Epochs, x)
	}
	if err := r.Done(); err != nil {
		return Earnings{}, fmt.Errorf("decode earnings: %w", err)
	}
	return e, nil
}

// EarningsOf returns what payee, whose home v is, has earned; zero if nothing.
func EarningsOf(v chain.View, payee ledger.Address) Earnings {
	b := v.Get(EarningsKey(payee))
	if b == nil {
		return Earnings{}
	}
	return must(DecodeEarnings(b))
}

// netting is what a block adds, by payee.
type netting map[ledger.Address]Sums

// add adds what is booked for a payee. What a message could not count is stuck.
func (b *block) add(payee ledger.Address, s Sums) {
	if !b.added[payee].holds(s) {
		b.stick(b.shard.First, s)
		return
	}
	b.added[payee] = b.added[payee].Plus(s)
}

// net books what the block added: at home for payees of this shard, and by one
// message each for the others: first those who wait, as far as one block goes, then
// ascending by payee. What the link to a place has no room for waits, and goes with what
// is added later, in the epoch in which it goes. It takes time proportional to the payees
// of the block, however many wait.
func (b *block) net(send func(Message) bool) []Message {
	n := nets{block: b, send: send, full: make(map[Place]bool)}
	n.queued()
	payees := make([]ledger.Address, 0, len(b.added))
	for p := range b.added {
		payees = append(payees, p)
	}
	slices.SortFunc(payees, ledger.Address.Compare)
	for _, p := range payees {
		var waits Sums
		if value := b.state.Get(waitingKey(p)); value != nil {
			waits = sumsAt(value)
		}
		s := b.added[p]
		if waits.holds(s) {
			s = waits.Plus(s)
		} else { // what a message could not count
			b.stick(b.shard.First, s)
			s = waits
		}
		if n.book(p, s) {
			b.wait(p, waits, Sums{})
		} else {
			b.wait(p, waits, s)
		}
	}
	return n.out
}

// wait changes what waits for a payee.
func (b *block) wait(payee ledger.Address, from, to Sums) {
	if from == to {
		return
	}
	b.totals.Waiting = b.totals.Waiting.Plus(to).Minus(from)
	if to == (Sums{}) {
		b.state.Delete(waitingKey(payee))
		return
	}
	w := codec.NewWriter(SumsSize)
	writeSums(w, to)
	b.state.Set(waitingKey(payee), w.Bytes())
	queue(b.state, HomeOf(payee), true)
}

// credit adds to what a payee of this shard has earned. An epoch that this shard
// has not begun counts as the next one, so that no number from elsewhere can push
// out what is kept.
func (b *block) credit(payee ledger.Address, epoch uint64, s Sums) {
	e := EarningsOf(b.state, payee)
	e.add(min(epoch, b.epoch.Number+1), s)
	b.state.Set(EarningsKey(payee), e.Encode())
	b.totals.Earned = b.totals.Earned.Plus(s)
}
