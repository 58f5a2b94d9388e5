package genesis_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/comet"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/genesis"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/zone"
)

func consensusKey(i int) ed25519.PublicKey {
	seed := sha256.Sum256(fmt.Appendf(nil, "validator %d", i))
	return ed25519.PublicKey(ed25519.NewKeyFromSeed(seed[:])[ed25519.SeedSize:])
}

func blsKey(i int) *bls.SecretKey {
	seed := sha256.Sum256(fmt.Appendf(nil, "BLS key %d", i))
	key, err := bls.NewSecretKey(seed[:])
	if err != nil {
		panic(err)
	}
	return key
}

func address(name string) ledger.Address {
	return ledger.NewPrivateKey(sha256.Sum256([]byte(name))).Address(0)
}

func document() genesis.Document {
	d := genesis.Document{
		Name:   "local-test",
		Time:   time.Date(2026, 5, 4, 3, 2, 1, 987_000_000, time.UTC),
		Params: settlement.LocalParams(),
		Accounts: []genesis.Account{
			{Address: address("alice"), Balance: 12_500_000, Name: "alice"},
			{Address: address("bob"), Balance: 7},
		},
	}
	for i := range 4 {
		operator := address(fmt.Sprintf("operator %d", i))
		d.Validators = append(d.Validators, genesis.Validator{
			Name: fmt.Sprintf("validator%d", i), Operator: operator, PublicKey: consensusKey(i),
			BLSKey: blsKey(i).Public(), Proof: prove(i, ledger.NetworkID{}, operator, consensusKey(i)), Stake: ledger.Amount(100+i) * ledger.DropsPerCoin,
			Commission: 500, MaxCommission: 2_000, MaxChange: 100,
			NodeID: fmt.Sprintf("%040x", i+1), Endpoint: fmt.Sprintf("127.0.0.1:%d", 40_000+100*i),
		})
	}
	d.Validators[3].MinSelf = 50 * ledger.DropsPerCoin
	policy := zone.DefaultPolicy("north")
	policy.Fees, policy.Proofs = zone.Fees{ShareBps: 7, Entry: 3}, zone.Proofs(zone.NoProof, zone.Bandwidth)
	d.Services = []zone.ServiceType{{
		ID: 1, Name: "content", SpecHash: ledger.HashOf("spec"), Unit: zone.Unit{Name: "chunk", Size: 1 << 18}, Proof: zone.Bandwidth,
		Zones: zone.Registry{{Number: 0, Policy: policy}, {Number: 9, Policy: zone.DefaultPolicy("south")}}, Shards: 2, CommitteeSize: 32,
		MinStake: ledger.DropsPerCoin, Fees: zone.Fees{ShareBps: 100, Entry: 2}, Owner: address("alice"), Version: 1,
	}}
	return d
}

// prove is the proof of the i-th BLS key's possession.
func prove(i int, network ledger.NetworkID, operator ledger.Address, key ed25519.PublicKey) bls.Signature {
	return staking.Prove(blsKey(i), network, operator, ledger.PublicKey(key))
}

func TestDocumentSurvivesEncoding(t *testing.T) {
	t.Parallel()
	want := document()
	got, err := genesis.Decode(want.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("after Encode and Decode (-want +got):\n%s", diff)
	}
	if err := got.Validate(); err != nil {
		t.Errorf("Validate: %v", err)
	}
	if got.NetworkID() != want.NetworkID() {
		t.Error("the network id changed")
	}
}

func TestDocumentSurvivesTheDisk(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "config", "genesis.json")
	want := document()
	if err := want.Save(path); err != nil {
		t.Fatal(err)
	}
	got, err := genesis.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("after Save and Load (-want +got):\n%s", diff)
	}
	if err := want.Save(path); err == nil {
		t.Error("Save replaced a genesis")
	}
}

