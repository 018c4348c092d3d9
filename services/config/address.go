package config

import (
	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/channel/email"
	"github.com/tollgate/tollgate/pkg/fault"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// Users and suppressions have an address of e-mail; this file alone knows how one is written.

// checkAddress adds what is wrong with an address that stands alone.
func checkAddress(f *fault.Violations, field, text string) {
	a, err := email.ParseAddress(text)
	switch {
	case text == "":
		f.Add(field, "is required")
	case err != nil:
		f.Add(field, "%v", err)
	case a.Name != "":
		f.Add(field, "must be an address alone, without a name")
	}
}

// checkSuppressionID adds what is wrong with the last part of a suppression's name.
func checkSuppressionID(f *fault.Violations, id string) {
	if _, err := email.ParseSuppressionID(id); err != nil {
		f.Add("name", "%q %v", cut(id), err)
	}
}

// nameAddress sets the address of a suppression by its name.
func nameAddress(next, _ resource, _ func(string) bool) {
	s := next.(*configv1.Suppression)
	s.Address = ""
	if _, id := channel.SplitName(s.GetName(), suppressions); id != "" {
		if a, err := email.ParseSuppressionID(id); err == nil {
			s.Address = a.Key()
		}
	}
}
