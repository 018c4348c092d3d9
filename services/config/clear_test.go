package config

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/secret"
	"github.com/tollgate/tollgate/pkg/secret/secrettest"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/config/encrypt"
	"github.com/tollgate/tollgate/services/config/store"
)

// hidden are secrets of resources in the tests below.
var hidden = []string{secretA, secretB, "hush-header", "hush-basic", "hush-smtp", "hush-hook"}

// shows are the secrets in clear that some bytes hold, as they are or as PostgreSQL shows bytes.
func shows(content []byte) (found []string) {
	for _, s := range hidden {
		if bytes.Contains(content, []byte(s)) || bytes.Contains(content, []byte(hex.EncodeToString([]byte(s)))) {
			found = append(found, s)
		}
	}
	return found
}

// withSecrets has resources of every kind with a secret, in several versions.
func (r *running) withSecrets() {
	r.t.Helper()
	ctx := r.t.Context()
	r.tenant("acme")
	for _, s := range []string{secretB, secretA} {
		e := anEndpoint("crm")
		e.Secrets = []string{s}
		e.Headers = []*configv1.CustomHeader{{Name: "X-Key", Value: "hush-header"}}
		e.Auth = &configv1.EndpointAuth{Auth: &configv1.EndpointAuth_Basic{Basic: &configv1.BasicAuth{Username: "u", Password: "hush-basic"}}}
		must[*configv1.Endpoint](r.t)(r.ends.UpdateEndpoint(ctx, &configv1.UpdateEndpointRequest{Endpoint: e, AllowMissing: true}))
	}
	p := proto.CloneOf(r.profile("main"))
	p.Password = "hush-smtp"
	must[*configv1.SmtpProfile](r.t)(r.profiles.UpdateSmtpProfile(ctx, &configv1.UpdateSmtpProfileRequest{SmtpProfile: p}))
	h := aHook("check")
	h.GetHttp().GetAuth().GetBearer().Token = "hush-hook"
	must[*configv1.Hook](r.t)(r.hooks.CreateHook(ctx, &configv1.CreateHookRequest{Hook: h}))
	gone := anEndpoint("gone")
	must[*configv1.Endpoint](r.t)(r.ends.CreateEndpoint(ctx, &configv1.CreateEndpointRequest{Endpoint: gone}))
	must[*configv1.Endpoint](r.t)(r.ends.DeleteEndpoint(ctx, &configv1.DeleteEndpointRequest{Name: gone.GetName()}))
}

// checkClear checks what a service that sends decrypts.
func (r *running) checkClear() {
	r.t.Helper()
	s := r.snapshot(0)
	e := s.GetEndpoints()[0]
	if e.GetSecrets()[0] != secretA || e.GetHeaders()[0].GetValue() != "hush-header" || e.GetAuth().GetBasic().GetPassword() != "hush-basic" ||
		s.GetSmtpProfiles()[0].GetPassword() != "hush-smtp" || s.GetHooks()[0].GetHttp().GetAuth().GetBearer().GetToken() != "hush-hook" {
		r.t.Errorf("a service decrypts %v", s)
	}
}

// everywhere is every byte of the database, in its files where it has some, and of a backup.
func (r *running) everywhere() map[string][]byte {
	r.t.Helper()
	all := r.db.Files()
	keyset := secrettest.Open(r.t, r.keyset)
	db, err := store.Open(r.t.Context(), r.db.Config, &index{log: zap.NewNop()}, encrypt.Rows{Keyset: keyset})
	if err != nil {
		r.t.Fatal(err)
	}
	var backup bytes.Buffer
	if _, err := db.Backup(r.t.Context(), &backup, time.Now()); err != nil {
		r.t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		r.t.Fatal(err)
	}
	all["the backup"] = bodies(r.t, backup.Bytes())
	return all
}

