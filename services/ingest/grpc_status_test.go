package ingest

import (
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/status"
)

// statusError is the error that a result's status is.
func statusError(s *spb.Status) error { return status.ErrorProto(s) }
