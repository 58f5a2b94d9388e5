package bls_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/big"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/consensus/bls"
)

var update = flag.Bool("update", false, "rewrite the golden vectors")

// secret returns the key of a fixed seed.
func secret(n byte) *bls.SecretKey {
	seed := make([]byte, bls.MinSeedSize)
	seed[0] = n
	k, err := bls.NewSecretKey(seed)
	if err != nil {
		panic(err)
	}
	return k
}

func parse(tb testing.TB, k bls.PublicKey) *bls.Key {
	tb.Helper()
	key, err := bls.ParseKey(k)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// group returns n keys and their signatures of message.
func group(tb testing.TB, n int, message []byte) (keys []*bls.Key, signatures []bls.Signature) {
	tb.Helper()
	for i := range n {
		k := secret(byte(i))
		keys = append(keys, parse(tb, k.Public()))
		signatures = append(signatures, k.Sign(message))
	}
	return keys, signatures
}

func aggregate(tb testing.TB, signatures ...bls.Signature) bls.Signature {
	tb.Helper()
	sum, err := bls.Aggregate(signatures)
	if err != nil {
		tb.Fatal(err)
	}
	return sum
}

func TestGolden(t *testing.T) {
	t.Parallel()
	got := map[string]string{}
	for n := range byte(3) {
		k := secret(n)
		put := func(name string, b []byte) { got[fmt.Sprintf("key %d %s", n, name)] = hex.EncodeToString(b) }
		public, proof, empty, short := k.Public(), k.Prove(nil), k.Sign(nil), k.Sign([]byte("tributary"))
		stated := k.Prove([]byte("statement"))
		put("secret", k.Bytes())
		put("public", public[:])
		put("proof", proof[:])
		put("proof for a statement", stated[:])
		put("signature of nothing", empty[:])
		put("signature", short[:])
	}
	sum := aggregate(t, secret(0).Sign([]byte("tributary")), secret(1).Sign([]byte("tributary")), secret(2).Sign([]byte("tributary")))
	got["sum of the signatures"] = sum.String()

	const path = "testdata/signatures.json"
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
		t.Errorf("keys or signatures changed: %s", diff)
	}
}

// TestKeyGen: KeyGen with this salt is how ERC-2333 makes its master keys, whose
// published vectors these are.
func TestKeyGen(t *testing.T) {
	t.Parallel()
	for seed, want := range map[string]string{
		"c55257c360c07c72029aebc1b53c05ed0362ada38ead3e3e9efa3708e53495531f09a6987599d18264c1e1c92f2cf141630c7a3c4ab7c81b2f001698e7463b04": "6083874454709270928345386274498605044986640685124978867557563392430687146096",
		"3141592653589793238462643383279502884197169399375105820974944592":                                                                 "29757020647961307431480504535336562678282505419141012933316116377660817309383",
		"0099ff991111002299dd7744ee3355bbdd8844115566cc55663355668888cc00":                                                                 "27580842291869792442942448775674722299803720648445448686099262467207037398656",
		"d4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3":                                                                 "19022158461524446591288038168518313374041767046816487870552872741050760015818",
	} {
		raw, err := hex.DecodeString(seed)
		if err != nil {
			t.Fatal(err)
		}
		k, err := bls.NewSecretKey(raw)
		if err != nil {
			t.Fatal(err)
		}
		if got := new(big.Int).SetBytes(k.Bytes()).String(); got != want {
			t.Errorf("seed %s gives %s, want %s", seed, got, want)
		}
	}
}

func TestSignVerify(t *testing.T) {
	t.Parallel()
	k, message := secret(1), []byte("message")
	key, s := parse(t, k.Public()), k.Sign(message)
	for _, row := range []struct {
		name string
		got  bool
		want bool
	}{
		{"signature", key.Verify(message, s), true},
		{"signature of another message", key.Verify([]byte("massage"), s), false},
		{"signature by another key", parse(t, secret(2).Public()).Verify(message, s), false},
		{"proof", key.VerifyProof(nil, k.Prove(nil)), true},
		{"proof for a statement", key.VerifyProof([]byte("statement"), k.Prove([]byte("statement"))), true},
		{"proof for another statement", key.VerifyProof([]byte("statement"), k.Prove([]byte("statemenT"))), false},
		{"proof for no statement", key.VerifyProof([]byte("statement"), k.Prove(nil)), false},
		{"proof for a statement shown for none", key.VerifyProof(nil, k.Prove([]byte("statement"))), false},
		{"proof of another key", key.VerifyProof(nil, secret(2).Prove(nil)), false},
		{"signature as a proof", key.VerifyProof(nil, k.Sign(publicBytes(k))), false},
		{"proof as a signature", key.Verify(publicBytes(k), k.Prove(nil)), false},
		{"zero signature", key.Verify(message, bls.Signature{}), false},
	} {
		if row.got != row.want {
			t.Errorf("%s: verifies is %v, want %v", row.name, row.got, row.want)
		}
	}
}

func publicBytes(k *bls.SecretKey) []byte {
	p := k.Public()
	return p[:]
}

func TestSecretKeys(t *testing.T) {
	t.Parallel()
	k := secret(1)
	again, err := bls.ParseSecretKey(k.Bytes())
	if err != nil || again.Public() != k.Public() || !bytes.Equal(again.Bytes(), k.Bytes()) {
		t.Errorf("a secret does not survive its encoding: %v", err)
	}
	order, _ := hex.DecodeString("73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001")
	for name, in := range map[string][]byte{
		"nothing": nil, "zero": make([]byte, 32), "short": k.Bytes()[:31], "long": append(k.Bytes(), 0),
		"group order": order, "all ones": bytes.Repeat([]byte{0xff}, 32),
	} {
		if _, err := bls.ParseSecretKey(in); !errors.Is(err, bls.ErrBadSecret) {
			t.Errorf("%s: error %v, want ErrBadSecret", name, err)
		}
	}
	if _, err := bls.NewSecretKey(make([]byte, bls.MinSeedSize-1)); !errors.Is(err, bls.ErrBadSecret) {
		t.Errorf("short seed: error %v, want ErrBadSecret", err)
	}
	plain := hex.EncodeToString(k.Bytes())
	for _, shown := range []string{fmt.Sprint(k), fmt.Sprintf("%+v %#v %x", k, k, k), fmt.Sprintf("%v %+v", *k, *k)} {
		if strings.Contains(shown, plain[:16]) {
			t.Errorf("printing shows the secret: %s", shown)
		}
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	type pair struct {
		Key       bls.PublicKey
		Signature bls.Signature
	}
	in := pair{secret(1).Public(), secret(1).Sign(nil)}
	text, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var out pair
	if err := json.Unmarshal(text, &out); err != nil || out != in {
		t.Errorf("read %v back from %s: %v", out, text, err)
	}
	for name, text := range map[string]string{
		"short key":       `{"Key":"00"}`,
		"bad digits":      fmt.Sprintf(`{"Key":"%s"}`, strings.Repeat("zz", 96)),
		"key off curve":   fmt.Sprintf(`{"Key":"%s"}`, strings.Repeat("00", 96)),
		"short signature": `{"Signature":"00"}`,
	} {
		if err := json.Unmarshal([]byte(text), &out); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if in.Key.IsZero() || in.Signature.IsZero() || !(bls.PublicKey{}).IsZero() || !(bls.Signature{}).IsZero() {
		t.Error("IsZero is wrong")
	}
}
