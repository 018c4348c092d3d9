package config

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/access"
	"github.com/tollgate/tollgate/pkg/fault"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

func invoiceKey(name string) *configv1.ApiKey {
	return &configv1.ApiKey{
		Name: name, DisplayName: "ERP", Scopes: []configv1.ApiKeyScope{access.Publish, access.Subscribe},
		QueueGrants: []*configv1.QueueGrant{{Entity: "invoice", Operations: []configv1.QueueOperation{configv1.QueueOperation_QUEUE_OPERATION_CREATE}}},
	}
}

func TestKeys_TheSecretIsShownOnce(t *testing.T) {
	t.Parallel()
	r := start(t)
	ctx := t.Context()
	r.tenant("acme")
	const name = "tenants/acme/apiKeys/erp"
	given := invoiceKey(name)
	given.Secret, given.SecretHash, given.Caller = "tg_chosen", bytes.Repeat([]byte{1}, 32), "11111111"
	dry := must[*configv1.ApiKey](t)(r.keys.CreateApiKey(ctx, &configv1.CreateApiKeyRequest{ApiKey: given, ValidateOnly: true}))
	if dry.GetSecret() != "" {
		t.Error("a key that is not made has a secret")
	}
	created := must[*configv1.ApiKey](t)(r.keys.CreateApiKey(ctx, &configv1.CreateApiKeyRequest{ApiKey: given}))
	secret := created.GetSecret()
	hash := access.HashOf(secret)
	if !strings.HasPrefix(secret, "tg_") || len(secret) != 46 || created.GetCaller() != hash.Caller() || len(created.GetSecretHash()) != 0 {
		t.Fatalf("%v", created)
	}
	second := must[*configv1.ApiKey](t)(r.keys.UpdateApiKey(ctx, &configv1.UpdateApiKeyRequest{ApiKey: invoiceKey(name + "2"), AllowMissing: true}))
	if second.GetSecret() == "" || second.GetSecret() == secret {
		t.Error("a key that an update creates has no secret of its own")
	}

	shown := map[string]proto.Message{}
	shown["Get"] = must[*configv1.ApiKey](t)(r.keys.GetApiKey(ctx, &configv1.GetApiKeyRequest{Name: name}))
	change := proto.CloneOf(given)
	change.DisplayName, change.Secret = "renamed", "tg_another"
	shown["Update"] = must[*configv1.ApiKey](t)(r.keys.UpdateApiKey(ctx, &configv1.UpdateApiKeyRequest{ApiKey: change, AllowMissing: true}))
	shown["nothing changed"] = must[*configv1.ApiKey](t)(r.keys.UpdateApiKey(ctx, &configv1.UpdateApiKeyRequest{ApiKey: change}))
	named := proto.CloneOf(change)
	shown["Update of the hash"] = must[*configv1.ApiKey](t)(r.keys.UpdateApiKey(ctx, &configv1.UpdateApiKeyRequest{ApiKey: named, UpdateMask: mask("secret_hash", "secret", "caller", "display_name")}))
	shown["List"] = must[*configv1.ListApiKeysResponse](t)(r.keys.ListApiKeys(ctx, &configv1.ListApiKeysRequest{Parent: "tenants/acme"}))
	shown["Delete"] = must[*configv1.ApiKey](t)(r.keys.DeleteApiKey(ctx, &configv1.DeleteApiKeyRequest{Name: name}))
	if keys := r.snapshot(0).GetApiKeys(); len(keys) != 1 || keys[0].GetName() != name+"2" {
		t.Errorf("a withdrawn key is followed: %v", keys)
	}
	shown["Undelete"] = must[*configv1.ApiKey](t)(r.keys.UndeleteApiKey(ctx, &configv1.UndeleteApiKeyRequest{Name: name}))
	for by, m := range shown {
		text := must[[]byte](t)(proto.Marshal(m))
		if bytes.Contains(text, []byte(secret)) || bytes.Contains(text, hash[:]) {
			t.Errorf("%s shows the secret or its hash", by)
		}
	}
	all := r.snapshot(0).GetApiKeys()
	if len(all) != 2 || !bytes.Equal(all[0].GetSecretHash(), hash[:]) || all[0].GetSecret() != "" || all[0].GetDisplayName() != "renamed" {
		t.Fatalf("services follow %v", all)
	}
	if _, err := access.Decode(all[0]); err != nil {
		t.Error(err)
	}
	r.stop()
	if bytes.Contains(r.db.Content(), []byte(secret)) {
		t.Error("the database holds the secret")
	}
}

