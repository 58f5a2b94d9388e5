package pay

import (
	"context"
	"errors"
	"sync"

	"github.com/tributary-network/tributary/ledger"
)

// ErrPipeClosed is returned once an end of a Pipe has been closed.
var ErrPipeClosed = errors.New("pipe is closed")

// Answer is what a payee says to an offer, in the order of the offers.
type Answer struct {
	Offer  Offer
	Result Result
}

// Pipe connects a payer and a payee in one process: offers go one way, answers
// the other. It stands in for the application's own protocol in tests and
// examples. Both ends are safe for concurrent use.
type Pipe struct {
	offers  chan Offer
	answers chan Answer
	once    sync.Once
	closed  chan struct{}
}

// NewPipe returns a Pipe that holds up to depth offers and as many answers.
func NewPipe(depth int) *Pipe {
	return &Pipe{offers: make(chan Offer, depth), answers: make(chan Answer, depth), closed: make(chan struct{})}
}

// Send passes an offer to the payee and does not wait for the answer.
func (p *Pipe) Send(ctx context.Context, o Offer) error {
	select {
	case <-p.closed:
		return ErrPipeClosed
	default:
	}
	select {
	case p.offers <- o:
		return nil
	case <-p.closed:
		return ErrPipeClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Answer returns the next answer.
func (p *Pipe) Answer(ctx context.Context) (Answer, error) {
	select {
	case a := <-p.answers:
		return a, nil
	case <-p.closed:
		return Answer{}, ErrPipeClosed
	case <-ctx.Done():
		return Answer{}, ctx.Err()
	}
}

// Close ends the pipe for both ends. Offers and answers in it are lost.
func (p *Pipe) Close() { p.once.Do(func() { close(p.closed) }) }

// Serve accepts the offers of a pipe, as many at once as there are, until the
// pipe is closed, when it returns nil, or ctx ends.
func (p *Payee) Serve(ctx context.Context, pipe *Pipe) error {
	offers := make([]Offer, 0, MaxBatch)
	for {
		var err error
		if offers, err = pipe.receive(ctx, offers[:0]); err != nil {
			return ignoreClosed(err)
		}
		for i, result := range p.AcceptBatch(ctx, offers) {
			select {
			case pipe.answers <- Answer{Offer: offers[i], Result: result}:
			case <-pipe.closed:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

func ignoreClosed(err error) error {
	if errors.Is(err, ErrPipeClosed) {
		return nil
	}
	return err
}

// receive waits for an offer and appends it and those that wait behind it.
func (p *Pipe) receive(ctx context.Context, offers []Offer) ([]Offer, error) {
	select {
	case o := <-p.offers:
		offers = append(offers, o)
	case <-p.closed:
		return offers, ErrPipeClosed
	case <-ctx.Done():
		return offers, ctx.Err()
	}
	for len(offers) < MaxBatch {
		select {
		case o := <-p.offers:
			offers = append(offers, o)
		default:
			return offers, nil
		}
	}
	return offers, nil
}

// PayOver pays amount for units on lane through pipe and waits for the answer.
// If the payee knows of more than this payer remembers, it catches up and pays
// once more on top. Nobody else may use the pipe's payer end meanwhile.
func (c *PayerChannel) PayOver(ctx context.Context, pipe *Pipe, lane uint8, amount ledger.Amount, units uint64) (Accepted, error) {
	for again := false; ; again = true {
		v, err := c.Pay(ctx, lane, amount, units)
		if err != nil {
			return Accepted{}, err
		}
		if err := pipe.Send(ctx, Offer{Voucher: v, Price: amount}); err != nil {
			return Accepted{}, err
		}
		answer, err := pipe.Answer(ctx)
		if err != nil {
			return Accepted{}, err
		}
		var refusal *RefusalError
		if again || !errors.As(answer.Result.Err, &refusal) || refusal.Reason != OutOfDate {
			return answer.Result.Accepted, answer.Result.Err
		}
		if err := c.CatchUp(ctx, uint8(v.Lane), refusal); err != nil {
			return Accepted{}, err
		}
	}
}
