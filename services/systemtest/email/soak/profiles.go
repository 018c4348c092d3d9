package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/tollgate/tollgate/pkg/pause"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/systemtest/soak"
)

const profileCount = 8

// domain is that of every address of the tenant, and of its Message-IDs.
const domain = "operator.example"

func profileID(i int) string   { return fmt.Sprintf("p%d", i) }
func profileName(i int) string { return "tenants/acme/smtpProfiles/" + profileID(i) }

// profiles are the SMTP profiles of the one tenant, all at one mail server.
type profiles struct {
	service  configv1.SmtpProfileServiceClient
	revision atomic.Int64
	rounds   int
}

func newProfiles(ctx context.Context, b *soak.Bed, s *server) (*profiles, error) {
	conn, err := b.Fleet.Dial(b.Config.Address("grpc"))
	if err != nil {
		return nil, err
	}
	p := &profiles{service: configv1.NewSmtpProfileServiceClient(conn)}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	policy := &configv1.OutboundPolicy{Ports: []uint32{uint32(s.port)}, Networks: []string{"127.0.0.0/8"}}
	if _, err := b.Fleet.Configure(ctx, &configv1.Tenant{Name: "tenants/acme", Outbound: policy}); err != nil {
		return nil, err
	}
	for i := range profileCount {
		revision, err := b.Fleet.Configure(ctx, &configv1.SmtpProfile{
			Name: profileName(i), Host: "127.0.0.1", Port: int32(s.port), Tls: configv1.SmtpTls_SMTP_TLS_NONE,
			FromAddress: profileID(i) + "@" + domain, FromName: "Billing", ReturnPath: "bounces@" + domain,
			Status: configv1.EndpointStatus_ENDPOINT_STATUS_ACTIVE,
		})
		if err != nil {
			return nil, err
		}
		p.revision.Store(revision)
	}
	return p, nil
}

// mend changes the return path of every profile: what waits for it is due then.
func (p *profiles) mend(ctx context.Context) error {
	p.rounds++
	for i := range profileCount {
		if err := p.update(ctx, &configv1.SmtpProfile{Name: profileName(i), ReturnPath: fmt.Sprintf("bounces-%d@%s", p.rounds, domain)}); err != nil {
			return err
		}
	}
	return nil
}

// update changes the return path, however long config is away. What was changed is tried again, since the answer may be lost.
func (p *profiles) update(ctx context.Context, to *configv1.SmtpProfile) error {
	for {
		calling, cancel := context.WithTimeout(ctx, 5*time.Second)
		out, err := p.service.UpdateSmtpProfile(calling, &configv1.UpdateSmtpProfileRequest{
			SmtpProfile: to, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"return_path"}},
		})
		cancel()
		if err == nil {
			p.revision.Store(out.GetMetadata().GetRevision())
			return nil
		}
		if !pause.For(ctx, 200*time.Millisecond) {
			return fmt.Errorf("change %s: %w", to.GetName(), err)
		}
	}
}
