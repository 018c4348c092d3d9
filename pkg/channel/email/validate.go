package email

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/outbound"
	"github.com/tollgate/tollgate/pkg/reason"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

const (
	maxConnections = 512
	maxRate        = 10_000
	maxHost        = 253
)

// Ports are those of submission and relay, to which e-mail may go whatever the tenant's policy allows beside.
var Ports = []uint16{25, 465, 587, 2525}

// validate adds what is wrong with a profile to f.
func validate(r channel.Resource, policy outbound.Policy, f *fault.Violations) {
	p := r.(*configv1.SmtpProfile)
	validateServer(f, p, policy)
	validateAuth(f, p)
	validateSender(f, p)
	validateDKIM(f, p.GetDkim())
	if c := p.GetConnections(); c < 0 || c > maxConnections {
		f.Add("connections", "must be from 1 to %d, or 0 for the default", maxConnections)
	}
	if r := p.GetRatePerSecond(); r < 0 || r > maxRate {
		f.Add("rate_per_second", "must be from 1 to %d, or 0 for no bound", maxRate)
	}
	if _, ok := channel.StatusOf(p.GetStatus()); !ok {
		f.Add("status", "%d is not known", p.GetStatus())
	}
	var schedule fault.Violations
	channel.DecodeSchedule(p.GetSchedule(), &schedule)
	f.AddErr("schedule", schedule.Err(reason.ConfigInvalid))
}

// validateServer: the address that is dialled decides; only one that is written as such is known when a profile is saved.
func validateServer(f *fault.Violations, p *configv1.SmtpProfile, policy outbound.Policy) {
	host := p.GetHost()
	addr, err := netip.ParseAddr(host)
	switch {
	case host == "":
		f.Add("host", "is required")
	case len(host) > maxHost:
		f.Add("host", "must be at most %d bytes", maxHost)
	case err == nil:
		f.AddErr("host", policy.WithPorts(Ports...).Allows(netip.AddrPortFrom(addr, portOf(p))))
	default:
		if ascii, err := hostnames.ToASCII(host); err != nil || ascii == "" || strings.HasSuffix(host, ".") {
			f.Add("host", "must be a name of the DNS or an IP address, without a port")
		}
	}
	if port := p.GetPort(); port < 0 || port > 65535 {
		f.Add("port", "must be from 1 to 65535, or 0 for the default")
	}
	if _, ok := modes[p.GetTls()]; !ok {
		f.Add("tls", "%d is not known", p.GetTls())
	}
	f.AddErr("ca_certificates", outbound.CheckCAs([]byte(p.GetCaCertificates())))
}

// validateAuth: an AUTH that can never happen would hold every message for ever.
func validateAuth(f *fault.Violations, p *configv1.SmtpProfile) {
	if _, ok := mechanisms[p.GetMechanism()]; !ok {
		f.Add("mechanism", "%d is not known", p.GetMechanism())
	}
	switch {
	case p.GetPassword() == maskedValue:
		f.Add("password", "is masked, and nothing is stored for this server")
	case p.GetUsername() == "" && p.GetPassword() != "":
		f.Add("username", "is required with a password")
	case p.GetUsername() != "" && p.GetPassword() == "":
		f.Add("password", "is required with a username")
	}
	if p.GetUsername() == "" && p.GetMechanism() != configv1.SmtpMechanism_SMTP_MECHANISM_UNSPECIFIED {
		f.Add("mechanism", "must not be set without a username: there is no AUTH")
	}
	for field, text := range map[string]string{"username": p.GetUsername(), "password": p.GetPassword()} {
		if strings.ContainsFunc(text, isBreak) {
			f.Add(field, "must be without control characters: no mechanism can send them")
		}
	}
}

func validateSender(f *fault.Violations, p *configv1.SmtpProfile) {
	address := func(field, text string, required bool) {
		if text == "" {
			if required {
				f.Add(field, "is required")
			}
			return
		}
		a, err := ParseAddress(text)
		switch {
		case err != nil:
			f.Add(field, "%v", err)
		case a.Name != "":
			f.Add(field, "must be an address alone, without a name")
		}
	}
	address("from_address", p.GetFromAddress(), true)
	address("return_path", p.GetReturnPath(), false)
	address("reply_to", p.GetReplyTo(), false)
	switch name := p.GetFromName(); {
	case len(name) > maxShown:
		f.Add("from_name", "must be at most %d bytes", maxShown)
	case strings.ContainsFunc(name, isBreak):
		f.Add("from_name", "must be on one line")
	case strings.Contains(name, "=?"):
		f.Add("from_name", `must be without "=?": readers take it for the beginning of an encoded text`)
	}
}

