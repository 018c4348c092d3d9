package main

import (
	"context"
	"fmt"

	"google.golang.org/grpc"

	"github.com/tollgate/tollgate/pkg/configclient"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// keep reads a revision while the configuration service has it, 0 the newest.
func (j *judge) keep(ctx context.Context, number int64) (position, error) {
	s, err := j.fetch(ctx, position{0, number})
	if err != nil {
		return position{}, err
	}
	at := position{s.GetHistory(), s.GetRevision()}
	j.snapshots[at] = s
	return at, nil
}

func (j *judge) snapshot(ctx context.Context, at position) (*configv1.Snapshot, error) {
	if s := j.snapshots[at]; s != nil {
		return s, nil
	}
	s, err := j.fetch(ctx, at)
	j.snapshots[at] = s
	return s, err
}

func (j *judge) fetch(ctx context.Context, at position) (*configv1.Snapshot, error) {
	parts, err := j.config.Snapshot(ctx, &configv1.SnapshotRequest{Revision: at.revision, History: at.history}, grpc.WaitForReady(true))
	if err != nil {
		return nil, fmt.Errorf("read revision %d: %w", at.revision, err)
	}
	s, err := configclient.Collect(parts, nil)
	if err != nil {
		return nil, fmt.Errorf("read revision %d: %w", at.revision, err)
	}
	return s, nil
}
