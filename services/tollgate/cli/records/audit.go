package records

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/stream"
	auditv1 "github.com/tollgate/tollgate/proto/gen/tollgate/audit/v1"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
)

// Deleted are the resources whose last change on the topic audit is their deletion, by name; suppressions are left out.
func Deleted(ctx context.Context, client *stream.Client, streams command.Streams, kafka command.Kafka) ([]*auditv1.AuditRecord, error) {
	deleted := map[string]*auditv1.AuditRecord{}
	err := scan(ctx, client, streams, kafka, client.Topic(stream.Audit), time.Time{}, func(r stream.Record) error {
		m := &auditv1.AuditRecord{}
		if err := proto.Unmarshal(r.Value, m); err != nil {
			return fmt.Errorf("read audit record at %s/%d/%d: %w", r.Topic, r.Partition, r.Offset, err)
		}
		switch c := m.GetChange(); {
		case c == nil || c.GetKind() == "Suppression":
		case c.GetAction() == "delete":
			deleted[c.GetName()] = m
		default:
			delete(deleted, c.GetName())
		}
		return nil
	})
	out := make([]*auditv1.AuditRecord, 0, len(deleted))
	for _, name := range slices.Sorted(maps.Keys(deleted)) {
		out = append(out, deleted[name])
	}
	return out, err
}