func validateDKIM(f *fault.Violations, d *configv1.Dkim) {
	if d == nil {
		return
	}
	for field, text := range map[string]string{"dkim.domain": d.GetDomain(), "dkim.selector": d.GetSelector()} {
		ascii, err := hostnames.ToASCII(text)
		switch {
		case text == "":
			f.Add(field, "is required")
		case err != nil || ascii != text || strings.HasSuffix(text, "."):
			f.Add(field, "must be labels of the DNS in lower-case ASCII, such as example.com")
		}
	}
	switch {
	case d.GetKey() == "":
		f.Add("dkim.key", "is required")
	case d.GetKey() == maskedValue:
		f.Add("dkim.key", "is masked, and none is stored")
	default:
		if _, err := signingKey(d.GetKey()); err != nil {
			f.Add("dkim.key", "%v", err)
		}
	}
}

// maskedValue stands for a secret that is shown.
const maskedValue = "****"

// secrets are the fields of a profile that are never shown.
func secrets(r channel.Resource) (all []channel.Secret) {
	p := r.(*configv1.SmtpProfile)
	if p.GetPassword() != "" {
		all = append(all, channel.Secret{Field: "password", Value: &p.Password})
	}
	if p.GetDkim().GetKey() != "" {
		all = append(all, channel.Secret{Field: "dkim.key", Value: &p.Dkim.Key})
	}
	return all
}

func mask(r channel.Resource) {
	for _, s := range secrets(r) {
		*s.Value = maskedValue
	}
}

func masked(r channel.Resource) bool {
	return slices.ContainsFunc(secrets(r), func(s channel.Secret) bool { return *s.Value == maskedValue })
}

// unmask keeps what is stored for a secret that came back as it was shown; what matches none stays masked, and is refused.
func unmask(next, stored channel.Resource) {
	p, known := next.(*configv1.SmtpProfile), stored.(*configv1.SmtpProfile)
	if p.GetPassword() == maskedValue && known.GetPassword() != "" {
		p.Password = known.GetPassword()
	}
	if p.GetDkim().GetKey() == maskedValue && known.GetDkim().GetKey() != "" {
		p.Dkim.Key = known.GetDkim().GetKey()
	}
}

// credentials: the password is sent to the server; the key of DKIM only signs.
func credentials(r channel.Resource) []channel.Credential {
	p := r.(*configv1.SmtpProfile)
	to := "smtp://" + strings.ToLower(p.GetHost()) + ":" + strconv.Itoa(int(portOf(p))) + "?tls=" + strconv.Itoa(int(modes[p.GetTls()]))
	return []channel.Credential{{Field: "password", Key: "password", To: to, Value: p.GetPassword()}}
}

// planned is a copy with what planning reads: the name, the address of From, and whether it is a draft.
func planned(r channel.Resource) channel.Resource {
	p := r.(*configv1.SmtpProfile)
	out := &configv1.SmtpProfile{Name: p.GetName(), FromAddress: p.GetFromAddress()}
	if p.GetStatus() == configv1.EndpointStatus_ENDPOINT_STATUS_DRAFT {
		out.Status = configv1.EndpointStatus_ENDPOINT_STATUS_DRAFT
	}
	return out
}

// replans: planning reads the domain of From and whether a profile is a draft. Deliveries wait for its status, as for that
// of endpoints.
func replans(before, after channel.Resource) bool {
	a, b := before.(*configv1.SmtpProfile), after.(*configv1.SmtpProfile)
	was, _ := channel.StatusOf(a.GetStatus())
	is, _ := channel.StatusOf(b.GetStatus())
	return a.GetFromAddress() != b.GetFromAddress() || was != is
}

// assign has the server count activations, and keeps health out of what is stored.
func assign(r, before channel.Resource, named func(field string) bool) {
	next := r.(*configv1.SmtpProfile)
	next.Health, next.Activation = nil, 0
	was, known := channel.Disabled, false
	if before != nil {
		stored := before.(*configv1.SmtpProfile)
		next.Activation = stored.GetActivation()
		was, known = channel.StatusOf(stored.GetStatus())
	}
	if is, ok := channel.StatusOf(next.GetStatus()); ok && is == channel.Active && (!known || was != channel.Active || named("status")) {
		next.Activation++
	}
}
