package shard

// SetBack returns who of a pool has no lot in a redraw.
func (p *Pool) SetBack(in *Inputs, tag string) map[uint64]bool {
	return p.urn(in.Seed).setBack(in, tag)
}
