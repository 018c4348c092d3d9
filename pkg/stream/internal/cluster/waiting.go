package cluster

import "context"

type waitingKey struct{}

// WithWaiting has calls under a context report that they wait for Kafka: waiting begins that, and the function it
// returns ends it.
func WithWaiting(ctx context.Context, waiting func() (end func())) context.Context {
	return context.WithValue(ctx, waitingKey{}, waiting)
}

// MarkWaiting reports that a call under ctx waits for Kafka, until the returned function is called.
func MarkWaiting(ctx context.Context) (end func()) {
	if waiting, ok := ctx.Value(waitingKey{}).(func() func()); ok {
		return waiting()
	}
	return func() {}
}