func TestValidateNamesTheField(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		spoil func(*genesis.Document)
		field string
	}{
		{"no name", func(d *genesis.Document) { d.Name = "" }, "name"},
		{"name in capitals", func(d *genesis.Document) { d.Name = "Local" }, "name"},
		{"long name", func(d *genesis.Document) { d.Name = strings.Repeat("x", genesis.MaxName+1) }, "name"},
		{"no time", func(d *genesis.Document) { d.Time = time.Time{} }, "time"},
		{"early time", func(d *genesis.Document) { d.Time = time.Unix(-5, 0) }, "time"},
		{"fine time", func(d *genesis.Document) { d.Time = d.Time.Add(time.Microsecond) }, "time"},
		{"no accounts", func(d *genesis.Document) { d.Accounts = nil }, "accounts"},
		{"account twice", func(d *genesis.Document) { d.Accounts[1].Address = d.Accounts[0].Address }, "accounts[1].address"},
		{"empty account", func(d *genesis.Document) { d.Accounts[1].Balance = 0 }, "accounts[1].balance"},
		{"too rich", func(d *genesis.Document) { d.Accounts[0].Balance = ledger.MaxAmount + 1 }, "accounts[0].balance"},
		{"no validators", func(d *genesis.Document) { d.Validators = nil }, "validators"},
		{"nameless validator", func(d *genesis.Document) { d.Validators[2].Name = "" }, "validators[2].name"},
		{"unprintable validator", func(d *genesis.Document) { d.Validators[2].Name = "a\nb" }, "validators[2].name"},
		{"no key", func(d *genesis.Document) { d.Validators[3].PublicKey = nil }, "validators[3].public_key"},
		{"small-order key", func(d *genesis.Document) { d.Validators[3].PublicKey = make([]byte, 32) }, "validators[3].public_key"},
		{"key twice", func(d *genesis.Document) { d.Validators[3].PublicKey = d.Validators[0].PublicKey }, "validators[3].public_key"},
		{"no operator", func(d *genesis.Document) { d.Validators[1].Operator = ledger.Address{} }, "validators[1].operator"},
		{"operator of two", func(d *genesis.Document) { d.Validators[1].Operator = d.Validators[0].Operator }, "validators[1].operator"},
		{"no BLS key", func(d *genesis.Document) { d.Validators[1].BLSKey = bls.PublicKey{} }, "validators[1].bls_key"},
		{"BLS key that is none", func(d *genesis.Document) { d.Validators[1].BLSKey[0] ^= 0x40 }, "validators[1].bls_key"},
		{"BLS key twice", func(d *genesis.Document) {
			d.Validators[1].BLSKey, d.Validators[1].Proof = d.Validators[0].BLSKey, d.Validators[0].Proof
		}, "validators[1].bls_key"},
		{"somebody else's proof", func(d *genesis.Document) { d.Validators[1].Proof = d.Validators[0].Proof }, "validators[1].bls_proof"},
		{"a proof for a network", func(d *genesis.Document) {
			v := &d.Validators[1]
			v.Proof = prove(1, document().NetworkID(), v.Operator, v.PublicKey)
		}, "validators[1].bls_proof"},
		{"a proof of another operator", func(d *genesis.Document) { d.Validators[1].Operator = address("thief") }, "validators[1].bls_proof"},
		{"a proof beside another consensus key", func(d *genesis.Document) { d.Validators[1].PublicKey = consensusKey(9) }, "validators[1].bls_proof"},
		{"no proof", func(d *genesis.Document) { d.Validators[1].Proof = bls.Signature{} }, "validators[1].bls_proof"},
		{"a signature for a proof", func(d *genesis.Document) {
			d.Validators[1].Proof = blsKey(1).Sign(d.Validators[1].BLSKey[:])
		}, "validators[1].bls_proof"},
		{"stakeless", func(d *genesis.Document) { d.Validators[1].Stake = 0 }, "validators[1].stake"},
		{"less than the least stake", func(d *genesis.Document) { d.Validators[1].Stake = d.Params.Staking.MinStake - 1 }, "validators[1].stake"},
		{"stake beyond all money", func(d *genesis.Document) { d.Validators[1].Stake = ledger.MaxAmount + 1 }, "validators[1].stake"},
		{"promise above the stake", func(d *genesis.Document) { d.Validators[1].MinSelf = d.Validators[1].Stake + 1 }, "validators[1].min_self_stake"},
		{"commission above its most", func(d *genesis.Document) { d.Validators[1].Commission = 2_001 }, "validators[1].commission_bps"},
		{"more than all", func(d *genesis.Document) { d.Validators[1].MaxCommission = 10_001 }, "validators[1].max_commission_bps"},
		{"jump", func(d *genesis.Document) { d.Validators[1].MaxChange = 10_001 }, "validators[1].max_commission_change_bps"},
		{"service without a unit", func(d *genesis.Document) { d.Services[0].Unit.Size = 0 }, "services[0]"},
		{"service without shards", func(d *genesis.Document) { d.Services[0].Shards = 0 }, "services[0]"},
		{"bad node id", func(d *genesis.Document) { d.Validators[1].NodeID = strings.Repeat("A", 40) }, "validators[1].node_id"},
		{"node id twice", func(d *genesis.Document) { d.Validators[1].NodeID = d.Validators[0].NodeID }, "validators[1].node_id"},
		{"bad endpoint", func(d *genesis.Document) { d.Validators[1].Endpoint = ":26656" }, "validators[1].endpoint"},
		{"endpoint without port", func(d *genesis.Document) { d.Validators[1].Endpoint = "host:0" }, "validators[1].endpoint"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := document()
			test.spoil(&d)
			var field *genesis.FieldError
			if err := d.Validate(); !errors.As(err, &field) || field.Field != test.field {
				t.Errorf("Validate: %v, want an error about %s", err, test.field)
			}
		})
	}
}

