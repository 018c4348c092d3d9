package webhook

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/outbound"
	"github.com/tollgate/tollgate/pkg/reason"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

const (
	maxSecrets      = 2
	maxHeaderValue  = 4096
	maxConcurrency  = 512
	maxRate         = 10_000
	shortestPhase   = 100 * time.Millisecond
	shortestTimeout = time.Second
	longestTimeout  = time.Minute
)

// validate adds what is wrong with an endpoint to f.
func validate(r channel.Resource, policy outbound.Policy, f *fault.Violations) {
	e := r.(*configv1.Endpoint)
	if e.GetUrl() == "" {
		f.Add("url", "is required")
	} else {
		f.AddErr("url", outbound.CheckURL(e.GetUrl(), policy))
	}
	validateEnum(f, "profile", int32(e.GetProfile()), configv1.PayloadProfile_name)
	validateEnum(f, "status", int32(e.GetStatus()), configv1.EndpointStatus_name)
	validateEnum(f, "personal_data", int32(e.GetPersonalData()), configv1.PersonalData_name)
	validateSecrets(f, e.GetSecrets())
	f.AddErr("ca_certificates", outbound.CheckCAs([]byte(e.GetCaCertificates())))
	validateHeaders(f, e.GetHeaders(), authHeader(e.GetAuth()))
	timeout := DefaultTimeout
	if t := e.GetTimeout(); t != nil {
		if timeout = t.AsDuration(); !t.IsValid() || timeout < shortestTimeout || timeout > longestTimeout {
			f.Add("timeout", "must be from %s to %s", shortestTimeout, longestTimeout)
			timeout = longestTimeout
		}
	}
	validatePhases(f, e.GetPhaseTimeouts(), timeout)
	if c := e.GetConcurrency(); c < 0 || c > maxConcurrency {
		f.Add("concurrency", "must be from 1 to %d, or 0 for the default", maxConcurrency)
	}
	if r := e.GetRatePerSecond(); r < 0 || r > maxRate {
		f.Add("rate_per_second", "must be from 1 to %d, or 0 for no bound", maxRate)
	}
	var schedule fault.Violations
	channel.DecodeSchedule(e.GetSchedule(), &schedule)
	f.AddErr("schedule", schedule.Err(reason.ConfigInvalid))
	validateAuth(f, e.GetAuth(), policy)
}

// validatePhases: what is longer than the attempt in all would bound nothing.
func validatePhases(f *fault.Violations, p *configv1.PhaseTimeouts, timeout time.Duration) {
	for _, phase := range []struct {
		field string
		value *durationpb.Duration
	}{{"connect", p.GetConnect()}, {"tls_handshake", p.GetTlsHandshake()}, {"response", p.GetResponse()}} {
		if d := phase.value.AsDuration(); phase.value != nil && (!phase.value.IsValid() || d < shortestPhase || d > timeout) {
			f.Add("phase_timeouts."+phase.field, "must be from %s to %s, the endpoint's timeout", shortestPhase, timeout)
		}
	}
}

func validateEnum(f *fault.Violations, field string, value int32, names map[int32]string) {
	if _, known := names[value]; !known {
		f.Add(field, "%d is not known", value)
	}
}

func validateSecrets(f *fault.Violations, secrets []string) {
	if len(secrets) == 0 {
		f.Add("secrets", "must have at least one: every request is signed")
	}
	if len(secrets) > maxSecrets {
		f.Add("secrets", "must be at most %d: the new one and the one before", maxSecrets)
	}
	for i, secret := range secrets {
		if text := secretViolation(secret); text != "" {
			f.Add(at("secrets", i), "%s", text)
		} else if i > 0 && secret == secrets[0] {
			f.Add(at("secrets", i), "is there twice")
		}
	}
}

// ours are headers, or beginnings of them ending in "-", that a custom one must not replace: those of the connection,
// those by which a receiver trusts us, and those of profiles.
var ours = []string{
	"host", "connection", "content-length", "content-type", "content-encoding", "expect", "keep-alive", "te", "trailer",
	"transfer-encoding", "upgrade", "proxy-", "webhook-", "tollgate-", "traceparent", "ce-", "x-tsl-signature-256", "x-ocs-io-",
}

// validateHeaders adds what is wrong with custom headers; auth is the one that the way to authenticate sets.
func validateHeaders(f *fault.Violations, headers []*configv1.CustomHeader, auth string) {
	seen := map[string]bool{}
	for i, h := range headers {
		name := strings.ToLower(h.GetName())
		switch text := headerNameViolation(name); {
		case text != "":
			f.Add(at("headers", i)+".name", "%s", text)
		case seen[name]:
			f.Add(at("headers", i)+".name", "%s is there twice", h.GetName())
		case name == auth:
			f.Add(at("headers", i)+".name", "%s is set by auth", h.GetName())
		}
		seen[name] = true
		v := h.GetValue()
		switch {
		case v == maskedValue:
			f.Add(at("headers", i)+".value", "is masked, and no stored header of that name has one")
		case len(v) > maxHeaderValue || strings.ContainsFunc(v, func(c rune) bool { return c < ' ' && c != '\t' || c >= 0x7f }):
			f.Add(at("headers", i)+".value", "must be at most %d printable ASCII characters", maxHeaderValue)
		case strings.TrimSpace(v) != v:
			f.Add(at("headers", i)+".value", noBlanks)
		}
	}
}

// headerNameViolation is what is wrong with the name of a header, empty where nothing is.
func headerNameViolation(name string) string {
	name = strings.ToLower(name)
	switch {
	case !isToken(name) || len(name) > 100:
		return "must be 1 to 100 letters, digits and hyphens"
	case isOurs(name):
		return name + " is set by us"
	}
	return ""
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

// at is the path of an element of a list.
func at(list string, i int) string { return fmt.Sprintf("%s[%d]", list, i) }
