package api

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/ledger"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/route"
)

const (
	collectionBookings = "bookings"
	// maxProved is how many entries of a booking one call proves.
	maxProved = 64
	// searchTimeout is how long each node may take that is asked whether it knows a
	// booking.
	searchTimeout = 5 * time.Second
)

// BookingName returns the resource name of a booking by the hash of its transaction:
// "bookings/{hash in hex}".
func BookingName(hash ledger.Hash) string { return collectionBookings + "/" + hash.String() }

// usageTx returns the booking that came as fields or as signed bytes, whose form is
// right.
func usageTx(network ledger.NetworkID, batch *servicev1.UsageBatch, signed []byte, named string) (chain.Tx, service.Usage, error) {
	raw := signed
	if batch != nil {
		payload, err := usagePayload("batch", batch)
		if err != nil {
			return chain.Tx{}, service.Usage{}, err
		}
		raw, err = seal(service.Domain(network, batch.GetService()), "batch.envelope", batch.GetEnvelope(), chain.KindBookUsage, payload, sealed)
		if err != nil {
			return chain.Tx{}, service.Usage{}, err
		}
	}
	id, err := signedService(raw)
	if err != nil {
		return chain.Tx{}, service.Usage{}, err
	}
	tx, err := openSigned(service.Domain(network, id), raw, chain.KindBookUsage)
	if err != nil {
		return tx, service.Usage{}, err
	}
	u, err := service.DecodeUsage(tx.Payload)
	if err != nil {
		return tx, u, err
	}
	switch {
	case u.Service != id:
		p := invalid("signed_tx", "it is signed for service %d and books usage of service %d; sign it for the service whose usage it books", id, u.Service)
		p.reason = chain.CodeWrongService.String()
		return tx, u, p
	case named != "" && named != ServiceName(id):
		return tx, u, invalid("service", "%s, and the transaction is for %s; leave it out or name that", quoted(named), ServiceName(id))
	}
	return tx, u, nil
}

// signedService returns the service that a transaction is signed for, by its header.
func signedService(raw []byte) (uint32, error) {
	const at = 4 + 1 + 1 + ledger.HashSize // magic, version, type, network
	if len(raw) == 0 {
		return 0, invalid("signed_tx", "is missing; send the fields or the signed transaction")
	}
	if len(raw) < at+4 || string(raw[:len(chain.Magic)]) != chain.Magic {
		return 0, invalid("signed_tx", "%d bytes that are no signed transaction; send what chain.SignTx makes, unchanged", len(raw))
	}
	id := binary.BigEndian.Uint32(raw[at:])
	if id <= uint32(service.FirstServiceDomain) {
		p := invalid("signed_tx", "it is signed for chain %d; a booking is signed for a service, which is chain %d and the service's id", id, uint32(service.FirstServiceDomain))
		p.reason = chain.CodeWrongChain.String()
		return 0, p
	}
	return id - uint32(service.FirstServiceDomain), nil
}

// usagePayload returns the payload of a booking.
func usagePayload(path string, b *servicev1.UsageBatch) ([]byte, error) {
	n := len(b.GetEntries())
	switch {
	case n == 0 || n > channel.MaxEntries:
		return nil, unencodable(chain.CodeTooLarge, path+".entries", "%d entries, want 1 to %d", n, channel.MaxEntries)
	case b.GetService() == 0 || b.GetService() > shard.MaxService:
		return nil, invalid(path+".service", "%d is not the id of a service, want 1 to %d", b.GetService(), shard.MaxService)
	case b.GetZone() > math.MaxUint8:
		return nil, invalid(path+".zone", "%d, zones are 0 to 255", b.GetZone())
	}
	payee, err := parseAddress(path+".payee", b.GetPayee())
	if err != nil {
		return nil, err
	}
	u := service.Usage{
		Service: b.GetService(), Zone: uint8(b.GetZone()),
		Batch: channel.Batch{Payee: payee, Mode: channel.BestEffort, Entries: make([]channel.Entry, n)}, Buckets: make([]uint8, n),
	}
	if r := b.GetReceipt(); r != nil {
		u.Receipt = &service.PayeeReceipt{ReceivedAt: r.GetReceivedAt()}
		err := first(
			readBytes(path+".receipt.public_key", r.GetPublicKey(), u.Receipt.PayeeKey[:]),
			readBytes(path+".receipt.signature", r.GetSignature(), u.Receipt.Signature[:]))
		if err != nil {
			return nil, err
		}
	}
	for i, e := range b.GetEntries() {
		if p := readUsageEntry(&u.Batch.Entries[i], e); p != nil {
			return nil, p.at(path, i)
		}
		u.Buckets[i] = uint8(e.GetBucket()) //nolint:gosec // checked
	}
	return u.Encode(), nil
}