func TestValidateReportsEveryProblem(t *testing.T) {
	t.Parallel()
	d := document()
	d.Name, d.Validators[0].Stake, d.Accounts[0].Balance = "", 0, 0
	err := d.Validate()
	for _, field := range []string{"name:", "validators[0].stake:", "accounts[0].balance:"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("Validate: %v, want a line with %s", err, field)
		}
	}
}

func TestValidateAsksTheRules(t *testing.T) {
	t.Parallel()
	d := document()
	d.Params.BurnBps = 10_001
	if err := d.Validate(); err == nil {
		t.Error("Validate took parameters that the rules refuse")
	}
	d = document()
	d.Params.Staking.MaxMissed = d.Params.Staking.Window
	if err := d.Validate(); err == nil || !strings.Contains(err.Error(), "params: staking: max_missed") {
		t.Errorf("Validate: %v, want an error about params.staking.max_missed", err)
	}
	d, err := genesis.Decode([]byte(strings.Replace(string(document().Encode()), `"due_blocks": 2`, `"due_blocks": 0`, 1)))
	if err == nil {
		err = d.Validate()
	}
	if err == nil || !strings.Contains(err.Error(), "params: anchors: due_blocks is 0, want 1") {
		t.Errorf("Validate: %v, want an error about params.anchors.due_blocks", err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	good := string(document().Encode())
	for _, test := range []struct {
		name, text, want string
	}{
		{"nothing", "", "ends early"},
		{"not JSON", "name = 1", "line 1"},
		{"cut off", good[:len(good)/2], "ends early"},
		{"two documents", good + good, "follows the document"},
		{"unknown field", strings.Replace(good, `"time"`, `"when"`, 1), "when"},
		{"field in capitals", strings.Replace(good, `"time"`, `"Time"`, 1), "lower-case"},
		{"field twice", strings.Replace(good, `"time"`, `"name": "x", "time"`, 1), "given twice"},
		{"nested field twice", strings.Replace(good, `"burn_bps"`, `"rent": "1", "burn_bps"`, 1), "params.rent: given twice"},
		{"other version", strings.Replace(good, `"version": 2`, `"version": 3`, 1), "version: 3; this program reads version 2"},
		{"old version", `{"version": 1, "validators": [{"power": 10}]}`, "stakes and BLS keys instead of powers"},
		{"no version", strings.Replace(good, `"version": 2,`, ``, 1), "version"},
		{"amount as number", strings.Replace(good, `"balance": "12.5"`, `"balance": 12.5`, 1), "balance"},
		{"amount too fine", strings.Replace(good, `"balance": "12.5"`, `"balance": "12.0000001"`, 1), "decimals"},
		{"amount as text", strings.Replace(good, `"balance": "12.5"`, `"balance": "a lot"`, 1), "a lot"},
		{"power", strings.Replace(good, `"stake": "100"`, `"power": 10`, 1), "power"},
		{"commission as text", strings.Replace(good, `"commission_bps": 500`, `"commission_bps": "5 %"`, 1), "commission_bps"},
		{"short BLS key", strings.Replace(good, `"bls_key": "`, `"bls_key": "00`, 1), "validators[0].bls_key"},
		{"proof not hexadecimal", strings.Replace(good, `"bls_proof": "`, `"bls_proof": "x`, 1), "validators[0].bls_proof"},
		{"key not hexadecimal", strings.Replace(good, `"public_key": "`, `"public_key": "x`, 1), "validators[0].public_key"},
		{"unknown proof", strings.Replace(good, `"proof": "bandwidth"`, `"proof": "luck"`, 1), "services[0].proof"},
		{"unknown proof of a zone", strings.Replace(good, `"none",`, `"nothing",`, 1), "services[0].zones[0].proofs[0]"},
		{"proof twice", strings.Replace(good, `"none",`, `"bandwidth",`, 1), "services[0].zones[0].proofs[1]"},
		{"short specification", strings.Replace(good, `"spec_hash": "`, `"spec_hash": "00`, 1), "services[0].spec_hash"},
		{"zone with a name", strings.Replace(good, `"region": "north"`, `"name": "north"`, 1), "name"},
		{"bad address", strings.Replace(good, `"trib1`, `"trib1q`, 1), "parse address"},
		{"bad time", strings.Replace(good, `"time": "2026`, `"time": "26`, 1), "time"},
		{"deep", strings.Repeat("[", 5000), "nested too deeply"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if test.text == good {
				t.Fatal("the row changes nothing")
			}
			_, err := genesis.Decode([]byte(test.text))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Decode: %v, want an error with %q", err, test.want)
			}
		})
	}
}

