package hook

import (
	"encoding/hex"
	"fmt"
	"path"
	"strings"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/outbound"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// validate adds what is wrong with a hook to f.
func validate(r channel.Resource, policy outbound.Policy, f *fault.Violations) {
	h := r.(*configv1.Hook)
	if _, known := configv1.HookStatus_name[int32(h.GetStatus())]; !known {
		f.Add("status", "%d is not known", h.GetStatus())
	}
	switch _, known := configv1.FailurePolicy_name[int32(h.GetFailurePolicy())]; {
	case h.GetFailurePolicy() == configv1.FailurePolicy_FAILURE_POLICY_UNSPECIFIED:
		f.Add("failure_policy", "is required: what an action becomes where the handler cannot decide")
	case !known:
		f.Add("failure_policy", "%d is not known", h.GetFailurePolicy())
	}
	if t := h.GetTimeout(); t != nil {
		if d := t.AsDuration(); !t.IsValid() || d < shortestTimeout || d > longestTimeout {
			f.Add("timeout", "must be from %s to %s", shortestTimeout, longestTimeout)
		}
	}
	if c := h.GetConcurrency(); c < 0 || c > maxConcurrency {
		f.Add("concurrency", "must be from 1 to %d, or 0 for the default", maxConcurrency)
	}
	switch of := h.GetHandler().(type) {
	case nil:
		f.Add("handler", "is required: http or script")
	case *configv1.Hook_Http:
		if _, known := configv1.HttpMethod_name[int32(of.Http.GetMethod())]; !known {
			f.Add("http.method", "%d is not known", of.Http.GetMethod())
		}
		var within fault.Violations
		endpoints.Validate(unsigned(endpointOf(h.GetName(), of.Http)), policy, &within)
		f.AddErr(httpField, within.Err(""))
	case *configv1.Hook_Script:
		validateScript(f, of.Script)
	}
}

func validateScript(f *fault.Violations, s *configv1.ScriptHandler) {
	if p := s.GetPath(); !path.IsAbs(p) || path.Clean(p) != p {
		f.Add("script.path", "must be an absolute path without . and ..")
	}
	if sum, err := hex.DecodeString(s.GetSha256()); err != nil || len(sum) != 32 {
		f.Add("script.sha256", "must be the SHA-256 of the file, 64 hexadecimal digits, as sha256sum prints it")
	}
	for i, a := range s.GetArguments() {
		if strings.ContainsRune(a, 0) {
			f.Add(fmt.Sprintf("script.arguments[%d]", i), "must not contain a byte of zero")
		}
	}
}

// validateTypes adds what is wrong with the types that a hook is asked about, and with the paths of what it may change.
func validateTypes(r channel.Resource, declared []*configv1.EventType, f *fault.Violations) {
	h := r.(*configv1.Hook)
	if len(h.GetEventTypes()) == 0 {
		f.Add("event_types", "must have at least one")
	}
	seen := map[string]bool{}
	for i, name := range h.GetEventTypes() {
		field := fmt.Sprintf("event_types[%d]", i)
		twice := seen[name]
		seen[name] = true
		t := lookup(name, declared)
		switch {
		case twice:
			f.Add(field, "%s is there twice", name)
		case t == nil:
			f.Add(field, "%.200q is no known type, neither built in nor declared by the tenant", name)
		case t.Reserved:
			f.Add(field, "%s is published by Tollgate alone: no action becomes it", name)
		default:
			if _, err := ParsePaths(h.GetMayChange(), t.Data.ProtoReflect().Descriptor()); err != nil {
				f.Add("may_change", "of %s: %s", name, err)
			}
		}
	}
}

// lookup finds a type, built in or one of those declared; nil where there is none.
func lookup(name string, declared []*configv1.EventType) *event.Type {
	if t, known := event.Lookup(name); known {
		return &t
	}
	for _, d := range declared {
		if strings.HasSuffix(d.GetName(), "/"+name) {
			var ignored fault.Violations
			return event.Declare(name, d, &ignored)
		}
	}
	return nil
}
