package shardblock

// Rested is how much of an epoch a shard rested.
func Rested(blocks, own, worth uint64) uint64 { return rested(blocks, own, worth) }
