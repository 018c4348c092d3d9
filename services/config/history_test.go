package config

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/tollgate/tollgate/pkg/fault"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// heads begins a watch that sends what is known, and returns what it receives.
func (r *running) heads(known ...*configv1.Position) func() *configv1.WatchResponse {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	r.t.Cleanup(cancel)
	stream := must[configv1.ConfigWatchService_WatchClient](r.t)(r.watching.Watch(ctx, &configv1.WatchRequest{Known: known}))
	return func() *configv1.WatchResponse {
		r.t.Helper()
		return must[*configv1.WatchResponse](r.t)(stream.Recv())
	}
}

func (r *running) head() *configv1.WatchResponse { return r.heads()() }

// copied returns what sets the database back to how it is now.
func (r *running) copied() (restore func()) {
	r.t.Helper()
	r.stop()
	restore = r.db.Copy()
	r.run()
	return restore
}

func (r *running) setBack(restore func()) {
	r.t.Helper()
	r.stop()
	restore()
	r.run()
}

func newestOf(h *configv1.WatchResponse) *configv1.Position {
	return &configv1.Position{History: h.GetHistory(), Revision: h.GetRevision()}
}

func shown(h *configv1.History) string {
	var out []string
	for _, u := range h.GetUnknown() {
		how := "named"
		if u.GetInForce() {
			how = "in force"
		}
		out = append(out, fmt.Sprintf("%d %s", u.GetPosition().GetRevision(), how))
	}
	return strings.Join(out, ", ")
}

func TestRestart_KeepsTheRevisionsOfBefore(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.tenant("one")
	first := r.head()
	r.restart()
	if again := r.head(); again.GetHistory() != first.GetHistory() {
		t.Errorf("a run that changed nothing is of another history: %v", again)
	}
	r.tenant("two")
	second := r.heads(newestOf(first))()
	if second.GetHistory() == first.GetHistory() || second.GetRevision() != 2 {
		t.Errorf("another run gives revisions of the history of the first: %v", second)
	}
	if h := must[*configv1.History](t)(r.history.GetHistory(t.Context(), &configv1.GetHistoryRequest{})); len(h.GetUnknown()) != 0 {
		t.Errorf("not known: %s", shown(h))
	}
	s := must[*configv1.Snapshot](t)(r.snapshotOf(first.GetHistory(), 1))
	if s.GetRevision() != 1 || s.GetHistory() != first.GetHistory() || len(s.GetTenants()) != 1 || s.GetStandsIn() != 0 {
		t.Errorf("revision 1: %v", s)
	}
	for _, p := range []*configv1.Position{{History: first.GetHistory(), Revision: 2}, {History: second.GetHistory(), Revision: 1}, {Revision: 3}} {
		_, err := r.snapshotOf(p.GetHistory(), p.GetRevision())
		refused(t, err, fault.NotFound, "REVISION_UNKNOWN")
	}
}

func TestRestore_IsAcceptedAboveEveryRevisionThatWasSeen(t *testing.T) {
	t.Parallel()
	for name, restore := range map[string]func(r *running, backup func()){
		"set back to a backup":        func(r *running, backup func()) { r.setBack(backup) },
		"set back, and changed since": func(r *running, backup func()) { r.setBack(backup); r.tenant("three") },
		"begun anew":                  func(r *running, _ func()) { r.setBack(r.db.Clear); r.tenant("anew") },
		"begun anew, and empty":       func(r *running, _ func()) { r.setBack(r.db.Clear) },
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t)
			r.tenant("one")
			backup := r.copied()
			for i := range 9 {
				r.tenant(fmt.Sprintf("lost-%d", i))
			}
			known := newestOf(r.head()) // revision 10
			restore(r, backup)
			before := r.head().GetRevision()
			receive := r.heads(known)
			receive()
			if _, err := r.snapshotOf(known.GetHistory(), 5); fault.KindOf(err) != fault.NotFound {
				t.Errorf("a lost revision before it is accepted: %v", err)
			}
			h := must[*configv1.History](t)(r.history.GetHistory(t.Context(), &configv1.GetHistoryRequest{}))
			if got := shown(h); got != "10 in force" || h.GetNewest().GetRevision() != before {
				t.Fatalf("shows %q, newest %v", got, h.GetNewest())
			}
			h = must[*configv1.History](t)(r.history.AcceptRestore(t.Context(), &configv1.AcceptRestoreRequest{
				Lost: []*configv1.Position{h.GetUnknown()[0].GetPosition()}, Who: "ops", Why: "the disk broke",
			}))
			if h.GetNewest().GetRevision() != 11 || len(h.GetUnknown()) != 0 {
				t.Errorf("accepted: %v", h)
			}
			received := receive()
			if received.GetRevision() != 11 || received.GetApplyRevision() != 11 || received.GetHistory() == known.GetHistory() {
				t.Errorf("watchers receive %v", received)
			}
			now := must[*configv1.Snapshot](t)(r.snapshotOf(received.GetHistory(), 11))
			lost := must[*configv1.Snapshot](t)(r.snapshotOf(known.GetHistory(), 5))
			if lost.GetRevision() != 5 || lost.GetHistory() != known.GetHistory() || lost.GetStandsIn() != 11 || len(lost.GetTenants()) != len(now.GetTenants()) {
				t.Errorf("in place of a lost revision: %v", lost)
			}
			r.tenant("after")
			if next := r.head(); next.GetRevision() != 12 || next.GetHistory() != received.GetHistory() {
				t.Errorf("the next revision is %v", next)
			}
			r.restart()
			receive = r.heads(known, newestOf(received))
			receive()
			if h := must[*configv1.History](t)(r.history.GetHistory(t.Context(), &configv1.GetHistoryRequest{})); len(h.GetUnknown()) != 0 {
				t.Errorf("forgotten at a restart: %s", shown(h))
			}
			_, err := r.history.AcceptRestore(t.Context(), &configv1.AcceptRestoreRequest{Lost: []*configv1.Position{known}, Who: "ops", Why: "again"})
			refused(t, err, fault.Conflict, "NOTHING_LOST")
			// A replica that was away had seen more.
			more := &configv1.Position{History: known.GetHistory(), Revision: 20}
			must[*configv1.History](t)(r.history.AcceptRestore(t.Context(), &configv1.AcceptRestoreRequest{Lost: []*configv1.Position{more}, Who: "ops", Why: "another"}))
			if next := r.head(); next.GetRevision() != 21 {
				t.Errorf("not above what was lost: %v", next)
			}
			if s := must[*configv1.Snapshot](t)(r.snapshotOf(known.GetHistory(), 5)); s.GetStandsIn() != 11 {
				t.Errorf("what replaces revision 5 changed: %d", s.GetStandsIn())
			}
		})
	}
}

