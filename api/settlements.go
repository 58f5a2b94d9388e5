package api

import (
	"cmp"
	"context"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	settlementv1 "github.com/tributary-network/tributary/proto/tributary/settlement/v1"
)

// settlements implements SettlementService.
type settlements struct {
	settlementv1.UnimplementedSettlementServiceServer
	*backend
}

// SubmitSettlement implements SettlementServiceServer.
func (s *settlements) SubmitSettlement(ctx context.Context, req *settlementv1.SubmitSettlementRequest) (*settlementv1.SubmitSettlementResponse, error) {
	tx, err := s.batchTx(req.GetBatch(), req.GetSignedTx(), sealed)
	if err != nil {
		return nil, err
	}
	status, err := s.submit(ctx, &submission{
		requestID: req.GetRequestId(), tx: tx, waitFor: req.GetWaitFor(), validateOnly: req.GetValidateOnly(),
	})
	if err != nil {
		return nil, err
	}
	return &settlementv1.SubmitSettlementResponse{
		Settlement: renderSettlement(&status, &tx, s.blockTime(&status), detailOf(req.GetFullResults())),
	}, nil
}

// batchTx returns the transaction that came as fields or as signed bytes, whose
// form is right.
func (b *backend) batchTx(batch *settlementv1.SettlementBatch, signed []byte, how sealing) (chain.Tx, error) {
	d := b.Network.Domain
	var tx chain.Tx
	if batch == nil {
		var err error
		if tx, err = openSigned(d, signed, chain.KindSettle); err != nil {
			return tx, err
		}
	} else {
		payload, err := batchPayload("batch", batch)
		if err != nil {
			return tx, err
		}
		raw, err := seal(d, "batch.envelope", batch.GetEnvelope(), chain.KindSettle, payload, how)
		if err != nil {
			return tx, err
		}
		if tx, err = chain.DecodeTx(d, raw); err != nil {
			return tx, err
		}
	}
	_, err := channel.DecodeBatch(tx.Payload)
	return tx, err
}

// EstimateSettlement implements SettlementServiceServer.
func (s *settlements) EstimateSettlement(ctx context.Context, req *settlementv1.EstimateSettlementRequest) (*settlementv1.EstimateSettlementResponse, error) {
	tx, err := s.batchTx(req.GetBatch(), req.GetSignedTx(), draft)
	if err != nil {
		return nil, err
	}
	s.rates.charge(callerIP(ctx), submitTokens(entriesOf(&tx), int64(len(tx.Raw))))
	var receipt settlement.Receipt
	err = s.State.Read(func(v chain.View, height uint64) error {
		receipt, err = settlement.Admit(v, s.Network.Params, s.Network.Domain, height+1, &tx)
		return err
	})
	if err != nil {
		return nil, s.explain(err, &tx)
	}
	status := simulated(&receipt, tx.Hash)
	return &settlementv1.EstimateSettlementResponse{
		Settlement: renderSettlement(&status, &tx, 0, detailOf(req.GetFullResults())),
	}, nil
}

// GetSettlement implements SettlementServiceServer.
func (s *settlements) GetSettlement(_ context.Context, req *settlementv1.GetSettlementRequest) (*settlementv1.GetSettlementResponse, error) {
	status, err := s.find(req.GetName())
	if err != nil {
		return nil, err
	}
	return &settlementv1.GetSettlementResponse{
		Settlement: renderSettlement(&status, nil, s.blockTime(&status), detailOf(req.GetFullResults())),
	}, nil
}

// find returns the status of the settlement with that name.
func (s *settlements) find(name string) (exec.Status, error) {
	hash, err := parseHashName("name", collectionSettlements, name)
	if err != nil {
		return exec.Status{}, err
	}
	status, err := s.look(hash, name)
	if err != nil {
		return exec.Status{}, err
	}
	if status.Receipt != nil && status.Receipt.Kind != chain.KindSettle {
		return exec.Status{}, missing(ReasonTransactionNotFound, name, "%s is a %s and no settlement; ask for %s", name, status.Receipt.Kind, TransactionName(hash))
	}
	return status, nil
}

