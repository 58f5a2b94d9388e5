package sim

import (
	"fmt"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
	"github.com/tributary-network/tributary/shard/route"
)

// blockRoom is how many bytes of imports and transactions a block of a shard takes.
const blockRoom = 64 << 10

// maxPasses bounds how often a block is applied until links and rules agree.
const maxPasses = 4

// shardRules is the whole of a block of a shard: imports, then what the service
// makes of them, then the messages that it sends.
type shardRules struct {
	net *network
	is  shard.Shard
}

func (s *shardRules) owns(p link.Place) bool {
	owner, ok := s.net.owner(p)
	return ok && owner == s.is.ID
}

// apply is that of rules. What the service refuses of the inbox has to go back on its
// link, and what goes back takes room that the service may want to send: so the
// block is applied again with the verdicts of the time before, until they agree,
// which they do at once unless something is refused.
func (s *shardRules) apply(v chain.View, b *block, strict bool) (*applied, error) {
	work := *b
	txs, err := s.order(v, &work, strict)
	if err != nil {
		return nil, err
	}
	var codes []chain.Code
	for range maxPasses {
		out, next, agree, err := s.pass(v, &work, txs, codes, strict)
		if err != nil {
			return nil, err
		}
		if agree {
			out.congested = len(b.txs) - len(txs)
			return out, nil
		}
		codes = next
	}
	return nil, fmt.Errorf("%w: links and rules do not agree in %d passes", errBlock, maxPasses)
}

func (s *shardRules) pass(v chain.View, b *block, txs []service.BlockTx, codes []chain.Code, strict bool) (out *applied, next []chain.Code, agree bool, err error) {
	o := chain.NewOverlay(v)
	ctx := &link.Context{State: o, Here: s.owns, Height: b.height, Clock: b.height}
	out = &applied{kept: block{height: b.height, parent: b.parent}}
	h := &handler{codes: codes}
	for _, raw := range b.imports {
		if again, ok := decodeAgain(raw); ok { // listing again is a transaction of its own
			if err := again.apply(ctx); err == nil {
				out.kept.imports = append(out.kept.imports, raw)
			} else if err := out.refuse(strict, err); err != nil {
				return nil, nil, false, err
			}
			continue
		}
		done, err := s.net.bring(ctx, s.is.ID, raw, h)
		if err != nil {
			if err := out.refuse(strict, err); err != nil {
				return nil, nil, false, err
			}
			continue
		}
		out.kept.imports, out.imports = append(out.kept.imports, raw), append(out.imports, done)
	}
	blk := service.Block{Height: b.height, Inbox: h.inbox, Txs: txs, Send: s.send(ctx)}
	if blk.Epoch, err = s.epoch(b.epoch); err != nil {
		if err := out.refuse(strict, err); err != nil {
			return nil, nil, false, err
		}
	} else {
		out.kept.epoch = b.epoch
	}
	for i := range txs {
		out.kept.txs = append(out.kept.txs, txs[i].Tx.Raw)
	}
	changes, res, err := service.ApplyBlock(v, s.net.params, s.net.serviceDomain(), blk, s.net.check)
	if err != nil {
		return nil, nil, false, err
	}
	next, agree = h.verdicts(res.Imports)
	for _, c := range changes {
		if c.Value == nil {
			o.Delete(c.Key)
		} else {
			o.Set(c.Key, c.Value)
		}
	}
	out.service, out.usage, out.results, out.changes = res, res.UsageRoot, res.ResultsRoot, o.Changes()
	if out.box, err = link.NewOutbox(out.changes); err != nil {
		return nil, nil, false, err
	}
	return out, next, agree, nil
}

// send is service.Block.Send over the links of the shard.
func (s *shardRules) send(ctx *link.Context) func(service.Message) bool {
	return func(m service.Message) bool {
		l := link.Link{Src: place(m.From), Dst: place(m.To)}
		out := link.OutboundAt(ctx.State, l)
		if messages, _ := out.UnderWay(); messages >= s.net.underWay {
			return false
		}
		_, err := ctx.Send(link.Draft{
			Link: l, Kind: uint16(m.Kind), Recipient: m.Recipient, Lifetime: s.net.lifetime, Payload: m.Payload,
		})
		return err == nil
	}
}