// TestServiceSurvivesEncoding: a service stands alone as it stands in a document.
func TestServiceSurvivesEncoding(t *testing.T) {
	t.Parallel()
	want := document().Services[0]
	got, err := genesis.DecodeService(genesis.EncodeService(&want))
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for _, text := range []string{"", "{}", `{"id": 1, "ID": 1}`, `{"id": 1, "when": 2}`, `{"id": -1}`} {
		if _, err := genesis.DecodeService([]byte(text)); err == nil {
			t.Errorf("%q is a service", text)
		}
	}
}

func TestNetworkIDCoversWhatNodesMustShare(t *testing.T) {
	t.Parallel()
	id := document().NetworkID()
	for _, test := range []struct {
		name   string
		change func(*genesis.Document)
		same   bool
	}{
		{"name", func(d *genesis.Document) { d.Name = "local-other" }, false},
		{"time", func(d *genesis.Document) { d.Time = d.Time.Add(time.Millisecond) }, false},
		{"time zone", func(d *genesis.Document) { d.Time = d.Time.In(time.FixedZone("x", 3600)) }, true},
		{"parameter", func(d *genesis.Document) { d.Params.BurnBps++ }, false},
		{"balance", func(d *genesis.Document) { d.Accounts[0].Balance++ }, false},
		{"account", func(d *genesis.Document) { d.Accounts[0].Address = address("carol") }, false},
		{"account's name", func(d *genesis.Document) { d.Accounts[0].Name = "x" }, true},
		{"validator's key", func(d *genesis.Document) { d.Validators[0].PublicKey = consensusKey(9) }, false},
		{"staking parameter", func(d *genesis.Document) { d.Params.Staking.JailEpochs++ }, false},
		{"validator's operator", func(d *genesis.Document) { d.Validators[0].Operator = address("carol") }, false},
		{"validator's BLS key", func(d *genesis.Document) { d.Validators[0].BLSKey = blsKey(9).Public() }, false},
		{"validator's proof", func(d *genesis.Document) {
			d.Validators[0].Proof = prove(9, ledger.NetworkID{}, d.Validators[0].Operator, d.Validators[0].PublicKey)
		}, false},
		{"validator's stake", func(d *genesis.Document) { d.Validators[0].Stake++ }, false},
		{"validator's promise", func(d *genesis.Document) { d.Validators[0].MinSelf++ }, false},
		{"validator's commission", func(d *genesis.Document) { d.Validators[0].Commission++ }, false},
		{"validator's name", func(d *genesis.Document) { d.Validators[0].Name = "x" }, false},
		{"fewer validators", func(d *genesis.Document) { d.Validators = d.Validators[:3] }, false},
		{"service", func(d *genesis.Document) { d.Services[0].Shards++ }, false},
		{"zone of a service", func(d *genesis.Document) { d.Services[0].Zones[1].Policy.Replication++ }, false},
		{"fee of services", func(d *genesis.Document) { d.Params.Registry.ServiceFee++ }, false},
		{"fee of anchors", func(d *genesis.Document) { d.Params.Anchors.SetFee++ }, false},
		{"time of anchors", func(d *genesis.Document) { d.Params.Anchors.StalledBlocks++ }, false},
		{"node id", func(d *genesis.Document) { d.Validators[0].NodeID = strings.Repeat("f", 40) }, true},
		{"endpoint", func(d *genesis.Document) { d.Validators[0].Endpoint = "example.org:1" }, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := document()
			test.change(&d)
			if got := d.NetworkID() == id; got != test.same {
				t.Errorf("same network id: %v, want %v", got, test.same)
			}
		})
	}
}

