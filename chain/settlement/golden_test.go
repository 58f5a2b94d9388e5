package settlement_test

import (
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/merkle"
	"github.com/tributary-network/tributary/shard/link"
)

var update = flag.Bool("update", false, "rewrite the golden vectors")

// golden compares got with testdata/name, which lists what the bytes of the
// protocol are. A difference is a fork of every network that runs.
func golden(t *testing.T, name string, got map[string]string) {
	t.Helper()
	path := "testdata/" + name
	if *update {
		text, err := json.MarshalIndent(got, "", "  ")
		if err == nil {
			err = os.WriteFile(path, append(text, '\n'), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]string
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: %s", path, diff)
	}
}

func goldenGenesis() settlement.Genesis {
	return settlement.Genesis{
		Name: "golden", Time: 1_700_000_000_000, Params: settlement.DefaultParams(),
		Accounts: []settlement.GenesisAccount{
			{Address: keyOf("account", 0).Address(0), Balance: 5_000_000},
			{Address: keyOf("account", 1).Address(7), Balance: 1},
		},
	}
}

func goldenReceipt() settlement.Receipt {
	return settlement.Receipt{
		Hash: ledger.HashOf("tx"), Kind: chain.KindSettle, Code: chain.CodeBatchAborted,
		Signer: keyOf("account", 0).Address(3), Nonce: 1 << 40, Fee: 30, Paid: 95, Burned: 2, OwnerFee: 3,
		Entries: []settlement.EntryResult{
			{Index: 1 << 33, Lane: 63, Code: chain.CodePartial, Closed: true, Paid: 95, Burned: 2, OwnerFee: 3, Redeemed: 500},
			{Index: 1 << 34, Code: chain.CodeStale},
		},
		ResultsRoot: ledger.HashOf("root"), FirstChannel: 9, Opened: 1,
	}
}

func goldenTransfer() settlement.Transfer {
	return settlement.Transfer{Payments: []settlement.Payment{
		{To: keyOf("account", 0).Address(0), Amount: 1}, {To: keyOf("account", 1).Address(255), Amount: ledger.MaxAmount},
	}}
}

func goldenRuns() settlement.Receipt {
	r := goldenReceipt()
	r.Kind, r.Code, r.Entries = chain.KindAnchor, chain.CodeOK, nil
	r.Runs = []anchor.Result{
		{Shard: 3, First: 1 << 40, Last: 1<<40 + 63, Due: true},
		{Shard: 4, First: 7, Last: 9, Due: true, Finished: true},
		{Shard: 5, First: 1, Last: 1, Code: chain.CodeAnchorStale},
	}
	return r
}

// goldenLink leads from the main chain to a home.
func goldenLink() link.Link { return link.Link{Dst: link.Place{Service: 7, Zone: 2, Bucket: 255}} }

func goldenLinks() settlement.Receipt {
	r := goldenReceipt()
	r.Kind, r.Code, r.Entries = chain.KindImport, chain.CodeOK, nil
	r.Links = []link.Receipt{
		{Link: goldenLink(), Seq: 1 << 33, Result: link.Acked},
		{Link: goldenLink().Reverse(), Seq: 5, OriginTx: ledger.HashOf("origin"), Result: link.Returned, Code: chain.CodeMessageExpired},
	}
	return r
}

func goldenDelivery(proved bool) settlement.Delivery {
	d := settlement.Delivery{Import: link.Import{
		Shard: 5, Height: 258, Range: merkle.Range{Size: 2, Path: []ledger.Hash{ledger.HashOf("sibling")}},
		Leaves: []link.Leaf{{Ack: &link.Ack{Link: goldenLink(), Next: 9, Bounced: 1}}},
	}}
	if proved {
		d.Proof = &anchor.Proof{Checkpoint: cert.Checkpoint{Chain: 5, Height: 258}, Size: 300, Path: []ledger.Hash{ledger.HashOf("path")}}
	}
	return d
}

func TestGoldenEncodings(t *testing.T) {
	t.Parallel()
	got := map[string]string{}
	put := func(name string, b []byte) { got[name] = hex.EncodeToString(b) }
	g, r, transfer := goldenGenesis(), goldenReceipt(), goldenTransfer()
	put("params", g.Params.Encode())
	put("genesis", g.Encode())
	hash := g.Hash()
	put("genesis hash", hash[:])
	put("transfer", transfer.Encode())
	put("receipt", r.Encode())
	put("receipt leaf", r.Leaf())
	runs, links := goldenRuns(), goldenLinks()
	put("receipt of anchors", runs.Encode())
	put("receipt of an import", links.Encode())
	put("leaf of a run", settlement.RunLeaf(&runs.Runs[0]))
	put("leaf of a link", settlement.LinkLeaf(&links.Links[0]))
	plain, proved := goldenDelivery(false), goldenDelivery(true)
	put("delivery", plain.Encode())
	put("delivery with a proof", proved.Encode())
	put("entry leaf", settlement.EntryLeaf(&r.Entries[0]))
	put("finalised leaf", settlement.FinalisedLeaf(&settlement.Event{
		Kind: settlement.EventFinalised, Index: 5, ID: ledger.HashOf("id"), Payer: r.Signer, Payee: g.Accounts[1].Address,
		Deposit: 100, Redeemed: 40, Refunded: 65,
	}))
	account := settlement.Account{Address: r.Signer, Balance: 12, Nonce: 3, Window: [4]uint64{2, 0, 0, 1 << 63}}
	put("account row", account.Encode())
	results := settlement.Results{Height: 7, Clock: 6, Root: ledger.HashOf("root"), Receipts: 3, Finalised: 1}
	put("results", results.Encode())
	put("account key", settlement.AccountKey(258))
	put("account index key", settlement.AccountIndexKey(r.Signer))
	put("channel key", settlement.ChannelKey(258))
	for name, key := range map[string][]byte{
		"results key": settlement.ResultsKey(), "totals key": settlement.TotalsKey(),
		"params key": settlement.ParamsKey(), "clock key": settlement.ClockKey(),
	} {
		put(name, key)
	}
	changes, err := g.State()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range changes {
		put("genesis state "+hex.EncodeToString(c.Key), c.Value)
	}
	golden(t, "encodings.json", got)
}

// script is a sequence of blocks with something of everything in it.
func script(t *testing.T) (*bench, []func() []settlement.BlockTx) {
	t.Helper()
	b := newBench(t, smallParams(), 4)
	b.params.MaxBlockBytes, b.params.ReservedBps = 900, 5_000
	var refs []channel.Ref
	atomic := func(x *channel.Batch) *channel.Batch {
		x.Mode = channel.Atomic
		return x
	}
	return b, []func() []settlement.BlockTx{
		func() []settlement.BlockTx {
			return []settlement.BlockTx{
				b.signed(0, &channel.Open{Channels: []channel.OpenParams{b.openParams(1, 1_000), b.openParams(2, 500)}}),
				b.signed(3, payTo(keyOf("new", 0).Address(9), 77)),
				b.signed(0, payTo(b.addrs[1], 1<<50)),
			}
		},
		func() []settlement.BlockTx {
			refs = append(refs, b.ref(0), b.ref(1))
			bad := b.voucher(refs[0], 1, 50)
			bad.Signature[9] ^= 4
			return []settlement.BlockTx{
				b.signed(3, b.batch(1, b.voucher(refs[0], 0, 333), bad, b.voucher(refs[0], 63, 100), b.voucher(refs[1], 0, 5))),
				b.signed(3, &channel.TopUp{Channel: refs[1], NewTotal: 800}),
				b.signed(3, &channel.TopUp{Channel: refs[1], NewTotal: 800}),
				b.signed(0, &channel.Extend{Channel: refs[1], NewExpiry: b.clock() + 55}),
			}
		},
		func() []settlement.BlockTx {
			links := channel.HashChain(ledger.HashOf("golden tip"), 40)
			e := channel.Entry{
				Index: 1, Lane: 2, Claim: channel.ClaimHash, Step: 33, Preimage: links[33],
				Commit: channel.HashCommit{BaseCumulative: 10, BaseUnits: 1, Root: links[0], UnitPrice: 2, UnitSize: 16_384, Steps: 40, ChainNo: 1},
			}
			e.Signature = voucherKey().Sign(e.Signed(b.domain, refs[1].ID))
			return []settlement.BlockTx{
				b.signed(2, b.batch(2, e)),
				b.signed(1, atomic(b.batch(1, b.voucher(refs[0], 0, 400), b.voucher(refs[0], 2, 5_000)))),
				b.signed(0, &channel.RequestClose{Channel: refs[0]}),
			}
		},
		func() []settlement.BlockTx {
			return []settlement.BlockTx{
				b.signed(1, b.batch(1, b.voucher(refs[0], 0, 450))),
				b.signed(1, b.batch(1, b.voucher(refs[0], 0, 460))),
			}
		},
		func() []settlement.BlockTx {
			next := b.openParams(2, 5_000)
			return []settlement.BlockTx{b.signed(3, b.coopClose(0, 2, refs[1], 200, &next))}
		},
		func() []settlement.BlockTx { return nil },
		func() []settlement.BlockTx { return nil },
		func() []settlement.BlockTx {
			return []settlement.BlockTx{b.signed(2, b.batch(2, channel.Entry{Index: 2, Lane: 4, Close: true}))}
		},
	}
}

// TestGoldenBlocks fixes what the rules do, byte for byte, and that they do it
// twice.
func TestGoldenBlocks(t *testing.T) {
	t.Parallel()
	got := map[string]string{}
	b, blocks := script(t)
	for i, txs := range blocks {
		block := txs()
		changes, res := b.try(block...)
		again, second := b.try(block...)
		if digestOf(changes, &res) != digestOf(again, &second) {
			t.Fatalf("block %d: two executions differ", i+1)
		}
		b.block(block...)
		name := fmt.Sprintf("block %d ", i+1)
		got[name+"results root"] = res.ResultsRoot.String()
		got[name+"outcome"] = digestOf(changes, &res).String()
		got[name+"state"] = b.view.digest().String()
		got[name+"clock"] = fmt.Sprint(res.Clock, " then ", b.clock())
		for j, r := range res.Receipts {
			codes := r.Code.String()
			for _, e := range r.Entries {
				codes += " " + e.Code.String()
			}
			got[fmt.Sprintf("%sreceipt %d", name, j)] = codes
		}
	}
	if settlement.OpenChannels(b.view) != 0 {
		t.Errorf("%d channels are open at the end of the script", settlement.OpenChannels(b.view))
	}
	golden(t, "blocks.json", got)
}

// TestResultsRootProves: the root in the state is the one over receipts and
// finalisations, in that order.
func TestResultsRootProves(t *testing.T) {
	t.Parallel()
	b, blocks := script(t)
	for _, txs := range blocks {
		res := b.block(txs()...)
		if len(res.Receipts)+res.Finalised == 0 {
			continue
		}
		stored, err := settlement.DecodeResults(b.view.Get(settlement.ResultsKey()))
		want := settlement.Results{Height: b.height, Clock: res.Clock, Root: res.ResultsRoot, Receipts: uint32(len(res.Receipts)), Finalised: uint32(res.Finalised)}
		if err != nil || stored != want {
			t.Errorf("block %d: %+v, want %+v", b.height, stored, want)
		}
		if leaves := settlement.ResultLeaves(res.Receipts, res.Events); len(leaves) != len(res.Receipts)+res.Finalised {
			t.Errorf("block %d: %d leaves", b.height, len(leaves))
		}
	}
}
