package api

import (
	"strconv"
	"strings"

	"github.com/tributary-network/tributary/ledger"
)

// Collections of resource names. A name is its collection, a slash and the id.
const (
	collectionChannels     = "channels"
	collectionSettlements  = "settlements"
	collectionTransactions = "transactions"
	collectionAccounts     = "accounts"
	collectionBlocks       = "blocks"

	latest = "latest"
)

// ChannelName returns the resource name of a channel: "channels/{id in hex}".
func ChannelName(id ledger.Hash) string { return collectionChannels + "/" + id.String() }

// SettlementName returns the resource name of a settlement by the hash of its
// transaction: "settlements/{hash in hex}".
func SettlementName(hash ledger.Hash) string { return collectionSettlements + "/" + hash.String() }

// TransactionName returns the resource name of a transaction:
// "transactions/{hash in hex}".
func TransactionName(hash ledger.Hash) string { return collectionTransactions + "/" + hash.String() }

// AccountName returns the resource name of an account:
// "accounts/{bech32 address}".
func AccountName(a ledger.Address) string { return collectionAccounts + "/" + a.String() }

// BlockName returns the resource name of a block: "blocks/{height}".
func BlockName(height uint64) string {
	return collectionBlocks + "/" + strconv.FormatUint(height, 10)
}

// parseHashName reads "{collection}/{64 hexadecimal digits}" in the field at
// path. Digits are lower case, so that one resource has one name.
func parseHashName(path, collection, name string) (ledger.Hash, error) {
	id, ok := strings.CutPrefix(name, collection+"/")
	if !ok || len(id) != 2*ledger.HashSize || id != strings.ToLower(id) {
		return ledger.Hash{}, invalid(path, "%s is not a name; want %s/ and %d lower-case hexadecimal digits", quoted(name), collection, 2*ledger.HashSize)
	}
	h, err := ledger.ParseHash(id)
	if err != nil {
		return ledger.Hash{}, invalid(path, "%s is not a name; want %s/ and %d lower-case hexadecimal digits", quoted(name), collection, 2*ledger.HashSize)
	}
	return h, nil
}

// parseAccountName reads "accounts/{bech32 address}".
func parseAccountName(path, name string) (ledger.Address, error) {
	id, ok := strings.CutPrefix(name, collectionAccounts+"/")
	if !ok {
		return ledger.Address{}, invalid(path, "%s is not a name; want accounts/ and an address such as trib1...", quoted(name))
	}
	return parseAddress(path, id)
}

// parseAddress reads a bech32 address.
func parseAddress(path, s string) (ledger.Address, error) {
	if s == "" {
		return ledger.Address{}, invalid(path, "is missing; want an address such as trib1...")
	}
	const longest = 90 // of bech32
	if len(s) <= longest {
		if a, err := ledger.ParseAddress(s); err == nil {
			return a, nil
		}
	}
	return ledger.Address{}, invalid(path, "%s is not an address of this network; want trib1... with a right checksum", quoted(s))
}

// parseBlockName reads "blocks/{height}" or "blocks/latest", for which it
// returns head.
func parseBlockName(path, name string, head uint64) (uint64, error) {
	id, ok := strings.CutPrefix(name, collectionBlocks+"/")
	if ok && id == latest {
		return head, nil
	}
	height, err := strconv.ParseUint(id, 10, 63)
	if !ok || err != nil || height == 0 || strconv.FormatUint(height, 10) != id {
		return 0, invalid(path, "%s is not a name; want blocks/ and a height from 1, or blocks/latest", quoted(name))
	}
	return height, nil
}

// quoted returns s in quotes, cut to a length fit for a message.
func quoted(s string) string {
	const most = 100
	if len(s) > most {
		return strconv.QuoteToASCII(s[:most]) + "..."
	}
	return strconv.QuoteToASCII(s)
}
