package comet_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cryptoenc "github.com/cometbft/cometbft/crypto/encoding"
	"github.com/cometbft/cometbft/libs/protoio"
	privvalproto "github.com/cometbft/cometbft/proto/tendermint/privval"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"

	"github.com/tributary-network/tributary/consensus/comet"
)

// TestRemoteSignerBehindACrowd connects a signer while many others, who say
// nothing, are connected, as many as the node hears at a time and more.
func TestRemoteSignerBehindACrowd(t *testing.T) {
	t.Parallel()
	_, _, nodeKey := signerKeys(t)
	_, signer, key := signerKeys(t)
	at := signerAddrs(t, nodeKey, key.ID())["tcp"]
	ctx, cancel := context.WithTimeout(t.Context(), hangs)
	defer cancel()
	listening := make(chan error, 1)
	var got *comet.Signer
	go func() {
		var err error
		got, err = comet.ConnectSigner(ctx, comet.RemoteSignerConfig{
			Dir: filepath.Join(t.TempDir(), "mirror"), Listen: at.listen, Allow: at.allow, ChainID: "c",
		}, nodeKey, testLogger("node"))
		listening <- err
	}()
	for range 100 {
		var silent net.Conn
		eventually(t, 10*time.Second, "the node listens", func() (ok bool) {
			var err error
			silent, err = net.Dial("tcp", strings.TrimPrefix(at.listen, "tcp://"))
			return err == nil
		})
		t.Cleanup(func() { _ = silent.Close() })
	}
	server, err := comet.NewSignerServer(signer, key, "c", at.node, testLogger("signer"))
	if err != nil {
		t.Fatal(err)
	}
	serving, stop := context.WithCancel(ctx)
	defer stop()
	served := make(chan error, 1)
	go func() { served <- server.Run(serving) }()
	if err := <-listening; err != nil {
		t.Fatalf("the signer behind a crowd: %v", err)
	}
	if err := got.Err(); err != nil {
		t.Errorf("connected: %v", err)
	}
	stop()
	if err := errors.Join(<-served, got.Close()); err != nil {
		t.Error(err)
	}
	if err := got.Err(); !errors.Is(err, comet.ErrSignerAway) {
		t.Errorf("after the end: %v", err)
	}
}

func prevote(signer *comet.Signer, height int64) *cmtproto.Vote {
	return &cmtproto.Vote{
		Type: cmtproto.PrevoteType, Height: height, ValidatorAddress: signer.Address(), Timestamp: time.Unix(1_000, 0).UTC(),
		BlockID: cmtproto.BlockID{Hash: make([]byte, 32), PartSetHeader: cmtproto.PartSetHeader{Total: 1, Hash: make([]byte, 32)}},
	}
}