// readUsageEntry reads an entry. Paths in its problem are relative to the entry.
func readUsageEntry(out *channel.Entry, e *servicev1.UsageEntry) *problem {
	switch {
	case e.GetLane() >= channel.Lanes:
		return unencodable(chain.CodeLaneLimit, "lane", "%d, lanes are 0 to %d", e.GetLane(), channel.Lanes-1)
	case e.GetBucket() >= shard.Buckets:
		return invalid("bucket", "%d, buckets are 0 to %d; it is the second byte of the payer's address", e.GetBucket(), shard.Buckets-1)
	}
	out.Index, out.Lane, out.Claim, out.Units = e.GetChannelIndex(), uint8(e.GetLane()), channel.ClaimVoucher, e.GetUnits() //nolint:gosec // checked
	var err error
	if out.Cumulative, err = readAmount("cumulative", e.GetCumulative()); err == nil {
		if out.UsageRoot, err = readHash("usage_root", e.GetUsageRoot()); err == nil {
			err = readBytes("signature", e.GetSignature(), out.Signature[:])
		}
	}
	if err != nil {
		p, _ := problemOf(err)
		return p
	}
	return nil
}

// BookUsage implements ServiceChainServiceServer.
func (s *services) BookUsage(ctx context.Context, req *servicev1.BookUsageRequest) (*servicev1.BookUsageResponse, error) {
	tx, u, err := usageTx(s.Network.Domain.Network, req.GetBatch(), req.GetSignedTx(), req.GetService())
	if err != nil {
		return nil, withDomain(s.Network.Domain, err)
	}
	stage, err := waitStage(req.GetWaitFor())
	if err != nil {
		return nil, err
	}
	if req.GetRequestId() != "" {
		if _, err := parseRequestID("request_id", req.GetRequestId()); err != nil {
			return nil, err
		}
	}
	sh, epoch, err := s.bookingHome(&u, req.GetShard())
	if err != nil {
		return nil, err
	}
	b := booking{is: sh, epoch: epoch, tx: tx, usage: &u, requestID: req.GetRequestId(), stage: stage, validateOnly: req.GetValidateOnly()}
	var ok bool
	if b.shard, ok = s.serving(sh.ID); !ok {
		s.rates.charge(callerIP(ctx), submitTokens(int64(len(u.Batch.Entries)), int64(len(tx.Raw))))
		return s.bookAway(ctx, &b, req)
	}
	status, err := s.book(ctx, &b)
	if stopped(err) && !handedOn(ctx) { // a moment ago
		if resp, bad := s.bookAway(ctx, &b, req); bad == nil {
			return resp, nil
		}
	}
	if err != nil {
		return nil, err
	}
	out, err := s.renderBooking(b.shard, &sh, &status, &b.tx, detailOf(req.GetFullResults()))
	return &servicev1.BookUsageResponse{Booking: out, Source: ownAnswer()}, err
}

