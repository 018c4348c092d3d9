package config

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/tollgate/tollgate/pkg/secret/secrettest"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
	auditv1 "github.com/tollgate/tollgate/proto/gen/tollgate/audit/v1"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/config/encrypt"
	"github.com/tollgate/tollgate/services/config/store"
	"github.com/tollgate/tollgate/services/config/store/storetest"
)

// audited reads the topic until it has a number of changes.
func audited(t *testing.T, client *stream.Client, changes int) (byID map[string]*auditv1.AuditRecord, bytes []byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	streamtest.Await(ctx, t, client, stream.Audit, func(all []stream.Record) bool {
		byID, bytes = map[string]*auditv1.AuditRecord{}, nil
		for _, r := range all {
			m := &auditv1.AuditRecord{}
			if err := proto.Unmarshal(r.Value, m); err != nil {
				t.Fatal(err)
			}
			if string(r.Key) != m.GetTenant() {
				t.Errorf("%s has the key %q", m.GetId(), r.Key)
			}
			if m.GetChange() != nil {
				byID[m.GetId()], bytes = m, append(bytes, r.Value...)
			}
		}
		return len(byID) >= changes
	})
	return byID, bytes
}

func TestAudit_HasEachChangeAsListChangesShowsIt(t *testing.T) {
	t.Parallel()
	for _, b := range streamtest.Brokers(t) {
		t.Run(b.Name, func(t *testing.T) {
			cfg := stream.DefaultConfig()
			cfg.Brokers, cfg.Prefix = b.Addrs, streamtest.NewPrefix(t)
			client, err := stream.Open(cfg, zap.NewNop(), prometheus.NewRegistry())
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			r := &running{t: t, kafka: cfg, db: storetest.New(t)}
			r.run()
			defer func() { r.stop() }()
			ctx := t.Context()
			// The topic does not exist yet: changes go on, and their records follow.
			r.tenant("acme")
			r.endpoint("crm")
			if err := client.CreateTopics(ctx, []stream.TopicSpec{{Name: stream.Audit, Partitions: 2}}, true); err != nil {
				t.Fatal(err)
			}
			must[*configv1.Endpoint](t)(r.ends.UpdateEndpoint(ctx, &configv1.UpdateEndpointRequest{
				Endpoint: &configv1.Endpoint{Name: "tenants/acme/endpoints/crm", Secrets: []string{secretB}}, UpdateMask: mask("secrets"),
			}))
			must[*configv1.Endpoint](t)(r.ends.DeleteEndpoint(ctx, &configv1.DeleteEndpointRequest{Name: "tenants/acme/endpoints/crm"}))
			r.restart()
			must[*configv1.Endpoint](t)(r.ends.UndeleteEndpoint(ctx, &configv1.UndeleteEndpointRequest{Name: "tenants/acme/endpoints/crm"}))
			must[*configv1.History](t)(r.history.AcceptRestore(ctx, &configv1.AcceptRestoreRequest{
				Lost: []*configv1.Position{{History: 7, Revision: 20}}, Who: "jo", Why: "INC-4712",
			}))
			listed := must[*configv1.ListChangesResponse](t)(r.changes.ListChanges(ctx, &configv1.ListChangesRequest{Parent: "tenants/-"})).GetChanges()
			if len(listed) != 6 {
				t.Fatalf("%d changes", len(listed))
			}
			records, raw := audited(t, client, len(listed))
			for _, c := range listed {
				id := fmt.Sprintf("%016x-%d", c.GetHistory(), c.GetRevision())
				if diff := cmp.Diff(c, records[id].GetChange(), protocmp.Transform()); diff != "" {
					t.Errorf("%s: %s", id, diff)
				}
				delete(records, id)
				if c.GetAction() == "accept_restore" {
					continue
				}
				if len(c.GetFields()) == 0 && c.GetAction() != "delete" {
					t.Errorf("%s shows no field", c)
				}
			}
			if len(records) != 0 {
				t.Errorf("there are others: %v", records)
			}
			for _, secret := range []string{secretA, secretB} {
				if bytes.Contains(raw, []byte(secret)) {
					t.Error("a secret is on the topic")
				}
			}
		})
	}
}

// Who restored a backup, and when, is on the topic: once, above all that was there before, and under an id of its own.
func TestAudit_HasTheRestoreOfABackup(t *testing.T) {
	t.Parallel()
	for _, b := range streamtest.Brokers(t) {
		t.Run(b.Name, func(t *testing.T) {
			cfg := stream.DefaultConfig()
			cfg.Brokers, cfg.Prefix = b.Addrs, streamtest.NewPrefix(t)
			client, err := stream.Open(cfg, zap.NewNop(), prometheus.NewRegistry())
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			ctx := t.Context()
			if err := client.CreateTopics(ctx, []stream.TopicSpec{{Name: stream.Audit, Partitions: 2}}, true); err != nil {
				t.Fatal(err)
			}
			r := &running{t: t, kafka: cfg, db: storetest.New(t)}
			r.run()
			defer func() { r.stop() }()
			r.tenant("acme")
			r.endpoint("crm")
			before := r.head()
			audited(t, client, 2)
			r.stop()
			secrets := encrypt.Rows{Keyset: secrettest.Open(t, r.keyset)}
			db, err := store.Open(ctx, r.db.Config, &index{log: zap.NewNop()}, secrets)
			if err != nil {
				t.Fatal(err)
			}
			var backup bytes.Buffer
			if _, err := db.Backup(ctx, &backup, time.Now()); err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			r.db = storetest.New(t)
			began := time.Now().Truncate(time.Millisecond)
			if _, err := store.Restore(ctx, r.db.Config, &backup, "jo", began, secrets); err != nil {
				t.Fatal(err)
			}
			r.run()
			r.tenant("after")
			records, _ := audited(t, client, 4)
			var restores []*auditv1.AuditRecord
			for _, one := range records {
				if one.GetMethod() == "tollgate config restore" {
					restores = append(restores, one)
				}
			}
			if len(restores) != 1 || len(records) != 4 {
				t.Fatalf("%d restores of %d records: %v", len(restores), len(records), records)
			}
			got := restores[0]
			if got.GetWho() != "jo" || got.GetTenant() != "" || !got.GetTime().AsTime().Equal(began) || got.GetChange().GetAction() != "restore" ||
				got.GetChange().GetRevision() != before.GetRevision()+1 || got.GetChange().GetHistory() == before.GetHistory() {
				t.Errorf("the restore is %v, behind %v", got, before)
			}
		})
	}
}