// TestSignerServerRefusesNonsense has the node that the signer believes ask for
// signatures under what is no vote: it is refused, and the signer lives on.
func TestSignerServerRefusesNonsense(t *testing.T) {
	t.Parallel()
	_, signer, key := signerKeys(t)
	at := signerAddrs(t, key, key.ID())["unix"]
	listener, err := net.Listen("unix", strings.TrimPrefix(at.listen, "unix://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	server, err := comet.NewSignerServer(signer, key, "c", at.node, testLogger("signer"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- server.Run(ctx) }()
	c, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	in, out := protoio.NewDelimitedReader(c, 1<<20), protoio.NewDelimitedWriter(c)
	ask := func(request *privvalproto.Message) (answer privvalproto.Message) {
		t.Helper()
		if _, err := out.WriteMsg(request); err != nil {
			t.Fatal(err)
		}
		if _, err := in.ReadMsg(&answer); err != nil {
			t.Fatal(err)
		}
		return answer
	}
	askVote := func(v *cmtproto.Vote) *privvalproto.RemoteSignerError {
		answer := ask(&privvalproto.Message{Sum: &privvalproto.Message_SignVoteRequest{SignVoteRequest: &privvalproto.SignVoteRequest{Vote: v, ChainId: "c"}}})
		return answer.GetSignedVoteResponse().GetError()
	}
	for name, break1 := range map[string]func(*cmtproto.Vote) *cmtproto.Vote{
		"none":              func(*cmtproto.Vote) *cmtproto.Vote { return nil },
		"unknown type":      func(v *cmtproto.Vote) *cmtproto.Vote { v.Type = 77; return v },
		"no height":         func(v *cmtproto.Vote) *cmtproto.Vote { v.Height = 0; return v },
		"negative round":    func(v *cmtproto.Vote) *cmtproto.Vote { v.Round = -1; return v },
		"short hash":        func(v *cmtproto.Vote) *cmtproto.Vote { v.BlockID.Hash = v.BlockID.Hash[1:]; return v },
		"no parts":          func(v *cmtproto.Vote) *cmtproto.Vote { v.BlockID.PartSetHeader.Total = 0; return v },
		"no address":        func(v *cmtproto.Vote) *cmtproto.Vote { v.ValidatorAddress = nil; return v },
		"extended prevote":  func(v *cmtproto.Vote) *cmtproto.Vote { v.Extension = []byte{1}; return v },
		"endless extension": func(v *cmtproto.Vote) *cmtproto.Vote { v.Extension = make([]byte, 100_000); return v },
	} {
		if askVote(break1(prevote(signer, 5))) == nil {
			t.Errorf("%s: signed", name)
		}
	}
	for name, p := range map[string]*cmtproto.Proposal{
		"none":            nil,
		"a vote's type":   {Type: cmtproto.PrevoteType, Height: 5, PolRound: -1, BlockID: prevote(signer, 5).BlockID},
		"no block":        {Type: cmtproto.ProposalType, Height: 5, PolRound: -1},
		"a later polka":   {Type: cmtproto.ProposalType, Height: 5, PolRound: 3, BlockID: prevote(signer, 5).BlockID},
		"negative height": {Type: cmtproto.ProposalType, Height: -5, PolRound: -1, BlockID: prevote(signer, 5).BlockID},
	} {
		answer := ask(&privvalproto.Message{Sum: &privvalproto.Message_SignProposalRequest{
			SignProposalRequest: &privvalproto.SignProposalRequest{Proposal: p, ChainId: "c"},
		}})
		if answer.GetSignedProposalResponse().GetError() == nil {
			t.Errorf("proposal, %s: signed", name)
		}
	}
	if refused := askVote(prevote(signer, 5)); refused != nil {
		t.Errorf("a good vote after all that: %v", refused)
	}
	if err := signer.Err(); err != nil {
		t.Error(err)
	}
	cancel()
	if err := errors.Join(<-served, c.Close()); err != nil {
		t.Error(err)
	}
}

// TestSignerErrDoesNotWait asks how a signer does while it signs, as it may for long
// if its key lies elsewhere.
func TestSignerErrDoesNotWait(t *testing.T) {
	t.Parallel()
	_, signer, _ := signerKeys(t)
	signing, goOn := make(chan struct{}), make(chan struct{})
	comet.OnSync(signer, func(string) error {
		close(signing)
		<-goOn
		return nil
	})
	signed := make(chan error, 1)
	go func() { signed <- comet.PrivValidator(signer).SignVote("c", prevote(signer, 5)) }()
	<-signing
	asked := make(chan error, 1)
	go func() { asked <- signer.Err() }()
	select {
	case err := <-asked:
		if err != nil {
			t.Errorf("while it signs: %v", err)
		}
	case <-time.After(hangs):
		t.Error("Err waits for the signature")
	}
	close(goOn)
	if err := <-signed; err != nil {
		t.Error(err)
	}
}

// TestRemoteSignerThatNeverAnswers asks for a signature that does not come.
func TestRemoteSignerThatNeverAnswers(t *testing.T) {
	t.Parallel()
	_, away, key := signerKeys(t)
	at := signerAddrs(t, key, key.ID())["unix"]
	signer, err := comet.ListenSigner(t.Context(), comet.RemoteSignerConfig{
		Dir: filepath.Join(t.TempDir(), "mirror"), Listen: at.listen, ChainID: "c",
	}, key, testLogger("node"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("unix", strings.TrimPrefix(at.listen, "unix://"))
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() { // a signer that gives its key and never signs
		defer close(served)
		defer func() { _ = c.Close() }()
		in, out := protoio.NewDelimitedReader(c, 1<<20), protoio.NewDelimitedWriter(c)
		for {
			var request, answer privvalproto.Message
			if _, err := in.ReadMsg(&request); err != nil {
				return
			}
			switch request.Sum.(type) {
			case *privvalproto.Message_PubKeyRequest:
				pub, _ := comet.PrivValidator(away).GetPubKey()
				wire, _ := cryptoenc.PubKeyToProto(pub)
				answer.Sum = &privvalproto.Message_PubKeyResponse{PubKeyResponse: &privvalproto.PubKeyResponse{PubKey: wire}}
			case *privvalproto.Message_PingRequest:
				answer.Sum = &privvalproto.Message_PingResponse{PingResponse: &privvalproto.PingResponse{}}
			default:
				_, _ = in.ReadMsg(&request) // until the other end gives up
				return
			}
			if _, err := out.WriteMsg(&answer); err != nil {
				return
			}
		}
	}()
	if err := signer.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := comet.PrivValidator(signer).SignVote("c", prevote(signer, 5)); !errors.Is(err, comet.ErrSignerAway) {
		t.Errorf("no answer: %v", err)
	}
	if err := signer.Err(); !errors.Is(err, comet.ErrSignerAway) {
		t.Errorf("after that: %v", err)
	}
	if err := signer.Close(); err != nil {
		t.Error(err)
	}
	<-served
}
