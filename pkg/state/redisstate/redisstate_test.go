package redisstate_test

import (
	"testing"

	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/state/statetest"
)

func TestStore(t *testing.T) {
	for _, server := range statetest.Redises(t) {
		t.Run(server.Name, func(t *testing.T) {
			statetest.Store(t, func(t *testing.T) state.Store {
				s, _ := server.Open(t)
				return s
			})
		})
	}
}
