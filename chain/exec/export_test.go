package exec

import (
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
)

// NewKeys is newKeyCache.
func NewKeys(places int) ledger.Keys { return newKeyCache(places) }

// For the fuzz targets of the index's decoders.

// EncodeReceipt is encodeReceipt.
func EncodeReceipt(r *settlement.Receipt) []byte { return encodeReceipt(r) }

// DecodeReceipt is decodeReceipt.
func DecodeReceipt(b []byte) (settlement.Receipt, error) { return decodeReceipt(b) }

// DecodeIndex runs the other decoders of the index on b.
func DecodeIndex(b []byte) {
	_, _, _ = decodeBlock(1, b)
	_, _ = decodeClosed(1, b)
	_, _ = decodeStatement(1, b)
	_ = readPositions(b)
}
