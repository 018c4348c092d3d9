package webhook

import (
	"github.com/tollgate/tollgate/pkg/channel"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// Profile is the form of a webhook's body.
type Profile uint8

const (
	// Tollgate is CloudEvents 1.0, structured, with our extension attributes.
	Tollgate Profile = iota
	// Parameters is a flat object of the action's parameters.
	Parameters
	// CloudEventsBinary is the event's data alone, its attributes in headers: CloudEvents 1.0, binary.
	CloudEventsBinary
	// Transatel is a header and a body, signed in a header of its own too.
	Transatel
	// Jerasoft is the event's reference, and its entity as far as it changed.
	Jerasoft
	// Ocsio is the event's data alone, its reference in headers.
	Ocsio
	// ProfileUnknown is one of a newer service: nothing is planned.
	ProfileUnknown
)

// profiles are all forms of a body.
var profiles = [...]struct {
	name  string
	proto configv1.PayloadProfile
	// texts: the body has the action's parameters.
	texts bool
	// render makes the message; nil where none can be made.
	render func(r rendering) (channel.Message, error)
}{
	Tollgate:          {"tollgate", configv1.PayloadProfile_PAYLOAD_PROFILE_TOLLGATE, true, rendering.tollgate},
	Parameters:        {"parameters", configv1.PayloadProfile_PAYLOAD_PROFILE_PARAMETERS, true, rendering.parameters},
	CloudEventsBinary: {"cloudevents-binary", configv1.PayloadProfile_PAYLOAD_PROFILE_CLOUDEVENTS_BINARY, false, rendering.cloudEventsBinary},
	Transatel:         {"transatel", configv1.PayloadProfile_PAYLOAD_PROFILE_TRANSATEL, true, rendering.transatel},
	Jerasoft:          {"jerasoft", configv1.PayloadProfile_PAYLOAD_PROFILE_JERASOFT, true, rendering.jerasoft},
	Ocsio:             {"ocsio", configv1.PayloadProfile_PAYLOAD_PROFILE_OCSIO, false, rendering.ocsio},
	ProfileUnknown:    {"unknown", -1, false, nil},
}

// String is the profile as its documentation calls it.
func (p Profile) String() string { return profiles[p].name }

// profileOf reads a profile; the unspecified one is Tollgate.
func profileOf(p configv1.PayloadProfile) Profile {
	if p == configv1.PayloadProfile_PAYLOAD_PROFILE_UNSPECIFIED {
		return Tollgate
	}
	for i := range profiles {
		if profiles[i].proto == p {
			return Profile(i)
		}
	}
	return ProfileUnknown
}
