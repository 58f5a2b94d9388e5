package exec

import "github.com/tributary-network/tributary/chain/staking"

// EncodeStaking is encodeStaking.
func EncodeStaking(events []staking.Event) []byte { return encodeStaking(events) }

// DecodeStaking is decodeStaking.
func DecodeStaking(b []byte) ([]staking.Event, error) { return decodeStaking(b) }

// EncodeSeal is BlockSeal.encode.
func EncodeSeal(s *BlockSeal) []byte { return s.encode() }

// DecodeSeal is decodeSeal.
func DecodeSeal(height uint64, raw []byte) (BlockSeal, error) { return decodeSeal(height, raw) }
