// Package pause waits for a time that a context can cut short.
package pause

import (
	"context"
	"time"
)

// For waits; false where ctx ended first.
func For(ctx context.Context, d time.Duration) bool { return Unless(ctx, nil, d) }

// Unless waits; false where ctx or stop ended first.
func Unless(ctx context.Context, stop <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-stop:
		return false
	case <-ctx.Done():
		return false
	}
}
