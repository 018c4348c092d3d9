package config

import (
	"regexp"

	"golang.org/x/text/language"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/spend"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

var wordPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

func validateUser(f *fault.Violations, r resource) {
	u := r.(*configv1.User)
	checkAddress(f, "address", u.GetAddress())
	if l := u.GetLanguage(); l != "" {
		if _, err := language.Parse(l); err != nil {
			f.Add("language", "%q is not a tag of BCP 47, such as en or de-CH", cut(l))
		}
	}
	checkZone(f, "time_zone", u.GetTimeZone())
	seen := map[string]bool{}
	for i, role := range u.GetRoles() {
		switch {
		case !wordPattern.MatchString(role):
			f.Add(at("roles", i), "%q must match %s", cut(role), wordPattern)
		case seen[role]:
			f.Add(at("roles", i), "%q is there twice", role)
		}
		seen[role] = true
	}
}

// checkZone adds a time zone that is not known; the empty one is a default.
func checkZone(f *fault.Violations, field, zone string) {
	if zone == "" {
		return
	}
	if _, err := spend.Zone(zone); err != nil {
		f.Add(field, "%q is not an IANA time zone, such as Europe/Zurich", cut(zone))
	}
}

func validateSuppression(f *fault.Violations, r resource) {
	s := r.(*configv1.Suppression)
	if w := s.GetSource(); w != "" && !wordPattern.MatchString(w) {
		f.Add("source", "%q must match %s", cut(w), wordPattern)
	}
	if t := s.GetTime(); t != nil && !t.IsValid() {
		f.Add("time", "must be a time from the year 1 to 9999")
	}
}