// bookingHome returns the shard that is to take a booking: that of the name, or the home
// of its entries.
func (s *services) bookingHome(u *service.Usage, name string) (shard.Shard, uint64, error) {
	if name != "" {
		sh, epoch, err := s.shardByName("shard", name)
		if err == nil && sh.Service != u.Service {
			p := invalid("shard", "%s is of %s, the booking of %s", name, ServiceName(sh.Service), ServiceName(u.Service))
			p.reason = chain.CodeWrongService.String()
			return sh, epoch, p
		}
		return sh, epoch, err
	}
	m, _, err := s.shardMap()
	if err != nil {
		return shard.Shard{}, 0, err
	}
	sh, err := s.owner(m, "zone", u.Service, service.Place{Zone: u.Zone, Bucket: u.Buckets[0]})
	if err != nil {
		return sh, m.Epoch(), err
	}
	p := &problem{code: codes.FailedPrecondition, reason: chain.CodeWrongShard.String(), subject: ShardName(sh.ID)}
	var other shard.Shard
	for i, bucket := range u.Buckets {
		if sh.Buckets.Contains(shard.Bucket(bucket)) {
			continue
		}
		if len(p.positions) == 0 {
			id, _ := m.Owner(u.Service, u.Zone, shard.Bucket(bucket))
			other, _ = m.Find(id)
		}
		if len(p.positions) < maxPositions {
			p.positions = append(p.positions, uint32(i)) //nolint:gosec // at most channel.MaxEntries
		}
	}
	if len(p.positions) == 0 {
		return sh, m.Epoch(), nil
	}
	p.message = fmt.Sprintf("%s: the entries have their homes in several shards, the first in %s, entry %d in %s; send each shard its own, or name in shard the one that is to book what it can",
		p.reason, &sh, p.positions[0], &other)
	return sh, m.Epoch(), s.place(p, &other, m.Epoch())
}

// booking is a transaction for a shard.
type booking struct {
	shard        Shard // nil unless it runs here
	is           shard.Shard
	epoch        uint64
	tx           chain.Tx
	usage        *service.Usage
	requestID    string
	stage        exec.Stage
	validateOnly bool
}

// book submits a booking to its shard and returns where it is.
func (s *services) book(ctx context.Context, b *booking) (status exec.ShardStatus, err error) {
	ip, entries := callerIP(ctx), int64(len(b.usage.Batch.Entries))
	s.rates.charge(ip, submitTokens(entries, int64(len(b.tx.Raw))))
	defer func() {
		if err != nil {
			p, _ := problemOf(err)
			s.rates.charge(ip, refusalTokens(p, entries))
		}
	}()
	if b.validateOnly {
		s.rates.charge(ip, signatureTokens(entries))
		if err := s.admit(b.shard, b.is.ID); err != nil {
			return status, s.explainBooking(err, b)
		}
		receipt, err := b.shard.Simulate(ctx, b.tx.Raw)
		if err != nil {
			return status, s.explainBooking(err, b)
		}
		return exec.ShardStatus{Hash: b.tx.Hash, Receipt: &receipt}, nil
	}
	gone := func(hash ledger.Hash) bool {
		_, err := b.shard.Status(hash)
		return errors.Is(err, exec.ErrUnknown)
	}
	if gone(b.tx.Hash) { // what is there already is answered, however congested the shard is
		if err := s.admit(b.shard, b.is.ID); err != nil {
			s.metrics.book(err)
			return status, s.explainBooking(err, b)
		}
	}
	hash, err := s.ids.do(ctx, b.requestID, sha256.Sum256(b.tx.Raw), gone, func() (ledger.Hash, error) {
		var err error
		status, err = b.shard.Submit(ctx, b.tx.Raw)
		s.metrics.book(err)
		return b.tx.Hash, err
	})
	if err != nil {
		return status, s.explainBooking(err, b)
	}
	return s.awaitBooking(ctx, b, hash, status)
}

