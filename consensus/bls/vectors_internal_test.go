package bls

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"testing"
)

// TestPublishedSignature: what another implementation signed verifies here. The
// key and the signature are those of round 1000 of drand's network "quicknet",
// which signs SHA-256 of the round under the suite without proofs of possession.
func TestPublishedSignature(t *testing.T) {
	t.Parallel()
	const suite = "BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_"
	var k PublicKey
	var s Signature
	decodeHex(t, k[:], "83cf0f2896adee7eb8b5f01fcad3912212c437e0073e911fb90022d3e760183c8c4b450b6a0a6c3ac6a5776a2d1064510d1fec758c921cc22b0e17e63aaf4bcb5ed66304de9cf809bd274ca73bab4af5a6e9c76a4bc09e76eae8991ef5ece45a")
	decodeHex(t, s[:], "b44679b9a59af2ec876b1a6b1ad52ea9b1615fc3982b19576350f93447cb1125e342b73a8dd2bacbe47e4b6b63ed5e39")
	key, err := ParseKey(k)
	if err != nil {
		t.Fatal(err)
	}
	for round, want := range map[uint64]bool{1000: true, 1001: false} {
		message := sha256.Sum256(binary.BigEndian.AppendUint64(nil, round))
		if got := key.verify(message[:], s, suite); got != want {
			t.Errorf("round %d: verifies is %v, want %v", round, got, want)
		}
	}
	message := sha256.Sum256(binary.BigEndian.AppendUint64(nil, 1000))
	if key.Verify(message[:], s) {
		t.Error("a signature of another suite verifies")
	}
}

func decodeHex(t *testing.T, dst []byte, text string) {
	t.Helper()
	if err := unhex(dst, []byte(text)); err != nil {
		t.Fatal(err, hex.EncodeToString(dst))
	}
}
