package api

import (
	"context"
	"strconv"

	consensusv1 "github.com/tributary-network/tributary/proto/tributary/consensus/v1"
)

// ListSeals implements ConsensusServiceServer.
func (a *agreements) ListSeals(ctx context.Context, req *consensusv1.ListSealsRequest) (*consensusv1.ListSealsResponse, error) {
	epoch, err := a.epochOf("committee", req.GetCommittee(), 0)
	if err != nil {
		return nil, err
	}
	list := newFilter("ListSeals", strconv.FormatUint(epoch, 10)) // not "latest", which moves on
	head, _ := a.State.Head()
	pg, err := a.pages.open(list, req.GetPageSize(), req.GetPageToken(), head)
	if err != nil {
		return nil, err
	}
	from := uint64(0)
	if pg.cursor != nil && !readCursor(pg.cursor, &from) {
		return nil, badCursor()
	}
	seals, err := a.Agreement.Seals(epoch, from, pg.size+1)
	if err != nil {
		return nil, err
	}
	a.rates.charge(callerIP(ctx), rowTokens(len(seals)))
	rules := &a.Network.Params.Staking
	resp := &consensusv1.ListSealsResponse{Epoch: epoch, FirstHeight: rules.FirstBlock(epoch), LastHeight: rules.LastBlock(epoch)}
	if len(seals) > pg.size {
		resp.NextPageToken = a.pages.token(list, pg.height, cursorU64(seals[pg.size].Height))
		seals = seals[:pg.size]
	}
	for i := range seals {
		s := &consensusv1.Seal{Height: seals[i].Height, Signature: seals[i].Signature}
		if len(seals[i].Signature) > 0 {
			s.Member = uint32(seals[i].Member)
		}
		resp.Seals = append(resp.Seals, s)
	}
	return resp, nil
}