// awaitBooking returns the status of a booking once it reaches its stage, or the present
// one shortly before ctx's deadline.
func (s *services) awaitBooking(ctx context.Context, b *booking, hash ledger.Hash, present exec.ShardStatus) (exec.ShardStatus, error) {
	want := exec.StageChecked
	if b.stage > exec.StageChecked {
		want = exec.StageFinal // of the shard: durable, which is INCLUDED here
	}
	ctx, cancel := s.beforeDeadline(ctx)
	defer cancel()
	status := present
	if status.Stage < want {
		var err error
		status, err = b.shard.Wait(ctx, hash, want)
		var busy *exec.BusyError
		switch {
		case errors.As(err, &busy) || errors.Is(err, exec.ErrHalted) || errors.Is(err, exec.ErrNotRunning):
			if now, err := b.shard.Status(hash); err == nil {
				return now, nil
			}
			return present, nil
		case errors.Is(err, exec.ErrUnknown):
			return exec.ShardStatus{Hash: hash, Stage: exec.StageDropped, DropReason: "forgotten by this node; send it again"}, nil
		case err != nil:
			return status, err
		}
	}
	if b.stage == exec.StageFinal && status.Stage == exec.StageFinal {
		if err := s.awaitAnchor(ctx, b.shard, b.is.ID, status.Height); err != nil {
			return status, err
		}
		return s.afterAnchor(b, hash, status)
	}
	return status, nil
}

// afterAnchor returns where a booking is after its anchor was waited for: meanwhile the shard
// may have gone on as another generation, which took its block back.
func (s *services) afterAnchor(b *booking, hash ledger.Hash, before exec.ShardStatus) (exec.ShardStatus, error) {
	local, ok := s.serving(b.is.ID)
	if !ok {
		return before, nil
	}
	b.shard = local
	status, err := local.Status(hash)
	if errors.Is(err, exec.ErrUnknown) {
		return exec.ShardStatus{
			Hash: hash, Stage: exec.StageDropped, DropReason: "its block was taken back: the shard went on from an earlier one with another committee; send it again",
		}, nil
	}
	return status, err
}

// awaitAnchor returns when a height of a shard is anchored, when the shard goes on as another
// generation than that of its chain here, or when ctx ends.
func (b *backend) awaitAnchor(ctx context.Context, local ShardState, id shard.ID, height uint64) error {
	blocks := b.State.Subscribe(0)
	began, err := b.anchors(id)
	if err != nil {
		return err
	}
	for {
		if row, err := b.anchors(id); err != nil || row.Height() >= height || row.Generation != began.Generation || takesBackOwn(&row, local, height) {
			return err
		}
		_, err := blocks.Next(ctx)
		var gap *exec.GapError
		switch {
		case err == nil || errors.As(err, &gap):
		case ctx.Err() != nil:
			return nil //nolint:nilerr // the answer is where it is now
		default:
			return err
		}
	}
}

// explainBooking adds to a refusal what the submitter has to know to do better.
func (b *backend) explainBooking(err error, of *booking) error {
	if congested, ok := errors.AsType[*route.CongestedError](err); ok {
		return b.place(congestedProblem(congested, b.shardBlock()), &of.is, of.epoch)
	}
	var rule *chain.RuleError
	if !errors.As(err, &rule) {
		return err
	}
	p := ruleProblem(rule)
	p.subject = BookingName(of.tx.Hash)
	if rule.Code != chain.CodeWrongShard {
		p.set("shard", ShardName(of.is.ID))
		b.adviseBooking(p, rule, of)
		return p
	}
	m, _, mapErr := b.shardMap()
	if mapErr != nil {
		return p
	}
	at := service.Place{Zone: of.usage.Zone, Bucket: of.usage.Buckets[0]}
	if home, ok := service.HomeIn(err); ok {
		at = home
	}
	if id, ok := m.Owner(of.usage.Service, at.Zone, shard.Bucket(at.Bucket)); ok {
		home, _ := m.Find(id)
		p.message += fmt.Sprintf("; the right one is %s", &home)
		return b.place(p, &home, m.Epoch())
	}
	return p
}