// ListSettlements implements SettlementServiceServer.
func (s *settlements) ListSettlements(ctx context.Context, req *settlementv1.ListSettlementsRequest) (*settlementv1.ListSettlementsResponse, error) {
	filters, payee, err := settlementFilters(req)
	if err != nil {
		return nil, err
	}
	list := newFilter("ListSettlements", req.GetPayee(), req.GetSigner())
	keep := func(st *exec.Status) bool {
		return st.Receipt.Kind == chain.KindSettle && (payee.IsZero() || s.pays(st.Receipt, payee))
	}
	statuses, next, err := s.listTxs(ctx, list, filters, keep, req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	resp := &settlementv1.ListSettlementsResponse{NextPageToken: next}
	for i := range statuses {
		resp.Settlements = append(resp.Settlements, renderSettlement(&statuses[i], nil, s.blockTime(&statuses[i]), noEntries))
	}
	return resp, nil
}

// settlementFilters returns the lists of the index that a list of settlements is
// merged from, and the payee they must have, or zero. The index has a payee's own
// batches under its signature only.
func settlementFilters(req *settlementv1.ListSettlementsRequest) (lists []exec.TxFilter, payee ledger.Address, err error) {
	switch {
	case (req.GetPayee() == "") == (req.GetSigner() == ""):
		return nil, payee, invalid("payee", "give either payee or signer, an address such as trib1...")
	case req.GetPayee() != "":
		payee, err = parseAddress("payee", req.GetPayee())
		return []exec.TxFilter{{Account: payee, Paid: true}, {Account: payee}}, payee, err
	default:
		signer, err := parseAddress("signer", req.GetSigner())
		return []exec.TxFilter{{Account: signer}}, payee, err
	}
}

// pays reports whether a batch was for payee, as far as its receipt tells: its
// channels are the payee's.
func (b *backend) pays(r *settlement.Receipt, payee ledger.Address) bool {
	for i := range r.Entries {
		if r.Entries[i].Code == chain.CodeChannelNotFound || r.Entries[i].Code == chain.CodeNotPayee {
			continue
		}
		c, ok, err := b.Index.Channel(r.Entries[i].Index)
		return err == nil && ok && c.Payee == payee
	}
	return true
}

const (
	// maxSparse is how many scans of the index one page of a list may take for
	// what its filter selects. All but the first cost tokens; a caller without
	// gets what there is, and the token to go on with.
	maxSparse = 4
	// scanRows is how many rows a scan may look at.
	scanRows = 4_000
	// maxListed is how many transactions and results of their entries a page
	// reads before it ends, at about 50 bytes each.
	maxListed = 100_000
	// listChunk is how many transactions are read before that is looked at.
	listChunk = 50
)

// affordScan takes the tokens of one more scan, if the caller has them.
func (b *backend) affordScan(ctx context.Context) bool {
	_, ok := b.rates.take(callerIP(ctx), rowTokens(scanRows))
	return ok
}

// listTxs returns a page of executed transactions in any of the lists, newest
// first, as far as keep wants them, and the token of the next page.
func (b *backend) listTxs(ctx context.Context, list filter, lists []exec.TxFilter, keep func(*exec.Status) bool, size int32, token string) ([]exec.Status, string, error) {
	head, _ := b.State.Head()
	pg, err := b.pages.open(list, size, token, head)
	if err != nil {
		return nil, "", err
	}
	var before *exec.Cursor
	if pg.cursor != nil {
		var height, position uint64
		if !readCursor(pg.cursor, &height, &position) {
			return nil, "", badCursor()
		}
		before = &exec.Cursor{Height: height, Position: uint32(position)}
	}
	var out []exec.Status
	for looked, entries := 0, 0; ; {
		page, next, err := b.mergeTxs(lists, before, min(listChunk, pg.size-len(out)))
		if err != nil {
			return nil, "", err
		}
		before, looked = next, looked+len(page)
		work := len(page)
		for i := range page {
			work += len(page[i].Receipt.Entries)
			if keep(&page[i]) {
				out = append(out, page[i])
			}
		}
		b.rates.charge(callerIP(ctx), rowTokens(work))
		entries += work
		if before == nil || len(out) >= pg.size || looked >= scanRows || entries >= maxListed {
			break
		}
	}
	if before == nil {
		return out, "", nil
	}
	return out, b.pages.token(list, pg.height, cursorU64(before.Height, uint64(before.Position))), nil
}

// mergeTxs returns up to limit transactions of all lists together, newest first,
// and the cursor to go on from, nil if there are no more.
func (b *backend) mergeTxs(lists []exec.TxFilter, before *exec.Cursor, limit int) ([]exec.Status, *exec.Cursor, error) {
	var all []exec.Status
	more := false
	for _, f := range lists {
		page, next, err := b.Index.ListTxs(f, before, limit)
		if err != nil {
			return nil, nil, err
		}
		more = more || next != nil
		all = append(all, page...)
	}
	slices.SortFunc(all, func(x, y exec.Status) int {
		return cmp.Or(cmp.Compare(y.Height, x.Height), cmp.Compare(y.TxIndex, x.TxIndex))
	})
	if len(all) > limit {
		all, more = all[:limit], true
	}
	if !more || len(all) == 0 {
		return all, nil, nil
	}
	last := &all[len(all)-1]
	return all, &exec.Cursor{Height: last.Height, Position: last.TxIndex}, nil
}

// GetSettlementProof implements SettlementServiceServer.
func (s *settlements) GetSettlementProof(ctx context.Context, req *settlementv1.GetSettlementProofRequest) (*settlementv1.GetSettlementProofResponse, error) {
	status, err := s.find(req.GetName())
	if err != nil {
		return nil, err
	}
	if status.Stage != exec.StageFinal {
		return nil, unproved(req.GetName(), "%s is %s; there is a proof once it is FINAL", req.GetName(), status.Stage)
	}
	return s.proveReceipt(ctx, req.GetName(), status.Hash)
}
