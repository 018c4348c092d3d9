package webhook

import (
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/secret"
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
	// Auth is how requests authenticate beside the signature; nil where the signature is all.
	Auth Auth
	// Phases bound the phases of an attempt.
	Phases Phases
	// Rate is the most requests a second; 0 is no bound.
	Rate int
	// Schedule is when requests may be made; nil for always.
	Schedule *Schedule
	// Paused endpoints are sent nothing, and nothing of theirs is cancelled.
	Paused bool
	// Activation counts how often the endpoint was set to active, from 1.
	Activation int64
}

// Phases are the most that phases of an attempt may take; 0 where Timeout alone bounds one.
type Phases struct {
	// Connect is name resolution and connection.
	Connect time.Duration
	// TLS is the handshake.
	TLS time.Duration
	// Response is from the request written to the first byte of the response.
	Response time.Duration
}

// Header is sent with each request.
type Header = channel.Header

// Status decides what happens to an endpoint's deliveries.
type Status = channel.Status

// Statuses of an endpoint.
const (
	Active   = channel.Active
	Draft    = channel.Draft
	Disabled = channel.Disabled
)

// Schedule is when requests may be made.
type Schedule = channel.Schedule

// Defaults of an endpoint.
const (
	DefaultTimeout     = 15 * time.Second
	DefaultConcurrency = 64
)

// Planning implements channel.Target.
func (e *Endpoint) Planning() channel.Planning {
	p := channel.Planning{
		Draft: e.Status == Draft || e.Profile == ProfileUnknown,
		Texts: profiles[e.Profile].texts, Form: e.Profile,
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
	if out.Profile = profileOf(e.GetProfile()); out.Profile == ProfileUnknown {
		faults = append(faults, fmt.Errorf("payload profile %d is not known", e.GetProfile()))
	}
	var known bool
	if out.Status, known = channel.StatusOf(e.GetStatus()); !known {
		faults = append(faults, fmt.Errorf("status %d is not known", e.GetStatus()))
	}
	for i, text := range e.GetSecrets() {
		if isMasked(text) || secret.Encrypted(text) {
			continue // who plans needs none
		}
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, secretPrefix))
		if err != nil {
			// The error never quotes the secret.
			faults = append(faults, fmt.Errorf("secret %d is not base64", i))
		}
		out.Secrets = append(out.Secrets, key)
	}
	for _, h := range e.GetHeaders() {
		out.Headers = append(out.Headers, Header{Name: h.GetName(), Value: h.GetValue()})
	}
	if t := e.GetTimeout(); t != nil {
		out.Timeout = t.AsDuration()
	}
	if e.GetConcurrency() > 0 {
		out.Concurrency = int(e.GetConcurrency())
	}
	var err error
	if out.Auth, err = decodeAuth(e.GetAuth()); err != nil {
		faults = append(faults, err)
	}
	p := e.GetPhaseTimeouts()
	out.Phases = Phases{Connect: p.GetConnect().AsDuration(), TLS: p.GetTlsHandshake().AsDuration(), Response: p.GetResponse().AsDuration()}
	out.Rate, out.Paused, out.Activation = int(e.GetRatePerSecond()), e.GetPaused(), e.GetActivation()
	var f fault.Violations
	out.Schedule = channel.DecodeSchedule(e.GetSchedule(), &f)
	if err := f.Err(reason.ConfigInvalid); err != nil {
		faults = append(faults, fmt.Errorf("schedule can't be read: %w", err))
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
	return profileOf(a.GetProfile()) != profileOf(b.GetProfile()) || includesPersonal(a) != includesPersonal(b) || statusOf(a) != statusOf(b)
}

// assign has the server count activations, and keeps health out of what is stored.
func assign(r, before channel.Resource, named func(field string) bool) {
	next := r.(*configv1.Endpoint)
	next.Health, next.Activation = nil, 0
	var was *configv1.Endpoint
	if before != nil {
		was = before.(*configv1.Endpoint)
		next.Activation = was.GetActivation()
	}
	const active = configv1.EndpointStatus_ENDPOINT_STATUS_ACTIVE
	if statusOf(next) == active && (was == nil || statusOf(was) != active || named("status")) {
		next.Activation++
	}
}

// textless: two profiles have no place for parameters.
func textless(r channel.Resource) string {
	p := profileOf(r.(*configv1.Endpoint).GetProfile())
	if p == ProfileUnknown || profiles[p].texts {
		return ""
	}
	return "has profile " + p.String() + ", whose body is the event's data alone"
}

// The unspecified value of each enum is one of the others, by default.

func includesPersonal(e *configv1.Endpoint) bool {
	return e.GetPersonalData() == configv1.PersonalData_PERSONAL_DATA_INCLUDE
}

func statusOf(e *configv1.Endpoint) configv1.EndpointStatus {
	if s := e.GetStatus(); s != configv1.EndpointStatus_ENDPOINT_STATUS_UNSPECIFIED {
		return s
	}
	return configv1.EndpointStatus_ENDPOINT_STATUS_ACTIVE
}