// epoch reads the proof that an epoch has begun.
func (s *shardRules) epoch(raw []byte) (*service.EpochStart, error) {
	if len(raw) == 0 {
		return nil, nil //nolint:nilnil // no proof is no epoch, which is what service.Block says by nil
	}
	p, err := decodeProof(raw)
	if err != nil {
		return nil, chain.Refuse(chain.CodeMalformed, "%v", err)
	}
	if err := p.check(s.net.seats[ledger.MainChain]); err != nil {
		return nil, chain.Refuse(chain.CodeBadCertificate, "%v", err)
	}
	e, ok := decodeEpochRecord(p.record)
	if !ok {
		return nil, chain.Refuse(chain.CodeMalformed, "not the record of an epoch")
	}
	return &service.EpochStart{Epoch: e.epoch, Sigma: e.sigma}, nil
}

// level returns how congested the shard is before a block.
func (s *shardRules) level(v chain.View) route.Level {
	c := route.Capacity{Inbox: 1, Outbox: s.net.congested, Bytes: 1 << 40, MissedAnchors: 1 << 40}
	var b route.Backlog
	for _, o := range link.Outbounds(v, uint8(s.is.Buckets.First)) {
		messages, size := o.UnderWay()
		b.Outbox, b.Bytes = b.Outbox+messages, b.Bytes+size
	}
	return c.Level(b)
}

// order puts imports and transactions into the order of a block, or checks that they
// are, and keeps users out of a congested shard. It returns the transactions.
func (s *shardRules) order(v chain.View, b *block, strict bool) ([]service.BlockTx, error) {
	if len(b.txs) > 0 {
		if err := route.Admit(route.User, s.is.ID, s.level(v)); err != nil {
			if strict {
				return nil, fmt.Errorf("%w: %w", errBlock, err)
			}
			b.txs = nil
		}
	}
	candidates, raws := make([]link.Candidate, 0, len(b.imports)+len(b.txs)), slices.Concat(b.imports, b.txs)
	txs := make([]service.BlockTx, len(b.txs))
	for i, raw := range b.txs {
		tx, err := chain.DecodeTx(s.net.serviceDomain(), raw)
		txs[i].Tx = tx
		if err != nil {
			rule := &chain.RuleError{Code: chain.CodeMalformed}
			if code, ok := chain.CodeOf(err); ok {
				rule.Code = code
			}
			txs[i] = service.BlockTx{Tx: chain.Tx{Raw: raw, Hash: chain.TxHash(raw)}, Refused: rule}
		}
	}
	for i, raw := range raws {
		c := link.Candidate{Class: link.ClassInbound, Size: len(raw)}
		switch {
		case i >= len(b.imports):
			c.Class, c.Sender, c.Messages = link.ClassUser, txs[i-len(b.imports)].Tx.Signer, 1
		case !isDelivery(raw):
			c.Class = link.ClassReturn
		default:
			if d, err := decodeDelivery(raw); err == nil {
				if in, err := link.DecodeImport(d.imported); err == nil {
					c.Class = link.ClassOf(&in)
				}
			}
		}
		candidates = append(candidates, c)
	}
	if strict {
		if err := link.CheckOrder(candidates); err != nil {
			return nil, fmt.Errorf("%w: %w", errBlock, err)
		}
		return txs, nil
	}
	return s.plan(b, candidates, raws, txs), nil
}

// plan makes b.imports what fits, in its order, and returns the transactions that do.
func (s *shardRules) plan(b *block, candidates []link.Candidate, raws [][]byte, txs []service.BlockTx) []service.BlockTx {
	imports, planned := len(b.imports), make([]service.BlockTx, 0, len(txs))
	b.imports = nil
	for _, at := range link.Plan(candidates, blockRoom) {
		if at < imports {
			b.imports = append(b.imports, raws[at])
		} else {
			planned = append(planned, txs[at-imports])
		}
	}
	return planned
}
