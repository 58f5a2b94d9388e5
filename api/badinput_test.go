package api_test

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/shardblock/shardtest"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	nodev1 "github.com/tributary-network/tributary/proto/tributary/node/v1"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
)

// TestBadInputOfShards: what must not be taken is refused the same over whatever node, with
// what is wrong, where, and what to do about it.
func TestBadInputOfShards(t *testing.T) {
	t.Parallel()
	s, here, away := twoNodes(t)
	c := s.sell(s.payee).told()
	home := s.home(s.payer.addr)
	wrong := shard.ID(2)
	sign := func(u *service.Usage, network ledger.NetworkID) []byte {
		return chain.SignTx(service.Domain(network, u.Service), c.payee.key, chain.TxFields{Kind: chain.KindBookUsage, Zone: c.payee.addr.Zone(), Payload: u.Encode()})
	}
	booking := func(change func(u *service.Usage), more ...func(*servicev1.BookUsageRequest)) func(n *shardNode) error {
		u := c.usage(1_000)
		change(u)
		req := signedUsage(sign(u, s.domain.Network))
		for _, f := range more {
			f(req)
		}
		return func(n *shardNode) error {
			_, err := n.services().BookUsage(s.ctx(), req)
			return err
		}
	}
	raw := func(b []byte) func(n *shardNode) error {
		return func(n *shardNode) error {
			_, err := n.services().BookUsage(s.ctx(), signedUsage(b))
			return err
		}
	}
	relay := func(id shard.ID, payload []byte) func(n *shardNode) error {
		return func(n *shardNode) error {
			_, err := n.relays().SubmitRelay(s.ctx(), &servicev1.SubmitRelayRequest{ChainId: uint32(id), Payload: payload})
			return err
		}
	}
	submit := func(kind chain.Kind, payload []byte) func(n *shardNode) error {
		by := *s.other
		signed := chain.SignTx(s.domain, by.key, chain.TxFields{Kind: kind, Zone: by.addr.Zone(), Nonce: by.nonce, MaxFee: 1 << 40, Payload: payload})
		return func(n *shardNode) error {
			_, err := nodev1.NewNodeServiceClient(n.conn).SubmitTransaction(s.ctx(), &nodev1.SubmitTransactionRequest{SignedTx: signed})
			return err
		}
	}
	forged := func(change func(*cert.Run)) []byte {
		run := cert.Run{
			Network: shardtest.Network(), Chain: home.is.ID, First: 1,
			Heads: []cert.Head{{StateRoot: ledger.Hash{1}}}, Sets: []cert.SignerSet{{Bitmap: []byte{7}}}, Signature: blsOf(0).Sign([]byte("anything")),
		}
		change(&run)
		a := anchor.Anchors{Runs: []cert.Run{run}}
		return a.Encode()
	}
	var drawn ledger.Hash
	err := s.exec.Read(func(v chain.View, _ uint64) error {
		a, _ := registry.ReadAssignment(v, 0, home.is.ID)
		drawn = a.Committee.Hash()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	home.mu.Lock()
	in, err := home.chain.Boxes[1].Import(home.is.ID, 1, 0, 1)
	home.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	imported := func(change func(d *settlement.Delivery)) []byte {
		d := settlement.Delivery{Import: in}
		change(&d)
		return d.Encode()
	}
	place := service.HomeOf(s.payer.addr)
	at := link.Place{Service: 1, Zone: place.Zone, Bucket: place.Bucket}
	way := func(l link.Link) []byte { return l.Encode() }
	none, before := func(*service.Usage) {}, s.height()
	other := uint64(99)
	for _, row := range []struct {
		name   string
		call   func(n *shardNode) error
		code   codes.Code
		reason string
		says   string // part of the message, for people
	}{
		{"above the deposit", booking(func(u *service.Usage) { *u = *c.usage(100_001) }), codes.FailedPrecondition, "ABOVE_DEPOSIT", "deposit"},
		{"a channel nobody opened", booking(func(u *service.Usage) { u.Batch.Entries[0].Index = 77 }), codes.NotFound, "CHANNEL_UNKNOWN", "77"},
		{"on the wrong shard", booking(none, func(r *servicev1.BookUsageRequest) { r.Shard = api.ShardName(wrong) }), codes.FailedPrecondition, "WRONG_SHARD", "the right one is"},
		{"on no shard", booking(none, func(r *servicev1.BookUsageRequest) { r.Shard = "shards/99" }), codes.NotFound, "UNKNOWN_SHARD", "ListShards"},
		{"no service", booking(func(u *service.Usage) { u.Service = 50 }), codes.NotFound, "UNKNOWN_SERVICE", "ListServices"},
		{"no zone", booking(func(u *service.Usage) { u.Zone = 9 }), codes.InvalidArgument, api.ReasonInvalidField, "it has 0, 1"},
		{"another network", raw(sign(c.usage(1_000), ledger.NetworkID{9})), codes.InvalidArgument, "WRONG_NETWORK", "network"},
		{"garbage", raw([]byte(strings.Repeat("garbage ", 40))), codes.InvalidArgument, api.ReasonInvalidField, "signed_tx"},
		{"a transaction of main", raw(s.transfer(s.other, s.payee.addr, 1)), codes.InvalidArgument, "WRONG_CHAIN", "sign"},
		{"an oversized relay", relay(home.is.ID, make([]byte, chain.MaxTxSize+1)), codes.InvalidArgument, "TOO_LARGE", "want 1 to"},
		{"a relay to main", relay(1, []byte("x")), codes.InvalidArgument, api.ReasonInvalidField, "id of a shard"},
		{"garbage for an anchor", submit(chain.KindAnchor, []byte{1, 2, 3}), codes.InvalidArgument, "MALFORMED", "send what Encode of"},
		{"an anchor of another network", submit(chain.KindAnchor, forged(func(r *cert.Run) { r.Network = ledger.NetworkID{9} })), codes.InvalidArgument, "WRONG_NETWORK", "ListCertificates"},
		{"an anchor of no shard", submit(chain.KindAnchor, forged(func(r *cert.Run) { r.Chain = 99 })), codes.NotFound, "UNKNOWN_SHARD", "99"},
		{"an anchor with a gap", submit(chain.KindAnchor, forged(func(r *cert.Run) { r.First = 5 })), codes.FailedPrecondition, "ANCHOR_GAP", "1"},
		{"an anchor of another committee", submit(chain.KindAnchor, forged(func(*cert.Run) {})), codes.FailedPrecondition, "UNKNOWN_COMMITTEE", "committee"},
		{"an anchor that nobody signed", submit(chain.KindAnchor, forged(func(r *cert.Run) { r.Sets[0].CommitteeHash = drawn })), codes.InvalidArgument, "BAD_CERTIFICATE", "GetShard tells who may sign"},
		{"an anchor of another generation", submit(chain.KindAnchor, forged(func(r *cert.Run) { r.Generation = 1 })), codes.FailedPrecondition, "ANCHOR_GENERATION", "which is in generation 0"},
		{"garbage for an import", submit(chain.KindImport, []byte{1, 2, 3}), codes.InvalidArgument, "MALFORMED", "send what Encode of"},
		{"an import that is not anchored", submit(chain.KindImport, imported(func(*settlement.Delivery) {})), codes.FailedPrecondition, "NOT_ANCHORED", "anchor the shard up to there first"},
		{"an import of no shard", submit(chain.KindImport, imported(func(d *settlement.Delivery) { d.Import.Shard = 99 })), codes.FailedPrecondition, "NOT_ANCHORED", "99"},
		{"a relist of garbage", submit(chain.KindRelist, []byte{1}), codes.InvalidArgument, "MALFORMED", "send what Encode of"},
		{"a relist too soon", submit(chain.KindRelist, way(link.Link{Dst: at})), codes.FailedPrecondition, "NOT_DUE", "ask again at"},
		{"a relist of nothing", submit(chain.KindRelist, way(link.Link{Dst: link.Place{Service: 3}})), codes.FailedPrecondition, "NOTHING_NEW", "there is nothing to do"},
		{"a relist of another chain's link", submit(chain.KindRelist, way(link.Link{Src: at, Dst: link.Place{Service: 1}})), codes.FailedPrecondition, "FOREIGN_PLACE", "as a trace shows it"},
		{"an acknowledgement of nothing", submit(chain.KindReack, way(link.Link{Src: at})), codes.NotFound, "LINK_NOT_FOUND", "as a trace shows it"},
		{"a map of another epoch", func(n *shardNode) error {
			_, err := n.services().ListShards(s.ctx(), &servicev1.ListShardsRequest{Epoch: &other})
			return err
		}, codes.NotFound, "COMMITTEE_NOT_FOUND", "the present one is 0"},
	} {
		for _, n := range []*shardNode{here, away} {
			err := row.call(n)
			if err == nil {
				t.Errorf("%s at %s: taken", row.name, n.name)
				continue
			}
			if !strings.HasPrefix(row.name, "a relay") && reasonOf(err) != row.reason || !strings.Contains(err.Error(), row.says) {
				t.Errorf("%s at %s: %s: %v, want %v %s and %q", row.name, n.name, reasonOf(err), err, row.code, row.reason, row.says)
				continue
			}
			wantProblem(t, err, row.code, row.reason)
		}
	}
	if got := s.height(); got != before {
		t.Errorf("height %d of the main chain, want %d as before", got, before)
	}
	if head, _ := home.Head(); head != 1 {
		t.Errorf("%d blocks, want that of the notice alone", head)
	}
}
