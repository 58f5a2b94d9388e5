package api_test

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/chain/shardblock/shardtest"
	"github.com/tributary-network/tributary/consensus/cert"
	chainv1 "github.com/tributary-network/tributary/proto/tributary/chain/v1"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
)

// TestBadRelays: what anybody may bring to a shard is refused unless it is what the shard
// waits for, with what is wrong and what to do, and changes nothing.
func TestBadRelays(t *testing.T) {
	t.Parallel()
	s, here, away := twoNodes(t)
	s.sell(s.payee)
	early := s.light.Height()
	s.sell(s.payee)
	home := s.home(s.payer.addr)
	home.rules = true
	id := home.is.ID
	sibling := s.home(s.elsewhere(s.payer.addr).addr)
	sibling.rules = true
	next := func(change func(r *shardblock.Relay)) []byte {
		r, err := shardblock.DecodeRelay(s.light.Notices(early, 0, 0).Encode())
		if err != nil {
			t.Fatal(err)
		}
		change(r)
		return r.Encode()
	}
	head := func(change func(c *cert.Checkpoint), com func(epoch uint64) []uint64, members ...int) []byte {
		p := s.light.Heads[early].Checkpoint
		change(&p)
		signers := shardtest.CommitteeOf(t, p.Epoch, com(p.Epoch)...)
		c := shardtest.Certify(t, &signers, p, members...)
		r := &shardblock.Relay{Kind: shardblock.KindHead, News: shardblock.News{Heads: []cert.Certificate{c}}}
		return r.Encode()
	}
	right := func(epoch uint64) []uint64 { return []uint64{epoch, epoch + 1, epoch + 2, epoch + 3} }
	strangers := func(uint64) []uint64 { return []uint64{70, 71, 72, 73} }
	same := func(*cert.Checkpoint) {}
	good := next(func(*shardblock.Relay) {})
	before, root := home.Head()
	check := func(name string, to shard.ID, payload []byte, code codes.Code, reason, says string) {
		t.Helper()
		_, err := here.relays().SubmitRelay(s.ctx(), &servicev1.SubmitRelayRequest{ChainId: uint32(to), Payload: payload})
		if err == nil || reasonOf(err) != reason || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %s and %q", name, err, reason, says)
			return
		}
		p := wantProblem(t, err, code, reason)
		if code == codes.InvalidArgument && !slices.Equal(p.fields, []string{"payload"}) {
			t.Errorf("%s: fields %v", name, p.fields)
		}
		if p.info.GetMetadata()["shard"] != api.ShardName(to) && reason != "TOO_LARGE" {
			t.Errorf("%s: metadata %v", name, p.info.GetMetadata())
		}
	}
	const bad, state = codes.InvalidArgument, codes.FailedPrecondition
	for _, row := range []struct {
		name    string
		to      shard.ID
		payload []byte
		code    codes.Code
		reason  string
		says    string
	}{
		{"garbage", id, []byte("garbage"), bad, "TOO_LARGE", "hand-overs, at most"},
		{"cut short", id, good[:len(good)-1], bad, "MALFORMED", "GetWanted"},
		{"oversized", id, make([]byte, chain.MaxTxSize+1), bad, "TOO_LARGE", "want 1 to"},
		{"a forged certificate", id, next(func(r *shardblock.Relay) { r.News.Heads[0].Checkpoint.StateRoot[0] ^= 1 }), bad, "BAD_CERTIFICATE", "ListCertificates"},
		{"a certificate by too few", id, head(same, right, 0, 1), bad, "BAD_CERTIFICATE", "ListCertificates"},
		{"a certificate of another committee", id, head(same, strangers), state, "UNKNOWN_COMMITTEE", "committee"},
		{"a certificate of an epoch to come", id, head(func(c *cert.Checkpoint) { c.Epoch, c.Height = 3, 31 }, right), state, "UNKNOWN_COMMITTEE", "bring hand-overs first"},
		{"a certificate of another network", id, next(func(r *shardblock.Relay) { r.News.Heads[0].Checkpoint.Network[0] ^= 1 }), bad, "WRONG_NETWORK", "network"},
		{"a certificate of a shard", id, next(func(r *shardblock.Relay) { r.News.Heads[0].Checkpoint.Chain = 9 }), bad, "WRONG_CHAIN", "main chain"},
		{"a gap", id, s.light.Notices(s.light.Height(), 0, 0).Encode(), state, "LINK_GAP", "bring those before it first"},
		{"a message for another shard", sibling.is.ID, good, state, "FOREIGN_PLACE", "Locate"},
		{"a message that nobody sent", id, next(func(r *shardblock.Relay) { r.Import.Link.Leaves[0].Message.Payload[0] ^= 1 }), bad, "BAD_RANGE", "GetOutbox"},
		{"a proof without its block", id, next(func(r *shardblock.Relay) { r.News.Heads = nil }), state, "NOT_ANCHORED", "certificate"},
		{"a message of no shard", id, next(func(r *shardblock.Relay) {
			row := s.light.Row([]byte("K\x00\x00\x00\x63"))
			r.News.Heads[0], r.Import.Anchors, r.Import.Link.Shard = s.light.Heads[s.light.Height()], &row, 99
		}), codes.NotFound, "UNKNOWN_SHARD", "99"},
		{"the map of an epoch that the shard has", id, s.light.EpochRelay(0, id).Encode(), state, "NOTHING_NEW", "epoch 0"},
		{"a map of an epoch to come", id, s.light.EpochRelay(3, id).Encode(), state, "ANCHOR_EPOCH", "epoch 3"},
	} {
		check(row.name, row.to, row.payload, row.code, row.reason, row.says)
	}
	if height, now := home.Head(); height != before || string(now) != string(root) || len(home.relays)+len(sibling.relays) != 0 {
		t.Errorf("height %d, %d relays wait: something was taken", height, len(home.relays))
	}
	if _, err := away.relays().SubmitRelay(s.ctx(), &servicev1.SubmitRelayRequest{ChainId: uint32(id), Payload: good}); reasonOf(err) != api.ReasonNotHosted || !strings.Contains(err.Error(), "ask here") {
		t.Errorf("at a node that does not run it: %v", err)
	}

	// What the shard waits for is taken, and then it is a repeat.
	if _, err := here.relays().SubmitRelay(s.ctx(), &servicev1.SubmitRelayRequest{ChainId: uint32(id), Payload: good}); err != nil {
		t.Fatal(err)
	}
	home.mu.Lock()
	home.block([]*shardblock.Relay{s.light.Notices(early, 0, 0)})
	home.mu.Unlock()
	check("a repeat", id, good, state, "LINK_REPEAT", "was brought before")
	check("a message again", id, next(func(r *shardblock.Relay) { r.News.Heads = nil }), state, "LINK_REPEAT", "was brought before")
	check("a certificate that is known", id, head(same, right), state, "NOTHING_NEW", "nothing to do")
}

