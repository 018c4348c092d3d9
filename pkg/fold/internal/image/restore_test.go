package image

import (
	"context"
	"testing"

	"github.com/tollgate/tollgate/pkg/fold/internal/record"
	"github.com/tollgate/tollgate/pkg/state"
	statev1 "github.com/tollgate/tollgate/proto/gen/tollgate/state/v1"
)

// What stands beside a record has no header. Its bytes are written back whatever they are, also where a snapshot has it twice.
func TestRestore_WhatStandsBesideARecordIsNoTombstone(t *testing.T) {
	stored := map[string][]byte{}
	p := Partition{
		Load: func(_ context.Context, keys []string) (values [][]byte, err error) {
			for _, k := range keys {
				values = append(values, stored[k])
			}
			return values, nil
		},
		Commit: func(_ context.Context, c state.Commit) error {
			for _, e := range c.Puts {
				stored[e.Key] = e.Value
			}
			for _, k := range c.Deletes {
				delete(stored, k)
			}
			return nil
		},
	}
	looksGone := []byte{'e', record.GoneFlag, 'x'}
	if !Gone(looksGone) {
		t.Fatal("the value does not look like a tombstone")
	}
	for _, key := range []string{record.SegmentPrefix + "447700900001", "a:447700900001"} {
		entry := []*statev1.SnapshotRecord_Entry{{Key: key, Value: looksGone}}
		for range 2 {
			if err := Restore(t.Context(), p, state.Watermark{}, entry); err != nil || string(stored[key]) != string(looksGone) {
				t.Errorf("%s: %q, %v", key, stored[key], err)
			}
		}
	}
}
