package memstate_test

import (
	"testing"

	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/state/memstate"
	"github.com/tollgate/tollgate/pkg/state/statetest"
)

func TestStore(t *testing.T) {
	statetest.Store(t, func(*testing.T) state.Store { return memstate.New() })
}
