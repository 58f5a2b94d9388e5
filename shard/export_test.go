package shard

// SetBack returns who of a pool has no lot in a redraw.
func (p *Pool) SetBack(in *Inputs, tag string) map[uint64]bool {
	return p.urn(in.Seed).setBack(in, tag)
}

// NextID returns the id that the next new shard gets.
func (m *Map) NextID() ID { return m.next }
