package registry

import (
	"encoding/binary"
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/shard"
)

// ReportLag is for how many epochs after its own a report counts: a shard learns that an
// epoch is over when the next has begun, and main takes what it says in that one.
const ReportLag = 1

func loadKey(id shard.ID) []byte {
	return binary.BigEndian.AppendUint32([]byte{prefixLoad}, uint32(id))
}

// Report takes a shard's own report of its load, which is the payload of a message of
// shard.KindReport from a bucket of a zone of a service; by the rules of links that
// bucket was the sender's. The last report of each shard is kept, and counts at the end of
// its next epoch; one that comes later wants nothing any more. So a shard that is cut off
// is neither split nor merged, and no more than one row is kept for each shard. Report
// refuses, and changes nothing, with
//
//	CodeMalformed      it is no report
//	CodeUnknownShard   its shard does not serve, or does not own the bucket
//	CodeStale          it is older than the last one, or of an epoch that has not begun
func (c *Context) Report(service uint32, zone, bucket byte, payload []byte) error {
	p, err := shard.DecodeReport(payload)
	if err != nil {
		return chain.Refuse(chain.CodeMalformed, "%v", err)
	}
	id := p.Load.Shard
	switch s, ok := anchor.Read(c.State, id); {
	case !ok || s.Until > 0:
		return chain.Refuse(chain.CodeUnknownShard, "shard %d does not serve", id)
	case s.Service != service || s.Zone != zone || !s.Buckets.Contains(shard.Bucket(bucket)):
		return chain.Refuse(chain.CodeUnknownShard, "shard %d does not own bucket %02x in zone %d of service %d", id, bucket, zone, service)
	}
	if last, ok := ReadReport(c.State, id); ok && p.Epoch <= last.Epoch {
		return chain.Refuse(chain.CodeStale, "shard %d has reported epoch %d, this is of epoch %d", id, last.Epoch, p.Epoch)
	}
	if now := c.epoch(); p.Epoch > now {
		return chain.Refuse(chain.CodeStale, "report of epoch %d, this is epoch %d", p.Epoch, now)
	}
	c.State.Set(loadKey(id), p.Encode())
	return nil
}

// ReadReport returns the last report of a shard, and ok=false if it has sent none.
func ReadReport(v chain.View, id shard.ID) (p shard.Report, ok bool) {
	b := v.Get(loadKey(id))
	if b == nil {
		return shard.Report{}, false
	}
	p, err := shard.DecodeReport(b)
	mustRead("report", err)
	return p, true
}

// loads returns the loads that count at the end of the epoch of m.
func (c *Context) loads(m *shard.Map) (list []shard.Load) {
	for k, b := range c.State.Range([]byte{prefixLoad}) {
		p, err := shard.DecodeReport(b)
		if err == nil && p.Load.Shard != shard.ID(binary.BigEndian.Uint32(k[1:])) {
			err = fmt.Errorf("of shard %d", p.Load.Shard)
		}
		mustRead("report", err)
		if p.Epoch+ReportLag >= m.Epoch() {
			list = append(list, p.Load)
		}
	}
	c.keepRegistered(m, list)
	return list
}

// keepRegistered takes the light blocks out of the loads of shards of a zone that has no
// more shards than its service was registered with, or will have no more with what is
// announced. Only on request are those merged: an idle network would lose its shards, and
// get them back an epoch at a time.
func (c *Context) keepRegistered(m *shard.Map, loads []shard.Load) {
	registered := make(map[uint32]int)
	for i := range loads {
		s, ok := m.Find(loads[i].Shard)
		if !ok {
			continue
		}
		least, known := registered[s.Service]
		if !known {
			service, _ := ReadService(c.State, s.Service)
			least = int(service.Shards)
			registered[s.Service] = least
		}
		if coming(m, s.Service, s.Zone) <= least {
			loads[i].Light = 0
		}
	}
}

// coming returns how many shards a zone has at least until what is announced now holds,
// without the splits, which may come later.
func coming(m *shard.Map, service uint32, number byte) int {
	n := len(m.Zone(service, number))
	for _, g := range m.Announced() {
		if g.Kind == shard.Merge && g.Service == service && g.Zone == number {
			n--
		}
	}
	return n
}
