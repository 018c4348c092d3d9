package revision

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tollgate/tollgate/pkg/outbound"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// Decode reads a snapshot. What it refuses was stored by a newer service, or is damaged: whoever needs the revision
// waits. All that can't be read is named.
func Decode(m *configv1.Snapshot) (*Snapshot, error) {
	d := decoder{zones: map[string]*time.Location{}}
	s := &Snapshot{
		Revision: m.GetRevision(), ApplyRevision: m.GetApplyRevision(),
		tenants:       make(map[string]*Tenant, len(m.GetTenants())),
		classes:       make(map[classKey]*Class, len(m.GetClassesOfService())),
		notifications: make(map[string][]*configv1.Notification, len(m.GetTenants())),
		endpoints:     make(map[string]*Endpoint, len(m.GetEndpoints())),
		raw:           m,
	}
	for _, t := range m.GetTenants() {
		tenant := d.tenant(t)
		s.tenants[tenant.ID] = tenant
		s.order.tenants = append(s.order.tenants, tenant)
	}
	for _, c := range m.GetClassesOfService() {
		class := d.class(c)
		s.classes[classKey{class.Tenant, class.ID}] = class
	}
	for _, n := range m.GetNotifications() {
		tenant, _ := d.name(n.GetName(), "notifications")
		s.notifications[tenant] = append(s.notifications[tenant], n)
	}
	for _, e := range m.GetEndpoints() {
		endpoint := d.endpoint(e)
		s.endpoints[endpoint.Name] = endpoint
		s.order.endpoints = append(s.order.endpoints, endpoint)
	}
	if err := errors.Join(d.faults...); err != nil {
		return nil, fmt.Errorf("decode revision %d: %w", m.GetRevision(), err)
	}
	return s, nil
}

type decoder struct {
	faults []error
	zones  map[string]*time.Location
}

func (d *decoder) fail(name string, err error) {
	if err != nil {
		d.faults = append(d.faults, fmt.Errorf("%s: %w", name, err))
	}
}

// name reads "tenants/{tenant}/<collection>/{id}".
func (d *decoder) name(name, collection string) (tenant, id string) {
	parts := strings.Split(name, "/")
	if len(parts) != 4 || parts[0] != "tenants" || parts[2] != collection {
		d.fail(name, fmt.Errorf("is not a name of %s", collection))
		return "", ""
	}
	return parts[1], parts[3]
}

func (d *decoder) tenant(t *configv1.Tenant) *Tenant {
	id, ok := strings.CutPrefix(t.GetName(), "tenants/")
	if !ok {
		d.fail(t.GetName(), errors.New("is not a name of tenants"))
	}
	o := t.GetOutbound()
	policy, err := outbound.PolicyOf(o.GetPorts(), o.GetPlainHttp(), o.GetNetworks(), nil)
	d.fail(t.GetName(), err)
	out := &Tenant{Name: t.GetName(), ID: id, DisplayName: t.GetDisplayName(), Outbound: policy, UnknownGrace: DefaultUnknownGrace}
	p := t.GetSubscribers()
	if grace := p.GetUnknownGrace(); grace != nil {
		d.fail(t.GetName(), grace.CheckValid())
		out.UnknownGrace = grace.AsDuration()
	}
	out.DefaultClass = p.GetDefaultClassOfService()
	out.UnknownAllows = d.allows(t.GetName(), p.GetOnUnknown())
	switch p.GetUnprovableUsage() {
	case configv1.UnprovableUsage_UNPROVABLE_USAGE_UNSPECIFIED, configv1.UnprovableUsage_UNPROVABLE_USAGE_COUNT:
	case configv1.UnprovableUsage_UNPROVABLE_USAGE_REJECT:
		out.RejectUnprovable = true
	default:
		d.fail(t.GetName(), fmt.Errorf("unprovable usage %d is not known", p.GetUnprovableUsage()))
	}
	return out
}

func (d *decoder) endpoint(e *configv1.Endpoint) *Endpoint {
	out := &Endpoint{
		Name: e.GetName(), Revision: e.GetMetadata().GetRevision(), URL: e.GetUrl(),
		CACertificates: []byte(e.GetCaCertificates()), Timeout: DefaultTimeout, Concurrency: DefaultConcurrency,
		IncludePersonal: e.GetPersonalData() == configv1.PersonalData_PERSONAL_DATA_INCLUDE,
	}
	out.Tenant, out.ID = d.name(e.GetName(), "endpoints")
	switch e.GetProfile() {
	case configv1.PayloadProfile_PAYLOAD_PROFILE_UNSPECIFIED, configv1.PayloadProfile_PAYLOAD_PROFILE_TOLLGATE:
		out.Profile = ProfileTollgate
	case configv1.PayloadProfile_PAYLOAD_PROFILE_PARAMETERS:
		out.Profile = ProfileParameters
	default:
		d.fail(e.GetName(), fmt.Errorf("payload profile %d is not known", e.GetProfile()))
	}
	switch e.GetStatus() {
	case configv1.EndpointStatus_ENDPOINT_STATUS_UNSPECIFIED, configv1.EndpointStatus_ENDPOINT_STATUS_ACTIVE:
		out.Status = Active
	case configv1.EndpointStatus_ENDPOINT_STATUS_DRAFT:
		out.Status = Draft
	case configv1.EndpointStatus_ENDPOINT_STATUS_DISABLED:
		out.Status = Disabled
	default:
		d.fail(e.GetName(), fmt.Errorf("status %d is not known", e.GetStatus()))
	}
	for i, secret := range e.GetSecrets() {
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
		if err != nil {
			// The decoder's error quotes nothing, but say it in our words.
			err = fmt.Errorf("secret %d is not base64", i)
		}
		d.fail(e.GetName(), err)
		out.Secrets = append(out.Secrets, key)
	}
	for _, h := range e.GetHeaders() {
		out.Headers = append(out.Headers, Header{h.GetName(), h.GetValue()})
	}
	if t := e.GetTimeout(); t != nil {
		out.Timeout = t.AsDuration()
	}
	if e.GetConcurrency() > 0 {
		out.Concurrency = int(e.GetConcurrency())
	}
	return out
}