// adviseBooking adds to the refusal of a booking what to do about it.
func (b *backend) adviseBooking(p *problem, rule *chain.RuleError, of *booking) {
	at := 0
	if len(rule.Positions) > 0 && rule.Positions[0] >= 0 && rule.Positions[0] < len(of.usage.Batch.Entries) {
		at = rule.Positions[0]
	}
	e := &of.usage.Batch.Entries[at]
	switch rule.Code {
	case chain.CodeAboveDeposit:
		c, ok, err := b.Index.Channel(e.Index)
		if err != nil || !ok {
			return
		}
		p.setNumber("deposit", uint64(c.Deposit))
		p.message += fmt.Sprintf("; its deposit is %d drops: top the channel up (the shard learns of that some blocks later), or book a voucher of less", c.Deposit)
	case chain.CodeChannelUnknown:
		p.message += fmt.Sprintf("; if channel %d was opened lately the shard learns of it in some blocks, otherwise it names no service or is closed", e.Index)
	case chain.CodeChannelExpired:
		p.message += "; settle its vouchers on the main chain"
	default:
	}
}

// GetBooking implements ServiceChainServiceServer.
func (s *services) GetBooking(ctx context.Context, req *servicev1.GetBookingRequest) (*servicev1.GetBookingResponse, error) {
	hash, err := parseHashName("name", collectionBookings, req.GetName())
	if err != nil {
		return nil, err
	}
	if len(req.GetProve()) > maxProved {
		return nil, invalid("prove", "%d positions, at most %d at once", len(req.GetProve()), maxProved)
	}
	if req.GetShard() == "" {
		return s.searchBooking(ctx, hash, req)
	}
	sh, epoch, err := s.pastShardByName("shard", req.GetShard())
	if err != nil {
		return nil, err
	}
	if local, ok := s.readable(sh.ID); ok {
		resp, err := s.bookingIn(ctx, local, &sh, hash, req)
		p, _ := errors.AsType[*problem](err)
		unknown := p != nil && p.reason == ReasonTransactionNotFound
		if _, runs := s.hosted(sh.ID); err == nil || runs && !unknown || handedOn(ctx) {
			return resp, err
		}
		// This node may have joined the shard late, by a snapshot.
		if away, bad := s.bookingAway(ctx, &sh, epoch, req, hash); bad == nil {
			return away, nil
		}
		return nil, err
	}
	resp, err := s.bookingAway(ctx, &sh, epoch, req, hash)
	if err != nil {
		return nil, s.endedAway(ctx, sh.ID, err)
	}
	return resp, nil
}

// bookingIn returns a booking of a shard that runs here, or has ended.
func (s *services) bookingIn(ctx context.Context, local ShardRecords, sh *shard.Shard, hash ledger.Hash, req *servicev1.GetBookingRequest) (*servicev1.GetBookingResponse, error) {
	status, err := local.Status(hash)
	if errors.Is(err, exec.ErrUnknown) {
		return nil, missing(ReasonTransactionNotFound, req.GetName(), "%s does not know %s; if it was submitted lately, submit it again", ShardName(sh.ID), req.GetName())
	}
	if err != nil {
		return nil, err
	}
	resp := &servicev1.GetBookingResponse{Source: ownAnswer()}
	if resp.Booking, err = s.renderBooking(local, sh, &status, nil, detailOf(req.GetFullResults())); err != nil {
		return nil, err
	}
	if len(req.GetProve()) > 0 {
		resp.Proof, err = s.proveUsage(ctx, local, sh, &status, req)
	}
	return resp, err
}

