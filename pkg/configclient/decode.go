package configclient

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tollgate/tollgate/pkg/outbound"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// Fault is a resource that this binary can't read: a newer service stored it, or it is damaged. The rest of its revision
// holds. What a class, a notification or an endpoint of no known profile would do is not done; a tenant is there with what
// is safe in place of what can't be read.
type Fault struct {
	// Name of the resource.
	Name string
	Err  error
}

// Decode reads a snapshot. What it can't read is among its Faults.
func Decode(m *configv1.Snapshot) *Snapshot {
	d := decoder{zones: map[string]*time.Location{}}
	s := &Snapshot{
		Revision: m.GetRevision(), History: m.GetHistory(), ApplyRevision: m.GetApplyRevision(),
		tenants:       make(map[string]*Tenant, len(m.GetTenants())),
		classes:       make(map[classKey]*Class, len(m.GetClassesOfService())),
		notifications: make(map[string][]*configv1.Notification, len(m.GetTenants())),
		endpoints:     make(map[string]*Endpoint, len(m.GetEndpoints())),
		raw:           m,
	}
	for _, t := range m.GetTenants() {
		tenant := d.tenant(t)
		if d.taken(s, t.GetName()) != nil && tenant.ID == "" {
			continue
		}
		s.tenants[tenant.ID] = tenant
		s.order.tenants = append(s.order.tenants, tenant)
	}
	for _, c := range m.GetClassesOfService() {
		class := d.class(c)
		if d.taken(s, c.GetName()) == nil {
			s.classes[classKey{class.Tenant, class.ID}] = class
		}
	}
	for _, n := range m.GetNotifications() {
		tenant, _ := d.name(n.GetName(), "notifications")
		if d.taken(s, n.GetName()) == nil {
			s.notifications[tenant] = append(s.notifications[tenant], n)
		}
	}
	for _, e := range m.GetEndpoints() {
		s.masked = s.masked || Masked(e)
		endpoint := d.endpoint(e)
		if endpoint.Unreadable = d.taken(s, e.GetName()); endpoint.ID == "" {
			continue
		}
		s.endpoints[endpoint.Name] = endpoint
		s.order.endpoints = append(s.order.endpoints, endpoint)
	}
	return s
}

// decoder collects what is wrong with the resource that it reads.
type decoder struct {
	faults []error
	zones  map[string]*time.Location
}

func (d *decoder) fail(name string, err error) {
	if err != nil {
		d.faults = append(d.faults, fmt.Errorf("%s: %w", name, err))
	}
}

// taken ends the reading of one resource: what is wrong with it, which is told among the snapshot's faults.
func (d *decoder) taken(s *Snapshot, name string) error {
	err := errors.Join(d.faults...)
	d.faults = nil
	if err != nil {
		s.faults = append(s.faults, Fault{Name: name, Err: err})
	}
	return err
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
		id = ""
	}
	o := t.GetOutbound()
	policy, err := outbound.PolicyOf(o.GetPorts(), o.GetPlainHttp(), o.GetNetworks(), nil)
	if err != nil {
		d.fail(t.GetName(), err)
		policy = outbound.Policy{} // the narrowest
	}
	out := &Tenant{Name: t.GetName(), ID: id, DisplayName: t.GetDisplayName(), Outbound: policy, UnknownGrace: DefaultUnknownGrace, DedupWindow: DefaultDedupWindow}
	p := t.GetSubscribers()
	if grace := p.GetUnknownGrace(); grace != nil {
		if err := grace.CheckValid(); err != nil {
			d.fail(t.GetName(), err)
		} else {
			out.UnknownGrace = grace.AsDuration()
		}
	}
	if window := p.GetDedupWindow(); window != nil {
		if long := window.AsDuration(); window.CheckValid() != nil || long < DefaultDedupWindow || long > MaxDedupWindow {
			d.fail(t.GetName(), fmt.Errorf("dedup window %s is not from %s to %s", long, DefaultDedupWindow, MaxDedupWindow))
		} else {
			out.DedupWindow = long
		}
	}
	out.DefaultClass = p.GetDefaultClassOfService()
	out.UnknownAllows = d.allows(t.GetName(), p.GetOnUnknown())
	switch p.GetUnprovableUsage() {
	case configv1.UnprovableUsage_UNPROVABLE_USAGE_UNSPECIFIED, configv1.UnprovableUsage_UNPROVABLE_USAGE_COUNT:
	case configv1.UnprovableUsage_UNPROVABLE_USAGE_REJECT:
		out.RejectUnprovable = true
	default:
		// What is rejected can be sent again; what was counted wrongly can't be told from the rest.
		out.RejectUnprovable = true
		d.fail(t.GetName(), fmt.Errorf("unprovable usage %d is not known", p.GetUnprovableUsage()))
	}
	return out
}

// How the configuration service shows secrets, and values of headers, to whom it does not show them. Neither can be stored.
const (
	secretMask = "whsec_****"
	valueMask  = "****"
)

// Masked says that an endpoint came without its secrets.
func Masked(e *configv1.Endpoint) bool {
	return slices.ContainsFunc(e.GetSecrets(), func(s string) bool { return strings.HasPrefix(s, secretMask) }) ||
		slices.ContainsFunc(e.GetHeaders(), func(h *configv1.CustomHeader) bool { return h.GetValue() == valueMask })
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
		out.Profile = ProfileUnknown
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
		if strings.HasPrefix(secret, secretMask) {
			continue
		}
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
