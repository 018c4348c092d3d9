package config

import (
	"context"
	"strings"
	"time"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/outbound"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

const (
	maxSecrets      = 2
	maxHeaderValue  = 4096
	maxConcurrency  = 512
	shortestTimeout = time.Second
	longestTimeout  = time.Minute
)

func judgeEndpoint(ctx context.Context, q queries, f *fault.Faults, r resource) error {
	e := r.(*configv1.Endpoint)
	policy, err := tenantPolicy(ctx, q, tenantOf(e.GetName()))
	if err != nil {
		return err
	}
	if e.GetUrl() == "" {
		f.Add("url", "is required")
	} else {
		f.AddErr("url", outbound.CheckURL(e.GetUrl(), policy))
	}
	checkEnum(f, "profile", int32(e.GetProfile()), configv1.PayloadProfile_name)
	checkEnum(f, "status", int32(e.GetStatus()), configv1.EndpointStatus_name)
	checkEnum(f, "personal_data", int32(e.GetPersonalData()), configv1.PersonalData_name)
	checkSecrets(f, e.GetSecrets())
	f.AddErr("ca_certificates", outbound.CheckCAs([]byte(e.GetCaCertificates())))
	checkHeaders(f, e.GetHeaders())
	if t := e.GetTimeout(); t != nil {
		if d := t.AsDuration(); !t.IsValid() || d < shortestTimeout || d > longestTimeout {
			f.Add("timeout", "must be from %s to %s", shortestTimeout, longestTimeout)
		}
	}
	if c := e.GetConcurrency(); c < 0 || c > maxConcurrency {
		f.Add("concurrency", "must be from 1 to %d, or 0 for the default", maxConcurrency)
	}
	return nil
}

// tenantPolicy is the narrowest one where the tenant does not exist, which is told elsewhere.
func tenantPolicy(ctx context.Context, q queries, name string) (outbound.Policy, error) {
	row, ok, err := newest(ctx, q, nameTenant, name)
	if err != nil || !ok {
		return outbound.Policy{}, err
	}
	var t configv1.Tenant
	if err := unmarshal(row, &t); err != nil {
		return outbound.Policy{}, err
	}
	return policyOf(&t)
}

func checkEnum(f *fault.Faults, field string, value int32, names map[int32]string) {
	if _, known := names[value]; !known {
		f.Add(field, "%d is not known", value)
	}
}

func checkSecrets(f *fault.Faults, secrets []string) {
	if len(secrets) == 0 {
		f.Add("secrets", "must have at least one: every request is signed")
	}
	if len(secrets) > maxSecrets {
		f.Add("secrets", "must be at most %d: the new one and the one before", maxSecrets)
	}
	for i, secret := range secrets {
		if text := secretFault(secret); text != "" {
			f.Add(at("secrets", i), "%s", text)
		} else if i > 0 && secret == secrets[0] {
			f.Add(at("secrets", i), "stands twice")
		}
	}
}

// ours are headers, or beginnings of them ending in "-", that a custom one must not replace: those of the connection,
// and those by which a receiver trusts us.
var ours = []string{
	"host", "connection", "content-length", "content-type", "content-encoding", "expect", "keep-alive", "te", "trailer",
	"transfer-encoding", "upgrade", "proxy-", "webhook-", "tollgate-", "ce-",
}

func checkHeaders(f *fault.Faults, headers []*configv1.CustomHeader) {
	seen := map[string]bool{}
	for i, h := range headers {
		name := strings.ToLower(h.GetName())
		switch {
		case !isToken(name) || len(name) > 100:
			f.Add(at("headers", i)+".name", "must be 1 to 100 letters, digits and hyphens")
		case seen[name]:
			f.Add(at("headers", i)+".name", "%s stands twice", h.GetName())
		case isOurs(name):
			f.Add(at("headers", i)+".name", "%s is set by us", h.GetName())
		}
		seen[name] = true
		if v := h.GetValue(); v == maskedValue {
			f.Add(at("headers", i)+".value", "is masked, and no stored header of that name has one")
		} else if len(v) > maxHeaderValue || strings.ContainsFunc(v, func(c rune) bool { return c < ' ' && c != '\t' || c >= 0x7f }) {
			f.Add(at("headers", i)+".value", "must be at most %d printable ASCII characters", maxHeaderValue)
		}
	}
}

func isOurs(name string) bool {
	for _, o := range ours {
		if name == o || strings.HasSuffix(o, "-") && strings.HasPrefix(name, o) {
			return true
		}
	}
	return false
}

func isToken(name string) bool {
	return name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.!#$%&'*+^`|~") == ""
}

// endpointApplied: planning reads that an endpoint is there, its profile, its word on personal data and whether it is a
// draft. Deliveries wait for its status: one planned after an endpoint was enabled must not be cancelled by a replica that
// still knows it as disabled. All else is read when a request is sent.
func endpointApplied(before, after resource) bool {
	if before == nil || after == nil {
		return true
	}
	a, b := before.(*configv1.Endpoint), after.(*configv1.Endpoint)
	return profileOf(a) != profileOf(b) || includesPersonal(a) != includesPersonal(b) || statusOf(a) != statusOf(b)
}

// The unspecified value of each enum is one of the others, by default.

func profileOf(e *configv1.Endpoint) configv1.PayloadProfile {
	if p := e.GetProfile(); p != configv1.PayloadProfile_PAYLOAD_PROFILE_UNSPECIFIED {
		return p
	}
	return configv1.PayloadProfile_PAYLOAD_PROFILE_TOLLGATE
}

func includesPersonal(e *configv1.Endpoint) bool {
	return e.GetPersonalData() == configv1.PersonalData_PERSONAL_DATA_INCLUDE
}

func statusOf(e *configv1.Endpoint) configv1.EndpointStatus {
	if s := e.GetStatus(); s != configv1.EndpointStatus_ENDPOINT_STATUS_UNSPECIFIED {
		return s
	}
	return configv1.EndpointStatus_ENDPOINT_STATUS_ACTIVE
}

// endpointInUse refuses while an active notification names the endpoint: it would tell nobody.
func endpointInUse(ctx context.Context, q queries, name string, _ bool) error {
	rows, err := list(ctx, q, nameNotification, tenantOf(name)+"/", "", false, -1)
	if err != nil {
		return err
	}
	var by []string
	for _, row := range rows {
		var n configv1.Notification
		if err := unmarshal(row, &n); err != nil {
			return err
		}
		for _, a := range n.GetActions() {
			if n.GetActive() && a.GetWebhook().GetEndpoint() == name {
				by = append(by, n.GetName())
				break
			}
		}
	}
	if len(by) == 0 {
		return nil
	}
	return fault.New(fault.Conflict, "ENDPOINT_IN_USE", "%s is named by %s: change or deactivate that first", name, named(by)).
		With("notifications", named(by))
}
