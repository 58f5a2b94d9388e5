package sim

import (
	"fmt"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/shard/link"
)

// blockRoom is how many bytes of relays and transactions a block of a shard takes.
const blockRoom = 64 << 10

// shardRules is the whole of a block of a shard: chain/shardblock with the model of
// signatures.
type shardRules struct {
	net *network
	is  service.Shard
}

func (s *shardRules) verifiers() shardblock.Verifiers {
	return shardblock.Verifiers{Claims: s.net.check, Certificate: s.net.verify}
}

// apply is that of rules.
func (s *shardRules) apply(v chain.View, b *block, strict bool) (*applied, error) {
	out := &applied{kept: *b}
	var resume *shardblock.Resume
	base := v
	if len(b.resume) > 0 {
		r, err := shardblock.DecodeResume(b.resume)
		if err == nil {
			base, err = r.Over(v)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errBlock, err)
		}
		resume = &r
	}
	if !strict {
		s.propose(base, b, out)
	}
	blk := shardblock.Block{Height: b.height, Txs: s.records(out.kept.txs), Resume: resume}
	for _, raw := range out.kept.imports {
		r, err := shardblock.DecodeRelay(raw)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errBlock, err)
		}
		blk.Relays = append(blk.Relays, r)
	}
	changes, res, err := shardblock.Apply(v, blk, s.verifiers())
	if shardblock.IsInvalid(err) {
		return nil, fmt.Errorf("%w: %w", errBlock, err)
	}
	if err != nil {
		return nil, err
	}
	out.changes, out.box, out.epoch, out.generation = changes, res.Outbox, res.Epoch, res.Generation
	out.service, out.usage, out.results = res.Service, res.Service.UsageRoot, res.Service.ResultsRoot
	for i := range res.Imports {
		in := &res.Imports[i]
		done := imported{in: *in.Import, receipts: in.Receipts, seen: in.Clock, most: in.Clock}
		done.list()
		out.imports = append(out.imports, done)
	}
	return out, nil
}

// propose keeps of a block what may be in it, in its order.
func (s *shardRules) propose(v chain.View, b *block, out *applied) {
	out.kept.imports = nil
	if err := shardblock.AdmitUsers(v, b.height); err != nil {
		out.kept.txs, out.congested = nil, len(b.txs)
	}
	var relays []*shardblock.Relay
	var raws [][]byte
	var sizes []int
	for _, raw := range b.imports {
		r, err := shardblock.DecodeRelay(raw)
		if err != nil {
			out.refuseCode(err)
			continue
		}
		relays, raws, sizes = append(relays, r), append(raws, raw), append(sizes, len(raw))
	}
	users := 0
	for _, raw := range out.kept.txs {
		users += len(raw)
	}
	left := blockRoom
	picked := shardblock.Plan(v, b.height, relays, sizes, users, blockRoom, s.net.verify)
	for _, i := range picked {
		out.kept.imports, left = append(out.kept.imports, raws[i]), left-sizes[i]
	}
	if len(picked) < len(relays) {
		s.refused(shardblock.NewTrial(v, b.height, s.net.verify), relays, picked, out)
	}
	for i, raw := range out.kept.txs {
		if left -= len(raw); left < 0 {
			out.kept.txs = out.kept.txs[:i]
			break
		}
	}
}

// refused notes why relays that were not picked are kept out of a block; what had no room
// only waits.
func (s *shardRules) refused(t *shardblock.Trial, relays []*shardblock.Relay, picked []int, out *applied) {
	for _, i := range picked {
		if err := t.Try(relays[i]); err != nil {
			panic(err) // Plan picks what applies
		}
	}
	for i, r := range relays {
		if slices.Contains(picked, i) {
			continue
		}
		if err := t.Try(r); err != nil {
			if code, _ := chain.CodeOf(err); code == chain.CodeNeverSent && slices.ContainsFunc(r.Import.Link.Leaves, isReturn) {
				out.returns++
			}
			out.refuseCode(err)
		}
	}
}

// isReturn reports whether a leaf is a message that comes back.
func isReturn(l link.Leaf) bool { return l.Message != nil && l.Message.IsBounce() }

// records decodes transactions.
func (s *shardRules) records(raws [][]byte) []service.BlockTx {
	txs := make([]service.BlockTx, len(raws))
	for i, raw := range raws {
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
	return txs
}
