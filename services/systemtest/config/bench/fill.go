package main

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/secret"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/config/encrypt"
	"github.com/tollgate/tollgate/services/config/store"
)

// fill restores a backup that has everything: by calls it would take an hour.
func (b *bed) fill(ctx context.Context, dir string) error {
	url := filepath.Join(dir, "fleet", "database-url")
	keyset, err := secret.Open(b.fleet.Keyset())
	if err != nil {
		return err
	}
	from, to := io.Pipe()
	go func() { to.CloseWithError(b.backup(to)) }()
	_, err = store.Restore(ctx, store.Config{URLFile: url}, from, "bench", time.Now(), encrypt.Rows{Keyset: keyset})
	return errors.Join(err, from.Close())
}

// backup writes one revision for each resource.
func (b *bed) backup(to io.Writer) error {
	zip := gzip.NewWriter(to)
	lines := json.NewEncoder(zip)
	number := int64(b.tenants + b.notifications + b.endpoints)
	const history = 1
	rows, err := int64(1), lines.Encode(store.Header{
		Format: "tollgate-config", Version: 1, Tables: 5, Revision: number, History: fmt.Sprintf("%016x", history), Resources: number,
	})
	at := timestamppb.New(time.UnixMilli(1_800_000_000_000))
	line := func(values ...any) {
		if err == nil {
			rows, err = rows+1, lines.Encode(values)
		}
	}
	for i := range number {
		r, kind := b.resource(i)
		m := &configv1.Metadata{Revision: i + 1, Etag: fmt.Sprintf("%x-0123456789ab", i+1), CreateTime: at, UpdateTime: at}
		r.ProtoReflect().Set(r.ProtoReflect().Descriptor().Fields().ByName("metadata"), protoreflect.ValueOfMessage(m.ProtoReflect()))
		body, marshalErr := proto.Marshal(r)
		if marshalErr != nil {
			return marshalErr
		}
		name := r.(interface{ GetName() string }).GetName()
		line("revisions", i+1, i+1, at.AsTime().UnixMilli(), "bench", "create", kind, name, history)
		line("resources", kind, name, i+1, false, body)
	}
	line("histories", history, number)
	if err == nil {
		err = lines.Encode(map[string]int64{"rows": rows - 1})
	}
	return errors.Join(err, zip.Close())
}

func (b *bed) tenant(i int) string { return fmt.Sprintf("tenants/t%02d", i%b.tenants) }

func (b *bed) notification(i int) string {
	return fmt.Sprintf("%s/notifications/N%05d", b.tenant(i), i)
}

// types of the notifications: each of a tenant's is on one of ten.
var types = event.Types()[:10]

// resource is the i-th, and its kind: tenants first, which the others need.
func (b *bed) resource(i int64) (proto.Message, string) {
	n := int(i)
	if n < b.tenants {
		return &configv1.Tenant{Name: b.tenant(n), DisplayName: "tenant"}, "tenant"
	}
	if n -= b.tenants; n < b.endpoints {
		return &configv1.Endpoint{
			Name: fmt.Sprintf("%s/endpoints/e%06d", b.tenant(n), n), DisplayName: fmt.Sprint("endpoint ", n),
			Url: fmt.Sprintf("https://hooks-%06d.example.com/tollgate/events", n), Secrets: []string{"whsec_QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB"},
			Status: configv1.EndpointStatus_ENDPOINT_STATUS_ACTIVE, Activation: 1,
		}, "endpoint"
	}
	n -= b.endpoints
	return &configv1.Notification{
		Name: b.notification(n), DisplayName: fmt.Sprint("notification ", n), Active: true, Version: 1,
		Trigger: &configv1.Trigger{EventTypes: []string{types[n/b.tenants%len(types)].Name}, Filter: fmt.Sprintf(`subject.startsWith("4478%05d")`, n)},
		Actions: []*configv1.Action{{
			Name:   "notify",
			Action: &configv1.Action_Webhook{Webhook: &configv1.WebhookAction{Endpoint: fmt.Sprintf("%s/endpoints/e%06d", b.tenant(n), n%b.endpoints/b.tenants*b.tenants+n%b.tenants)}},
		}},
	}, "notification"
}
