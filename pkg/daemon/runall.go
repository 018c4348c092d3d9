package daemon

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"
)

// RunAll runs all functions until ctx ends. When one returns, the contexts of the others end too; their errors are
// joined.
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

// Await opens what needs another server, and retries each second until that answers; meanwhile health reports the error
// under the check's name. ok is false where ctx ended before.
func Await[T any](ctx context.Context, env Env, check string, open func() (T, error)) (opened T, ok bool) {
	reported := ""
	for {
		opened, err := open()
		env.Health.Set(check, err)
		if err == nil {
			return opened, true
		}
		if err.Error() != reported {
			reported = err.Error()
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
