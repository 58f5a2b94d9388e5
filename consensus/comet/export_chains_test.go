package comet

// Claim takes a signer as the start of a chain does.
func Claim(s *Signer, chainID string) error { return s.claim(chainID) }

// ShardOf is shardOf.
func ShardOf(main, chainID string) bool { return shardOf(main, chainID) }
