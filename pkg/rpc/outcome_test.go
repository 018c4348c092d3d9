package rpc

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
)

// Callers make as many calls that fail as they like, with and without a key.
func TestOutcome_LogIsBoundedWithACount(t *testing.T) {
	const n = 1000
	missing := fault.New(fault.Unauthenticated, reason.APIKeyMissing, "no key")
	for name, fail := range map[string]func(*testing.T, *outcomes){
		"by its headers": func(t *testing.T, o *outcomes) { o.refused(t.Context(), "/x", missing) },
		"by the service": func(t *testing.T, o *outcomes) {
			err := error(fault.New(fault.Invalid, reason.RequestInvalid, "wrong"))
			o.settle(t.Context(), "/x", time.Now(), &err)
		},
		"of the service": func(t *testing.T, o *outcomes) {
			err := errors.New("disk full")
			o.settle(t.Context(), "/x", time.Now(), &err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				core, logs := observer.New(zapcore.InfoLevel)
				o, err := newOutcomes(daemon.NewEnv("config", zap.New(core)))
				if err != nil {
					t.Fatal(err)
				}
				for range n {
					fail(t, o)
				}
				time.Sleep(2 * time.Second)
				synctest.Wait()
				if got := logs.FilterMessage("call failed").Len(); got != linesPerSecond {
					t.Errorf("%d lines of %d calls", got, n)
				}
				omitted := logs.FilterMessage("lines omitted").All()
				if len(omitted) != 1 || omitted[0].ContextMap()["omitted"] != int64(n-linesPerSecond) {
					t.Errorf("omitted: %v", omitted)
				}
			})
		})
	}
}