// searchBooking looks for a booking in all shards that run here, and in those that ended
// last, and then asks others.
func (s *services) searchBooking(ctx context.Context, hash ledger.Hash, req *servicev1.GetBookingRequest) (*servicev1.GetBookingResponse, error) {
	m, _, only, err := s.mapFor(req.GetService())
	if err != nil {
		return nil, err
	}
	ids := s.hostedIDs()
	all := slices.Concat(ids, s.kept())
	s.rates.charge(callerIP(ctx), rowTokens(shardRows*len(ids))+messageTokens*(len(all)-len(ids)))
	for _, id := range all {
		local, ok := s.readable(id)
		if !ok {
			continue
		}
		sh, _, err := s.pastShardByName("shard", ShardName(id))
		if err != nil || only != 0 && sh.Service != only {
			continue
		}
		if _, err := local.Status(hash); err == nil {
			return s.bookingIn(ctx, local, &sh, hash, req)
		}
	}
	nobody := missing(ReasonTransactionNotFound, req.GetName(), "no shard that was asked knows %s; name its shard, which the answer to BookUsage told", req.GetName())
	if handedOn(ctx) {
		return nil, nobody
	}
	var rest, own []shard.ID
	for sh := range m.All() {
		switch {
		case only != 0 && sh.Service != only:
		case slices.Contains(ids, sh.ID):
			own = append(own, sh.ID) // this node may have joined it late, by a snapshot
		default:
			rest = append(rest, sh.ID)
		}
	}
	rest = append(rest, own...)
	groups := s.groups(rest)
	s.rates.charge(callerIP(ctx), rowTokens(len(rest))+forwardTokens*len(groups))
	for _, g := range groups {
		resp := &servicev1.GetBookingResponse{}
		attempt, cancel := context.WithTimeout(ctx, searchTimeout)
		err := s.Peers.Call(attempt, g.endpoint, servicev1.ServiceChainService_GetBooking_FullMethodName, req, resp)
		cancel()
		if err == nil {
			if found, err := s.foundAway(ctx, m, g.endpoint, req, resp, hash); err == nil {
				return found, nil
			}
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return nil, nobody
}

// proveUsage proves that entries of a booking were booked.
func (s *services) proveUsage(ctx context.Context, local ShardRecords, sh *shard.Shard, status *exec.ShardStatus, req *servicev1.GetBookingRequest) (*servicev1.UsageProof, error) {
	name := req.GetName()
	if s.calls.crowded() {
		return nil, s.calls.refuse(s.calls.calls)
	}
	if status.Stage != exec.StageFinal || status.Receipt == nil {
		return nil, unproved(name, "%s is not in a durable block yet", name)
	}
	block, err := local.Block(status.Height)
	if err != nil {
		return nil, err
	}
	s.rates.charge(callerIP(ctx), readTokens+proofTokens+rowTokens(len(block.Receipts)+len(block.Bookings)))
	first := firstBooking(block, status.TxIndex)
	out := &servicev1.UsageProof{}
	for _, position := range req.GetProve() {
		entries := status.Receipt.Entries
		if int64(position) >= int64(len(entries)) {
			return nil, invalid("prove", "%d, the booking has entries 0 to %d", position, len(entries)-1)
		}
		if !entries[position].Applied() {
			continue
		}
		proof, err := service.ProveBooking(block.Bookings, first+applied(entries[:position]))
		if err != nil {
			return nil, fmt.Errorf("prove entry %d of %s: %w", position, name, err)
		}
		out.Entries = append(out.Entries, &servicev1.UsageProof_Entry{Position: position, Proof: proof.Encode()})
	}
	certificate, err := local.Certificate(status.Height)
	if errors.Is(err, exec.ErrNoCertificate) {
		return nil, unproved(name, "this node has no certificate of block %d of %s; ask again in a moment, or another node that runs it: %s",
			status.Height, ShardName(sh.ID), strings.Join(s.shownHosts(sh.ID), ", "))
	}
	if err != nil {
		return nil, err
	}
	out.Certificate = certificate.Encode()
	return out, s.certify(out, sh.ID, certificate.Checkpoint.Epoch)
}

// applied returns how many entries were booked.
func applied(entries []service.EntryResult) (n int) {
	for i := range entries {
		if entries[i].Applied() {
			n++
		}
	}
	return n
}