// bodies are the lines of a backup with what is base64 in them decoded.
func bodies(t *testing.T, backup []byte) (all []byte) {
	t.Helper()
	zip, err := gzip.NewReader(bytes.NewReader(backup))
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(zip)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		all = append(all, lines.Bytes()...)
		var values []any
		_ = json.Unmarshal(lines.Bytes(), &values) // the first line and the last are no lists
		for _, v := range values {
			if text, ok := v.(string); ok {
				content, _ := base64.StdEncoding.DecodeString(text)
				all = append(all, content...)
			}
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestSecrets_AreNowhereInClear(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.withSecrets()
	r.checkClear()
	// Lists, the history, and what a fault repeats.
	ctx := t.Context()
	changes := r.list(&configv1.ListChangesRequest{Parent: "tenants/acme", PageSize: 100})
	if found := shows([]byte(fmt.Sprint(changes, r.snapshotOutside()))); len(found) > 0 {
		t.Errorf("the history shows %q", found)
	}
	bad := anEndpoint("crm")
	bad.Url, bad.Secrets = "ftp://x", []string{secret.Prefix + "AAAA", secretA}
	_, err := r.ends.UpdateEndpoint(ctx, &configv1.UpdateEndpointRequest{Endpoint: bad})
	if refused(t, err, fault.Invalid, "CONFIG_INVALID"); len(shows([]byte(err.Error()))) > 0 || !strings.Contains(err.Error(), "endpoint.secrets[0]") {
		t.Errorf("a fault shows %v", err)
	}
	r.stop()
	for where, content := range r.everywhere() {
		if found := shows(content); len(found) > 0 {
			t.Errorf("%s holds %q in clear", where, found)
		}
	}
	if found := shows(r.log.Bytes()); len(found) > 0 {
		t.Errorf("the log holds %q", found)
	}
}

// What an older binary has left is encrypted at the first start: current and old versions, and what the files hold beside.
func TestSecrets_OfAnOlderDatabaseAreEncryptedAtTheFirstStart(t *testing.T) {
	r := start(t)
	r.withSecrets()
	before := r.snapshot(0)
	r.stop()
	r.db.Exec(r.inClear()...)
	for _, s := range hidden {
		found := false
		for _, content := range r.db.Files() {
			found = found || slices.Contains(shows(content), s)
		}
		if !found {
			t.Fatalf("the older database does not hold %q: nothing is tried", s)
		}
	}
	// It is another installation's keyset: nothing depends on the one before.
	r.keyset = ""
	r.run()
	r.checkClear()
	after := r.snapshot(0)
	if after.GetRevision() != before.GetRevision() || !proto.Equal(after, before) {
		t.Errorf("the configuration came to be\n%v, and was\n%v", after, before)
	}
	old := must[*configv1.Snapshot](t)(r.snapshotOf(0, 2))
	if got := r.decrypted(old).GetEndpoints()[0].GetSecrets()[0]; got != secretB {
		t.Errorf("the old version has %q", got)
	}
	r.stop()
	for where, content := range r.everywhere() {
		if found := shows(content); len(found) > 0 {
			t.Errorf("%s still holds %q in clear", where, found)
		}
	}
}

// inClear makes the database what a binary before this one has left.
func (r *running) inClear() (statements []string) {
	r.t.Helper()
	keyset := secrettest.Open(r.t, r.keyset)
	for _, t := range []string{"resources", "versions"} {
		for _, row := range r.db.Rows("SELECT kind, name, revision, body FROM " + t) {
			for _, k := range table.Kinds() {
				if k.Field != row[0] {
					continue
				}
				m := k.New()
				if err := proto.Unmarshal([]byte(row[3]), m); err != nil {
					r.t.Fatal(err)
				}
				if err := k.Decrypt(m, keyset); err != nil {
					r.t.Fatal(err)
				}
				body, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
				if err != nil {
					r.t.Fatal(err)
				}
				statements = append(statements, fmt.Sprintf("UPDATE %s SET body = %s WHERE kind = '%s' AND name = '%s' AND revision = %s", t, r.db.Literal(body), row[0], row[1], row[2]))
			}
		}
		statements = append(statements, "DROP INDEX "+t+"_by_secrets_key", "ALTER TABLE "+t+" DROP COLUMN secrets_key")
	}
	return append(statements, "DROP TABLE secrets_work", "DELETE FROM goose_db_version WHERE version_id = 8")
}
