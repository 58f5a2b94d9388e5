package settlement_test

import (
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/zone"
)

// worldService is the service that worlds register. It has most zones of their addresses, two
// with fees, so that some channels have a home and the fees of a zone, and others have not.
const worldService = 8

// feeService returns a service with the zones 0 to 7 but 3.
func feeService(owner ledger.Address, own, zone0, zone1 zone.Fees) zone.ServiceType {
	s := zone.ServiceType{
		ID: worldService, Name: "taxed", SpecHash: ledger.HashOf("taxed"), Unit: zone.Unit{Name: "unit", Size: 1},
		Shards: 1, CommitteeSize: zone.MinCommittee, Fees: own, Owner: owner, Version: 1,
		Zones: zone.Registry{{Number: 0, Policy: zone.DefaultPolicy("here")}, {Number: 1, Policy: zone.DefaultPolicy("there")}},
	}
	s.Zones[0].Policy.Fees, s.Zones[1].Policy.Fees = zone0, zone1
	for _, n := range []byte{2, 4, 5, 6, 7} {
		s.Zones = append(s.Zones, zone.Zone{Number: n, Policy: zone.DefaultPolicy("elsewhere")})
	}
	return s
}

// registering is the change of state by which a service is registered, or is another one.
func registering(s *zone.ServiceType) chain.Changes {
	return chain.Changes{{Key: registry.ServiceKey(s.ID), Value: s.Encode()}}
}

// register gives the service of the world other fees and another owner, who may have no
// account.
func (w *world) register() {
	choose := func() zone.Fees {
		return zone.Fees{
			ShareBps: []uint32{0, 0, 250, 1, 5_000}[w.src.intn(5)],
			Entry:    []ledger.Amount{0, 0, 1, 7, 1 << 20}[w.src.intn(5)],
		}
	}
	own, zones := choose(), [2]zone.Fees{choose(), choose()}
	w.m.owner = w.addrs[w.src.intn(len(w.addrs))]
	w.m.service = modelTerms{share: uint64(own.ShareBps), fee: uint64(own.Entry), zones: map[byte][2]uint64{}}
	for i, f := range zones {
		w.m.service.zones[byte(i)] = [2]uint64{uint64(f.ShareBps), uint64(f.Entry)}
	}
	s := feeService(w.m.owner, own, zones[0], zones[1])
	for _, n := range s.Zones.Numbers()[len(zones):] {
		w.m.service.zones[n] = [2]uint64{}
	}
	w.view.apply(registering(&s))
}

// modelTerms are fees: shares in basis points and drops of an entry, of the zones that
// the registered service has, by number, and its own.
type modelTerms struct {
	zones              map[byte][2]uint64
	zoneShare, zoneFee uint64
	share, fee         uint64
}

// of are the terms of a channel of payer that is opened now.
func (t modelTerms) of(service uint32, payer ledger.Address) modelTerms {
	if service != worldService {
		return modelTerms{}
	}
	z := t.zones[payer.Zone()]
	return modelTerms{zoneShare: z[0], zoneFee: z[1], share: t.share, fee: t.fee}
}

// credit moves paid from the channel to its payee, less what is burned and what is for the
// owner of the service, who gets it later.
func (m *model) credit(c *modelChannel, paid uint64) (net, burned, ownerFee uint64) {
	burn, region, owner := m.shares(c.terms, c.redeemed+paid)
	burn0, region0, owner0 := m.shares(c.terms, c.redeemed)
	if m.burnOnDeltas {
		burn0, burn = 0, paid*uint64(m.p.BurnBps)/10_000
	}
	burned, ownerFee = burn-burn0+region-region0, owner-owner0
	net = paid - burned - ownerFee
	for _, x := range []struct{ fee, to *uint64 }{{&c.terms.zoneFee, &burned}, {&c.terms.fee, &ownerFee}} {
		fee := min(*x.fee, paid/100, net)
		*x.to += fee
		net -= fee
	}
	c.redeemed += paid
	c.burned += burned
	c.paid += net
	m.accounts[c.payee].balance += net
	m.burned += burned
	return net, burned, ownerFee
}

// shares returns what of the first total drops the network, the zone and the service take,
// each of what the one before left.
func (m *model) shares(t modelTerms, total uint64) (burn, region, owner uint64) {
	left := total
	for _, x := range []struct {
		bps uint64
		to  *uint64
	}{{uint64(m.p.BurnBps), &burn}, {t.zoneShare, &region}, {t.share, &owner}} {
		*x.to = left * x.bps / 10_000
		left -= *x.to
	}
	return burn, region, owner
}

// earn gives the present owner of the service what a transaction brought it.
func (m *model) earn(fee uint64) {
	if fee > 0 {
		m.accounts[m.accountOrNew(m.owner)].balance += fee
	}
}