func TestRestore_BoundsWhatItAccepts(t *testing.T) {
	t.Parallel()
	r := start(t)
	one := []*configv1.Position{{History: 7, Revision: 3}}
	for name, req := range map[string]*configv1.AcceptRestoreRequest{
		"nothing lost":     {Who: "a", Why: "b"},
		"no history":       {Lost: []*configv1.Position{{Revision: 3}}, Who: "a", Why: "b"},
		"no revision":      {Lost: []*configv1.Position{{History: 3}}, Who: "a", Why: "b"},
		"a forged number":  {Lost: []*configv1.Position{{History: 3, Revision: 1 << 62}}, Who: "a", Why: "b"},
		"too many":         {Lost: make([]*configv1.Position, lostMost+1), Who: "a", Why: "b"},
		"no person":        {Lost: one, Who: " ", Why: "b"},
		"for no reason":    {Lost: one, Who: "a"},
		"a very long word": {Lost: one, Who: "a", Why: strings.Repeat("x", wordsMost+1)},
	} {
		t.Run(name, func(t *testing.T) {
			for i := range req.GetLost() {
				if req.Lost[i] == nil {
					req.Lost[i] = &configv1.Position{History: uint64(i + 1), Revision: 1}
				}
			}
			_, err := r.history.AcceptRestore(t.Context(), req)
			refused(t, err, fault.Invalid, "REQUEST_INVALID")
		})
	}
	for i := range unknownMost + 20 {
		_, err := r.snapshotOf(uint64(i+1), 1)
		refused(t, err, fault.NotFound, "REVISION_UNKNOWN")
	}
	h := must[*configv1.History](t)(r.history.GetHistory(t.Context(), &configv1.GetHistoryRequest{}))
	if n := len(h.GetUnknown()); n != unknownMost {
		t.Errorf("%d histories are remembered", n)
	}
}

// A configuration larger than one message stopped every later change of every tenant.
func TestSnapshot_LargeOneComesInParts(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.tenant("acme")
	for i := range 24 {
		e := anEndpoint(fmt.Sprintf("e-%02d", i))
		e.DisplayName = strings.Repeat("x", 200)
		for n := range 20 {
			e.Headers = append(e.Headers, &configv1.CustomHeader{Name: fmt.Sprintf("X-Header-%d", n), Value: strings.Repeat("v", 4000)})
		}
		if _, err := r.ends.CreateEndpoint(t.Context(), &configv1.CreateEndpointRequest{Endpoint: e}); err != nil {
			t.Fatal(err)
		}
	}
	parts := must[configv1.ConfigWatchService_SnapshotClient](t)(r.watching.Snapshot(t.Context(), &configv1.SnapshotRequest{}))
	n := 0
	for {
		part, err := parts.Recv()
		if err != nil {
			break
		}
		n++
		if size := len(part.String()); size > 3*partBytes {
			t.Errorf("a part of %d bytes", size)
		}
	}
	if n < 2 {
		t.Errorf("%d parts", n)
	}
	if s := r.snapshot(0); len(s.GetEndpoints()) != 24 || len(s.GetTenants()) != 1 {
		t.Errorf("%d endpoints", len(s.GetEndpoints()))
	}
}
