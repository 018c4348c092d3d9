package api

import (
	"strings"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/spend"
	"github.com/tollgate/tollgate/services/safeguard/account"
)

// subject is a subscriber as resources name it.
type subject struct{ tenant, msisdn string }

// key of its record.
func (p subject) key() string { return p.tenant + "/" + p.msisdn }

// name of the resource.
func (p subject) name() string { return "tenants/" + p.tenant + "/subscribers/" + p.msisdn }

// option is the name of one of its options.
func (p subject) option(o spend.Option) string { return p.name() + "/options/" + optionIDs[o] }

// optionIDs end the names of options.
var optionIDs = [...]string{spend.Data: "dataSafeguard", spend.Overspend: "overspendSafeguard", spend.Payment: "paymentSafeguard"}

// optionWords are options as sentences have them.
var optionWords = [...]string{spend.Data: "data safeguard", spend.Overspend: "overspend safeguard", spend.Payment: "payment safeguard"}

// subjectIn reads "tenants/{tenant}/subscribers/{msisdn}" out of a field.
func subjectIn(f *fault.Violations, field, name string) subject {
	return parseSubject(f, field, name, "")
}

// optionIn reads "tenants/{tenant}/subscribers/{msisdn}/options/{option}".
func optionIn(f *fault.Violations, field, name string, o spend.Option) subject {
	return parseSubject(f, field, name, "/options/"+optionIDs[o])
}

func parseSubject(f *fault.Violations, field, name, tail string) subject {
	tenant, text, ok := parts(name, "/subscribers/", tail)
	if !ok {
		f.AddAs(ReasonName, field, "must be tenants/{tenant}/subscribers/{msisdn}%s", tail)
		return subject{}
	}
	tenantIn(f, field, tenant)
	msisdn, ok := event.MSISDN(text)
	if !ok {
		f.AddAs(ReasonName, field, "the MSISDN "+event.FormMSISDN)
	}
	return subject{tenant, msisdn}
}

// classIn reads "tenants/{tenant}/classesOfService/{cos}" with a tail behind it.
func classIn(f *fault.Violations, field, name, tail string) (tenant, id string) {
	tenant, id, ok := parts(name, "/classesOfService/", tail)
	switch {
	case !ok:
		f.AddAs(ReasonName, field, "must be tenants/{tenant}/classesOfService/{cos}%s", tail)
	default:
		tenantIn(f, field, tenant)
		if id == "" || len(id) > account.MaxClass {
			f.AddAs(ReasonName, field, "the id of the class of service must be 1 to %d bytes", account.MaxClass)
		}
	}
	return tenant, id
}

func tenantIn(f *fault.Violations, field, tenant string) {
	if !isTenant(tenant) {
		f.AddAs(ReasonName, field, "the tenant must be 1 to %d bytes without control characters", event.MaxTenant)
	}
}

func isTenant(s string) bool {
	return s != "" && len(s) <= event.MaxTenant && !strings.ContainsFunc(s, isControl)
}

// parts takes a name apart without allocating: it is done for each authorisation.
func parts(name, collection, tail string) (tenant, id string, ok bool) {
	rest, isTenant := strings.CutPrefix(name, "tenants/")
	at := strings.IndexByte(rest, '/')
	if !isTenant || at < 0 {
		return "", "", false
	}
	tenant = rest[:at]
	rest, isMember := strings.CutPrefix(rest[at:], collection)
	id, whole := strings.CutSuffix(rest, tail)
	return tenant, id, isMember && whole && !strings.Contains(id, "/")
}