// TestExpiredMessage: a message that comes too late is no bad input: it is taken in its turn,
// is not executed, and goes back; a trace says so.
func TestExpiredMessage(t *testing.T) {
	t.Parallel()
	s, here, _ := twoNodes(t)
	c := s.sell(s.elsewhere(s.payer.addr)).told()
	home, payees := s.home(s.payer.addr), s.home(c.payee.addr)
	payees.rules = true
	booked, err := here.services().BookUsage(s.ctx(), signedUsage(c.book(1_000)))
	if err != nil {
		t.Fatal(err)
	}
	home.mu.Lock()
	for range link.DefaultLifetime + 1 {
		home.chain.Block(nil)
	}
	home.chain.Anchor(home.chain.Height)
	home.mu.Unlock()
	s.light.Block()
	late := home.chain.Messages(booked.GetBooking().GetTransaction().GetHeight(), 0, 0)
	if _, err := here.relays().SubmitRelay(s.ctx(), &servicev1.SubmitRelayRequest{ChainId: uint32(payees.is.ID), Payload: late.Encode()}); err != nil {
		t.Fatal(err)
	}
	payees.mu.Lock()
	payees.block([]*shardblock.Relay{late})
	payees.mu.Unlock()
	earned, err := here.services().GetEarnings(s.ctx(), &servicev1.GetEarningsRequest{Payee: api.AccountName(c.payee.addr), Service: "services/1"})
	if err != nil || earned.GetTotal().GetAmount() != 0 {
		t.Errorf("%v, %v", earned, err)
	}
	traced, err := here.routing().Trace(s.ctx(), &servicev1.TraceRequest{Name: booked.GetBooking().GetName(), Shard: booked.GetBooking().GetShard()})
	if err != nil || len(traced.GetHops()) != 1 || traced.GetHops()[0].GetState() != servicev1.HopState_HOP_STATE_EXPIRED || traced.GetHops()[0].GetCode() != chainv1.Code_CODE_MESSAGE_EXPIRED {
		t.Errorf("%v, %v", traced, err)
	}
}
