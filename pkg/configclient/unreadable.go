package configclient

import (
	"errors"
	"fmt"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/reason"
)

// IncidentUnreadable is of a resource that this binary can't read: run a newer one, or correct the resource.
const IncidentUnreadable = "RESOURCE_UNREADABLE"

// shownIncidents is how many resources are named; the rest is a number.
const shownIncidents = 20

// Incidents makes an incident for each of the first unreadable resources, and one with the number of the others.
func Incidents(code string, unreadable []Unreadable) []*daemon.Incident {
	var out []*daemon.Incident
	for i, f := range unreadable {
		if i == shownIncidents {
			out = append(out, &daemon.Incident{Code: code, Resource: "others", Detail: fmt.Sprintf("%d more", len(unreadable)-i)})
			break
		}
		out = append(out, &daemon.Incident{Code: code, Resource: f.Name, Detail: shortened(f.Err.Error())})
	}
	return out
}

// shortened keeps the first part of a long detail.
func shortened(s string) string {
	const most = 500
	if len(s) <= most {
		return s
	}
	return fmt.Sprintf("%.500s…", s)
}

// unreadable are the incidents of the newest revision that was read.
func (s *Source) unreadable() []*daemon.Incident {
	s.mu.Lock()
	defer s.mu.Unlock()
	var secrets, others []Unreadable
	for _, u := range s.missing {
		var of *undecrypted
		if errors.As(u.Err, &of) {
			secrets = append(secrets, u)
		} else {
			others = append(others, u)
		}
	}
	return append(Incidents(reason.SecretUnreadable, secrets), Incidents(IncidentUnreadable, others)...)
}
