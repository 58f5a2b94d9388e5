package comet

import (
	"time"

	"github.com/cometbft/cometbft/p2p"
	gogotypes "github.com/cosmos/gogoproto/types"
)

// Limits of questions.
const (
	AskCredit = askCredit
	AskOpen   = askOpen
	AskShun   = askShun
)

// Inquiry is what a node keeps of questions and answers, without a network: of one peer.
type Inquiry struct {
	r   *inquiry
	a   *asker
	now func() time.Time
}

// NewInquiry has an application and a clock.
func NewInquiry(app Answerer, now func() time.Time) *Inquiry {
	r := newInquiry(answerer{&adapter{gate: newGate()}, app})
	r.now = now
	return &Inquiry{r, newAsker(now()), now}
}

// Ask asks the peer, and reports whether it is asked.
func (i *Inquiry) Ask() bool { return i.a.asked(i.now()) }

// Heard takes a message of the peer, and returns what is answered and whether it was looked
// at.
func (i *Inquiry) Heard(kind byte, body []byte) (answer []byte, looked bool) {
	w, looked := i.a.hear(append([]byte{kind}, body...), i.now())
	if !looked {
		return nil, false
	}
	return i.r.look(w), true
}

// HeardNothing takes an empty message.
func (i *Inquiry) HeardNothing() bool {
	_, looked := i.a.hear(nil, i.now())
	return looked
}

// SendWord sends all peers of c what an honest node does not.
func SendWord(c *Chain, body []byte) {
	for _, peer := range c.engine.Switch().Peers().Copy() {
		peer.TrySend(p2p.Envelope{ChannelID: askChannel, Message: &gogotypes.BytesValue{Value: body}})
	}
}
