package webhook

import (
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/tollgate/tollgate/pkg/channel"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// Endpoint is where webhooks go. Read from a snapshot that was compiled it may have no more than its names, Profile,
// IncludePersonal and whether it is a draft.
type Endpoint struct {
	// Name is "tenants/{tenant}/endpoints/{endpoint}".
	Name, Tenant, ID string
	URL              string
	Profile          Profile
	// Secrets are the keys of the signature, newest first.
	Secrets []Secret
	// CACertificates is PEM, trusted beside the system's roots.
	CACertificates []byte
	Status         Status
	Headers        []Header
	// Timeout of one attempt in all.
	Timeout time.Duration
	// Concurrency is the number of requests that may be under way.
	Concurrency int
	// IncludePersonal lets fields marked personal leave with the event's data.
	IncludePersonal bool
}

// Header is sent with each request.
type Header struct{ Name, Value string }

// Profile is the form of a webhook's body.
type Profile uint8

const (
	// Tollgate is CloudEvents 1.0, structured, with our extension attributes.
	Tollgate Profile = iota
	// Parameters is a flat object of the action's parameters.
	Parameters
	// ProfileUnknown is one of a newer service: nothing is planned.
	ProfileUnknown
)

// String is the profile as its documentation calls it.
func (p Profile) String() string {
	return [...]string{Tollgate: "tollgate", Parameters: "parameters", ProfileUnknown: "unknown"}[p]
}

// Status decides what happens to an endpoint's deliveries.
type Status uint8

const (
	// Active endpoints are sent to.
	Active Status = iota
	// Draft endpoints get nothing planned.
	Draft
	// Disabled endpoints get what waits cancelled.
	Disabled
)

// Defaults of an endpoint.
const (
	DefaultTimeout     = 15 * time.Second
	DefaultConcurrency = 64
)

// Planning implements channel.Target.
func (e *Endpoint) Planning() channel.Planning {
	p := channel.Planning{
		Draft: e.Status == Draft || e.Profile == ProfileUnknown,
		Texts: e.Profile == Parameters, Form: e.Profile,
	}
	if e.IncludePersonal {
		p.Audience = channel.Personal
	}
	return p
}

// Decode reads an endpoint. With faults it is what could be read.
func Decode(e *configv1.Endpoint) (*Endpoint, []error) {
	var faults []error
	out := &Endpoint{
		Name: e.GetName(), URL: e.GetUrl(),
		CACertificates: []byte(e.GetCaCertificates()), Timeout: DefaultTimeout, Concurrency: DefaultConcurrency,
		IncludePersonal: e.GetPersonalData() == configv1.PersonalData_PERSONAL_DATA_INCLUDE,
	}
	out.Tenant, out.ID = channel.SplitName(e.GetName(), collection)
	switch e.GetProfile() {
	case configv1.PayloadProfile_PAYLOAD_PROFILE_UNSPECIFIED, configv1.PayloadProfile_PAYLOAD_PROFILE_TOLLGATE:
		out.Profile = Tollgate
	case configv1.PayloadProfile_PAYLOAD_PROFILE_PARAMETERS:
		out.Profile = Parameters
	default:
		out.Profile = ProfileUnknown
		faults = append(faults, fmt.Errorf("payload profile %d is not known", e.GetProfile()))
	}
	switch e.GetStatus() {
	case configv1.EndpointStatus_ENDPOINT_STATUS_UNSPECIFIED, configv1.EndpointStatus_ENDPOINT_STATUS_ACTIVE:
		out.Status = Active
	case configv1.EndpointStatus_ENDPOINT_STATUS_DRAFT:
		out.Status = Draft
	case configv1.EndpointStatus_ENDPOINT_STATUS_DISABLED:
		out.Status = Disabled
	default:
		faults = append(faults, fmt.Errorf("status %d is not known", e.GetStatus()))
	}
	for i, secret := range e.GetSecrets() {
		if isMasked(secret) {
			continue
		}
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, secretPrefix))
		if err != nil {
			// The error never quotes the secret.
			faults = append(faults, fmt.Errorf("secret %d is not base64", i))
		}
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
	return out, faults
}

// planned is a copy with what planning reads: the name, the profile, personal data and whether it is a draft. It lies
// where others may read, so it has neither URL nor secrets nor headers.
func planned(r channel.Resource) channel.Resource {
	e := r.(*configv1.Endpoint)
	out := &configv1.Endpoint{Name: e.GetName(), Profile: e.GetProfile(), PersonalData: e.GetPersonalData()}
	if e.GetStatus() == configv1.EndpointStatus_ENDPOINT_STATUS_DRAFT {
		out.Status = configv1.EndpointStatus_ENDPOINT_STATUS_DRAFT
	}
	return out
}

// replans: planning reads that an endpoint exists, its profile, its personal data and whether it is a draft. Deliveries
// wait for its status: one planned after an endpoint was enabled must not be cancelled by a replica that still knows it
// as disabled. All else is read when a request is sent.
func replans(before, after channel.Resource) bool {
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
