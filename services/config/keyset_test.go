package config

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/secret"
	"github.com/tollgate/tollgate/pkg/secret/secrettest"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/config/encrypt"
	"github.com/tollgate/tollgate/services/config/store"
	"github.com/tollgate/tollgate/services/config/store/storetest"
)

func TestKeyset_ThatIsAnotherIsRefusedAtTheStart(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.withSecrets()
	r.stop()
	own := r.keyset
	key := secrettest.Open(t, own).Primary()
	_, err := store.Open(t.Context(), r.db.Config, &index{log: zap.NewNop()}, encrypt.Rows{Keyset: secrettest.Open(t, secrettest.File(t))})
	if err == nil || !strings.Contains(err.Error(), key.String()) {
		t.Errorf("another keyset: %v, want the key %s", err, key)
	}
	cfg := DefaultConfig()
	cfg.Database, cfg.Secrets.KeysetFile = r.db.Config, filepath.Join(t.TempDir(), "none")
	if err := Run(t.Context(), cfg, daemon.NewEnv("config", zap.NewNop())); err == nil || !strings.Contains(err.Error(), cfg.Secrets.KeysetFile) {
		t.Errorf("no keyset: %v", err)
	}
	r.run()
	r.checkClear()
}

// A backup is restored under the keyset that it was made with, or one that has its keys, and under no other.
func TestBackup_IsRestoredUnderItsKeysetAlone(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.withSecrets()
	r.stop()
	keyset := secrettest.Open(t, r.keyset)
	db, err := store.Open(t.Context(), r.db.Config, &index{log: zap.NewNop()}, encrypt.Rows{Keyset: keyset})
	if err != nil {
		t.Fatal(err)
	}
	var backup bytes.Buffer
	if _, err := db.Backup(t.Context(), &backup, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	r.db = storetest.New(t)
	other := encrypt.Rows{Keyset: secrettest.Open(t, secrettest.File(t))}
	_, err = store.Restore(t.Context(), r.db.Config, bytes.NewReader(backup.Bytes()), "ops", time.Now(), other)
	if err == nil || !strings.Contains(err.Error(), keyset.Primary().String()) {
		t.Fatalf("another keyset: %v, want the key %s", err, keyset.Primary())
	}
	if _, err := store.Restore(t.Context(), r.db.Config, bytes.NewReader(backup.Bytes()), "ops", time.Now(), encrypt.Rows{Keyset: keyset}); err != nil {
		t.Fatal(err)
	}
	r.run()
	r.checkClear()
}

// The steps of a rotation while a service follows: no change of a resource, and nothing that can't be read at any step.
func TestKeyset_IsRotatedWhileTheServiceRuns(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.withSecrets()
	first := secrettest.Open(t, r.keyset).Primary()
	shown := must[*configv1.Endpoint](t)(r.ends.GetEndpoint(t.Context(), &configv1.GetEndpointRequest{Name: "tenants/acme/endpoints/crm"}))
	had := must[*configv1.Snapshot](t)(r.snapshotOf(0, 0))
	second, err := secret.Add(r.keyset)
	if err != nil {
		t.Fatal(err)
	}
	r.checkClear()
	if _, err := secret.Promote(r.keyset); err != nil {
		t.Fatal(err)
	}
	// What was read before can be read on.
	r.decrypted(proto.CloneOf(had))
	r.until("all is under the new key, and announced", func() bool {
		used, err := store.OldKeys(t.Context(), r.db.Config, []secret.KeyID{first})
		return err == nil && len(used) == 0 && r.head().GetRevision() > had.GetRevision()
	})
	if head := r.head(); head.GetRevision() != had.GetRevision()+1 || head.GetApplyRevision() != had.GetApplyRevision() {
		t.Errorf("the head went from %d to %d, applied %d to %d", had.GetRevision(), head.GetRevision(), had.GetApplyRevision(), head.GetApplyRevision())
	}
	// Whoever asks for what differs gets all anew: in place, no revision of a resource changed.
	parts := must[configv1.ConfigWatchService_SnapshotClient](t)(r.watching.Snapshot(t.Context(), &configv1.SnapshotRequest{
		Since: &configv1.Position{History: had.GetHistory(), Revision: had.GetRevision()},
	}))
	part, err := parts.Recv()
	if err != nil || part.GetSince() != nil || len(part.GetSnapshot().GetEndpoints()) != 1 {
		t.Fatalf("what differs is %v, %v", part, err)
	}
	if id, err := secret.KeyOfValue(part.GetSnapshot().GetEndpoints()[0].GetSecrets()[0]); err != nil || id != second {
		t.Errorf("it is under %s, %v, want %s", id, err, second)
	}
	if _, err := secret.DropOld(r.keyset, func(ids []secret.KeyID) error {
		used, err := store.OldKeys(t.Context(), r.db.Config, ids)
		if len(used) > 0 {
			return fmt.Errorf("%v in use", used)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	r.checkClear()
	if again := must[*configv1.Endpoint](t)(r.ends.UpdateEndpoint(t.Context(), &configv1.UpdateEndpointRequest{Endpoint: shown})); again.GetMetadata().GetRevision() != shown.GetMetadata().GetRevision() {
		t.Error("what was shown and is sent back is a change")
	}
	changes := r.list(&configv1.ListChangesRequest{Parent: "tenants/-"})
	if c := changes[0]; c.GetKind() != "Secrets" || c.GetAction() != "reencrypt" || c.GetName() != "key "+second.String() {
		t.Errorf("the change is %v", c)
	}
	r.stop()
	r.run()
	r.checkClear()
}

// A replica that has the file of the step before does not undo what another one has done.
func TestReencrypt_GoesForwardAlone(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.withSecrets()
	r.stop()
	behind := filepath.Join(t.TempDir(), "keyset.json")
	if _, err := secret.Add(r.keyset); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(r.keyset)
	if err == nil {
		err = os.WriteFile(behind, content, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := secret.Promote(r.keyset); err != nil {
		t.Fatal(err)
	}
	reencrypt := func(file string) store.Reencrypted {
		t.Helper()
		db, err := store.Open(t.Context(), r.db.Config, &index{log: zap.NewNop()}, encrypt.Rows{Keyset: secrettest.Open(t, file)})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		done, err := db.Reencrypt(t.Context(), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return done
	}
	if done := reencrypt(behind); done.Rows != 0 || done.Revision != 0 {
		t.Errorf("with the file of the step before: %+v", done)
	}
	if done := reencrypt(r.keyset); done.Rows == 0 || done.Revision == 0 || len(done.Failed) > 0 {
		t.Errorf("with the new file: %+v", done)
	}
	if done := reencrypt(behind); done.Rows != 0 || done.Revision != 0 {
		t.Errorf("with the file of the step before, afterwards: %+v", done)
	}
	if done := reencrypt(r.keyset); done.Rows != 0 || done.Revision != 0 {
		t.Errorf("a second time: %+v", done)
	}
}

// What is moved from one resource to another in the database is of no use there, and stops nobody else.
func TestSecret_ThatWasMovedIsRefusedAndCanBeGivenAgain(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.withSecrets()
	e := anEndpoint("thief")
	e.Auth = &configv1.EndpointAuth{Auth: &configv1.EndpointAuth_Basic{Basic: &configv1.BasicAuth{Username: "u", Password: "own"}}}
	must[*configv1.Endpoint](t)(r.ends.CreateEndpoint(t.Context(), &configv1.CreateEndpointRequest{Endpoint: e}))
	r.stop()
	var from, to configv1.Endpoint
	for _, row := range r.db.Rows("SELECT kind, name, revision, body FROM resources WHERE kind = 'endpoint'") {
		for name, into := range map[string]*configv1.Endpoint{"tenants/acme/endpoints/crm": &from, "tenants/acme/endpoints/thief": &to} {
			if row[1] == name {
				if err := proto.Unmarshal([]byte(row[3]), into); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	to.Auth = from.GetAuth()
	body, err := proto.Marshal(&to)
	if err != nil {
		t.Fatal(err)
	}
	r.db.Exec(fmt.Sprintf("UPDATE resources SET body = %s WHERE name = '%s'", r.db.Literal(body), to.GetName()))
	r.run()
	keyset := secrettest.Open(t, r.keyset)
	s := must[*configv1.Snapshot](t)(r.snapshotOf(0, 0))
	for _, one := range s.GetEndpoints() {
		if err := table.Channels.KindOf(one).Decrypt(one, keyset); (err != nil) != (one.GetName() == to.GetName()) {
			t.Errorf("%s: %v", one.GetName(), err)
		}
	}
	got := must[*configv1.Endpoint](t)(r.ends.GetEndpoint(t.Context(), &configv1.GetEndpointRequest{Name: to.GetName()}))
	if p := got.GetAuth().GetBasic().GetPassword(); p != "****" {
		t.Errorf("it is shown as %q", p)
	}
	got.DisplayName = "changed"
	_, err = r.ends.UpdateEndpoint(t.Context(), &configv1.UpdateEndpointRequest{Endpoint: got})
	refused(t, err, fault.Invalid, reason.SecretUnreadable)
	got.GetAuth().GetBasic().Password = "given again"
	must[*configv1.Endpoint](t)(r.ends.UpdateEndpoint(t.Context(), &configv1.UpdateEndpointRequest{Endpoint: got}))
	if found := r.snapshot(0).GetEndpoints(); found[1].GetAuth().GetBasic().GetPassword() != "given again" {
		t.Errorf("stored is %v", found[1])
	}
}

func (r *running) snapshotOutside() *configv1.Snapshot {
	r.t.Helper()
	parts := must[configv1.ConfigWatchService_SnapshotClient](r.t)(r.outside.Snapshot(context.WithoutCancel(r.t.Context()), &configv1.SnapshotRequest{}))
	return must[*configv1.Snapshot](r.t)(configclient.Collect(parts, nil))
}
