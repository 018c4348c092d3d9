package main

import (
	"context"
	"fmt"

	"google.golang.org/grpc"

	"github.com/tollgate/tollgate/pkg/configclient"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// keep reads a revision while the configuration service has it, 0 the newest.
func (ck *checker) keep(ctx context.Context, number int64) (position, error) {
	s, err := ck.fetch(ctx, position{0, number})
	if err != nil {
		return position{}, err
	}
	at := position{s.GetHistory(), s.GetRevision()}
	ck.snapshots[at] = s
	return at, nil
}

func (ck *checker) snapshot(ctx context.Context, at position) (*configv1.Snapshot, error) {
	if s := ck.snapshots[at]; s != nil {
		return s, nil
	}
	s, err := ck.fetch(ctx, at)
	ck.snapshots[at] = s
	return s, err
}

func (ck *checker) fetch(ctx context.Context, at position) (*configv1.Snapshot, error) {
	parts, err := ck.config.Snapshot(ctx, &configv1.SnapshotRequest{Revision: at.revision, History: at.history}, grpc.WaitForReady(true))
	if err != nil {
		return nil, fmt.Errorf("read revision %d: %w", at.revision, err)
	}
	s, err := configclient.Collect(parts, nil)
	if err != nil {
		return nil, fmt.Errorf("read revision %d: %w", at.revision, err)
	}
	return s, nil
}
