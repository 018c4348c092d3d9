package cli

import (
	"bytes"
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
)

// restored is a configuration service that was set back: services and a log know more than it does.
type restored struct {
	configv1.UnimplementedHistoryServiceServer

	unknown []*configv1.History_Unknown
	asked   []proto.Message
}

func (r *restored) GetHistory(context.Context, *configv1.GetHistoryRequest) (*configv1.History, error) {
	return &configv1.History{Newest: &configv1.Position{History: 0xa, Revision: 3}, Unknown: r.unknown}, nil
}

func (r *restored) AcceptRestore(_ context.Context, req *configv1.AcceptRestoreRequest) (*configv1.History, error) {
	r.asked = append(r.asked, req)
	return &configv1.History{Newest: &configv1.Position{History: 0xc, Revision: 10}}, nil
}

// restore runs the command; words are split at spaces.
func restore(t *testing.T, r *restored, args string) (code int, stdout, stderr string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	configv1.RegisterHistoryServiceServer(server, r)
	go server.Serve(listener) //nolint:errcheck // it ends with Stop
	defer server.Stop()
	var out, errs bytes.Buffer
	words := strings.Fields("config accept-restore --config " + listener.Addr().String() + " " + args)
	code = Run(t.Context(), words, command.Streams{Out: &out, Err: &errs}, time.Now())
	return code, out.String(), errs.String()
}

func TestAcceptRestore_AsksAndAccepts(t *testing.T) {
	inForce := &configv1.History_Unknown{
		Position: &configv1.Position{History: 0xb, Revision: 9}, InForce: true, Peer: "trigger-0",
		ReportedTime: timestamppb.New(time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)),
	}
	named := &configv1.History_Unknown{Position: &configv1.Position{History: 0xd, Revision: 700}, Peer: "safeguard-1"}
	accepted := func(positions ...*configv1.Position) *configv1.AcceptRestoreRequest {
		return &configv1.AcceptRestoreRequest{Lost: positions, Who: command.Operator(), Why: "backup"}
	}
	for _, test := range []struct {
		name, args string
		unknown    []*configv1.History_Unknown
		code       int
		out, errs  string
		asked      *configv1.AcceptRestoreRequest
	}{
		{"nothing to accept", "--why backup --yes", nil, exitOK, "nothing to accept", "", nil},
		{
			"what is in force is accepted", "--why backup --yes", []*configv1.History_Unknown{inForce, named}, exitOK,
			"not here: revision 9 of history 000000000000000b, in force, reported by trigger-0 at 2026-11-29T12:00:00Z", "", accepted(inForce.GetPosition()),
		},
		{
			"what only a log names has to be named", "--why backup --yes --history 000000000000000D", []*configv1.History_Unknown{inForce, named}, exitOK,
			"accepted: services follow from revision 10 of history 000000000000000c on", "", accepted(named.GetPosition()),
		},
		{"only what a log names", "--why backup --yes", []*configv1.History_Unknown{named}, exitOK, "nothing to accept", "", nil},
		{"no reason", "--yes", []*configv1.History_Unknown{inForce}, exitUsage, "", "--why", nil},
		{"no terminal", "--why backup", []*configv1.History_Unknown{inForce}, exitUsage, "", "--yes is required", nil},
		{"another history", "--why backup --yes --history ff", []*configv1.History_Unknown{inForce}, exitUsage, "", "--history ff is none of those shown", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := &restored{unknown: test.unknown}
			code, out, errs := restore(t, r, test.args)
			if code != test.code || !strings.Contains(out, test.out) || !strings.Contains(errs, test.errs) {
				t.Errorf("code %d\n%s\n%s", code, out, errs)
			}
			var want []proto.Message
			if test.asked != nil {
				want = append(want, test.asked)
			}
			if diff := cmp.Diff(want, r.asked, protocmp.Transform()); diff != "" {
				t.Error(diff)
			}
		})
	}
}
