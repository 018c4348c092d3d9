package daemon

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"
)

// RunAll runs all until ctx ends. When one returns, the others end too, and their errors are joined.
func RunAll(ctx context.Context, work ...func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(work))
	var wait sync.WaitGroup
	for i, run := range work {
		wait.Go(func() {
			defer cancel()
			errs[i] = run(ctx)
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

// Await opens what needs another server, again each second until that answers;
// health says under the check's name meanwhile what is missing. ok is false
// when ctx ended before.
func Await[T any](ctx context.Context, env Env, check string, open func() (T, error)) (opened T, ok bool) {
	said := ""
	for {
		opened, err := open()
		env.Health.Set(check, err)
		if err == nil {
			return opened, true
		}
		if err.Error() != said {
			said = err.Error()
			env.Log.Warn("waiting", zap.String("for", check), zap.Error(err))
		}
		t := time.NewTimer(time.Second)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return opened, false
		}
	}
}