func TestTranslations(t *testing.T) {
	t.Parallel()
	d := document()
	g := d.Comet()
	if err := g.Validate(); err != nil {
		t.Fatalf("genesis for consensus: %v", err)
	}
	if g.ChainID != d.ChainID() || !strings.HasPrefix(g.ChainID, "local-test-") || len(g.ChainID) != len("local-test-")+8 {
		t.Errorf("chain id %q", g.ChainID)
	}
	large := document()
	large.Params.Staking.Seats, large.Params.MaxBlockBytes = staking.MaxSeats, 64<<20
	if most := large.Comet(); most.Validate() != nil || most.BlockMaxBytes < 64<<20+staking.MaxSeats*(64+20+14) {
		t.Errorf("blocks of %d bytes for the largest payload and committee: %v", most.BlockMaxBytes, most.Validate())
	}
	if g.EvidenceMaxBlocks != 500 || g.EvidenceMaxAge != 100*time.Second {
		t.Errorf("evidence for %d blocks and %v, want 25 epochs of 20 blocks", g.EvidenceMaxBlocks, g.EvidenceMaxAge)
	}
	state := d.Settlement()
	if supply, err := state.Supply(); err != nil || supply != 12_500_007+(100+101+102+103)*ledger.DropsPerCoin {
		t.Errorf("supply %d, %v: want balances and stakes", supply, err)
	}
	if !bytes.Equal(g.AppState, state.Encode()) {
		t.Error("consensus is not given the genesis of the rules")
	}
	peers := d.Peers(d.Validators[1].NodeID)
	if len(peers) != 3 || peers[1] != d.Validators[2].NodeID+"@127.0.0.1:40200" {
		t.Errorf("peers %q", peers)
	}
}

// TestConsensusBeginsWithTheCommittee compares what consensus starts from with what
// the rules elect.
// The longest name leaves room in the chain ids of all shards.
func TestNamesLeaveRoomForShards(t *testing.T) {
	t.Parallel()
	d := document()
	d.Name = strings.Repeat("x", genesis.MaxName)
	c := d.Comet()
	c.ChainID = comet.GenerationChainID(d.ChainID(), uint32(shard.MaxID), math.MaxUint32)
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	if c.ChainID += "0"; c.Validate() == nil {
		t.Errorf("MaxName could be larger: %s is taken", c.ChainID)
	}
}

func TestConsensusBeginsWithTheCommittee(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(*genesis.Document)
		want   []int // validators in consensus, by number
	}{
		{"all of them", func(*genesis.Document) {}, []int{3, 2, 1, 0}},
		{"more than there are seats", func(d *genesis.Document) { d.Params.Staking.Seats = 3 }, []int{3, 2, 1}},
		{"a whale", func(d *genesis.Document) { d.Validators[1].Stake *= 3 }, []int{1, 3, 2, 0}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := document()
			test.change(&d)
			if err := d.Validate(); err != nil {
				t.Fatal(err)
			}
			rules, got := d.Settlement().Committee(), d.Comet()
			if len(got.Validators) != len(test.want) || len(rules.Members) != len(test.want) {
				t.Fatalf("%d in consensus, %d elected, want %d", len(got.Validators), len(rules.Members), len(test.want))
			}
			for i, v := range got.Validators {
				m := rules.Members[i]
				if !bytes.Equal(v.PubKey, consensusKey(test.want[i])) || m.Validator != uint64(test.want[i]) ||
					v.Power != int64(m.Power) || v.Power < 1 || v.Name != d.Validators[test.want[i]].Name {
					t.Errorf("place %d has %+v, elected was %+v, want validator %d", i, v, m, test.want[i])
				}
			}
			if most := int64(rules.TotalPower()) * int64(d.Params.Staking.PowerCapBps) / ledger.BasisPoints; got.Validators[0].Power > most {
				t.Errorf("the first has %d, at most %d of %d", got.Validators[0].Power, most, rules.TotalPower())
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(document().Encode())
	f.Add([]byte(`{"version":2}`))
	f.Add([]byte(`{"version":2,"accounts":[{"balance":"1drops"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := genesis.Decode(data)
		if err != nil || d.Validate() != nil {
			return
		}
		again, err := genesis.Decode(d.Encode())
		if err != nil {
			t.Fatalf("decode what was encoded: %v", err)
		}
		if again.NetworkID() != d.NetworkID() {
			t.Error("the network id changed")
		}
	})
}