func TestKeys_OthersFollowNone(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.tenant("acme")
	must[*configv1.ApiKey](t)(r.keys.CreateApiKey(t.Context(), &configv1.CreateApiKeyRequest{ApiKey: invoiceKey("tenants/acme/apiKeys/erp")}))
	parts := must[configv1.ConfigWatchService_SnapshotClient](t)(r.outside.Snapshot(t.Context(), &configv1.SnapshotRequest{}))
	if part := must[*configv1.SnapshotResponse](t)(parts.Recv()); len(part.GetSnapshot().GetApiKeys()) != 0 || len(part.GetSnapshot().GetTenants()) != 1 {
		t.Errorf("%v", part)
	}
}

func TestSnapshot_OfNamedListsHasNoOther(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.tenant("acme")
	must[*configv1.ApiKey](t)(r.keys.CreateApiKey(t.Context(), &configv1.CreateApiKeyRequest{ApiKey: invoiceKey("tenants/acme/apiKeys/erp")}))
	parts := must[configv1.ConfigWatchService_SnapshotClient](t)(r.watching.Snapshot(t.Context(), &configv1.SnapshotRequest{Lists: []string{"api_keys"}}))
	got := must[*configv1.SnapshotResponse](t)(parts.Recv()).GetSnapshot()
	if len(got.GetApiKeys()) != 1 || len(got.GetTenants()) != 0 || got.GetRevision() == 0 {
		t.Errorf("%v", got)
	}
	parts = must[configv1.ConfigWatchService_SnapshotClient](t)(r.watching.Snapshot(t.Context(), &configv1.SnapshotRequest{Lists: []string{"keys", "revision", "api_keys"}}))
	if _, err := parts.Recv(); len(fault.ViolationsOf(err)) != 2 {
		t.Errorf("%v", err)
	}
}

func TestKeys_EveryFaultAtOnce(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.tenant("acme")
	bad := &configv1.ApiKey{
		Name: "tenants/acme/apiKeys/erp", ExpireTime: &timestamppb.Timestamp{Seconds: 1 << 60},
		Scopes: []configv1.ApiKeyScope{access.Publish, 0, access.Publish, 99},
		QueueGrants: []*configv1.QueueGrant{
			{Entity: "Invoice"}, {Entity: "client", Operations: []configv1.QueueOperation{1, 1, 0, 9}}, {Entity: "client", Operations: []configv1.QueueOperation{2}},
		},
		PersonalFields: true,
	}
	_, err := r.keys.CreateApiKey(t.Context(), &configv1.CreateApiKeyRequest{ApiKey: bad})
	var got []string
	for _, v := range fault.ViolationsOf(err) {
		got = append(got, v.Field)
	}
	want := "api_key.expire_time api_key.scopes[1] api_key.scopes[2] api_key.scopes[3] api_key.queue_grants[0].entity " +
		"api_key.queue_grants[0].operations api_key.queue_grants[1].operations[1] api_key.queue_grants[1].operations[2] " +
		"api_key.queue_grants[1].operations[3] api_key.queue_grants[2].entity api_key.scopes"
	if strings.Join(got, " ") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, " "), want)
	}
	past := invoiceKey("tenants/acme/apiKeys/past")
	past.ExpireTime = timestamppb.New(r.clock().Add(-time.Hour))
	must[*configv1.ApiKey](t)(r.keys.CreateApiKey(t.Context(), &configv1.CreateApiKeyRequest{ApiKey: past}))
	_, err = r.tenants.DeleteTenant(t.Context(), &configv1.DeleteTenantRequest{Name: "tenants/acme"})
	refused(t, err, fault.Conflict, "TENANT_IN_USE")
}
