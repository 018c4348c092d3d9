package fold

import (
	"testing"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/state"
)

type noRevisions struct{}

func (noRevisions) Newest() state.Revision                  { return state.Revision{} }
func (noRevisions) Changed() <-chan struct{}                { return nil }
func (noRevisions) InForce(state.Partition, state.Revision) {}
func (noRevisions) At(state.Revision) (int, error)          { return 0, nil }

// A replica more than there are partitions once stayed not ready for ever, and a roll-out waited for it.
func TestReady_WithoutPartitions(t *testing.T) {
	e := &Engine[int, int]{
		config: EngineConfig[int, int]{Domain: "counter", Revisions: noRevisions{}, Limits: DefaultLimits()},
		owned:  map[int32]*Owner[int, int]{},
	}
	ready := func(when string, want bool) {
		t.Helper()
		if err := e.Ready(); (err == nil) != want {
			t.Errorf("%s: %v", when, err)
		}
	}
	ready("before the group's answer", false)
	e.assigned(0)
	ready("with nothing to work", true)
	e.assigned(2)
	ready("before its partitions are opened", false)
	open := func(partition int32) {
		o := NewOwner(OwnerConfig[int, int]{Cache: 1, Logger: zap.NewNop()})
		e.enter(partition, o)
		o.view.Enter(state.Watermark{Status: state.Ready})
	}
	open(0)
	ready("with one of two open", false)
	open(1)
	ready("with both open", true)
}
