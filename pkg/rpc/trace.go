package rpc

import (
	"context"

	"google.golang.org/grpc/metadata"
)

// TraceOf is the traceparent that a call came with, in whatever form; empty where there is none, or more than one.
func TraceOf(ctx context.Context) string {
	if values := metadata.ValueFromIncomingContext(ctx, "traceparent"); len(values) == 1 {
		return values[0]
	}
	return ""
}
