package hook

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/channel/webhook"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// Hook is a handler as the service that asks it needs it.
type Hook struct {
	// Name is "tenants/{tenant}/hooks/{hook}".
	Name, Tenant, ID string
	// Types are the event types that it is asked about.
	Types    []string
	Priority int32
	Status   Status
	// Timeout of one question.
	Timeout time.Duration
	// Allow is its failure policy: true allows.
	Allow bool
	// MayChange are paths as they are stored; all fields where it is empty.
	MayChange   []string
	Concurrency int
	// HTTP is what is asked, or Script is.
	HTTP   *HTTP
	Script *Script
}

// HTTP is a handler that is asked by requests.
type HTTP struct {
	Method string
	// Address is the handler as requests go to it.
	Address *webhook.Endpoint
}

// Script is a handler that is a program.
type Script struct {
	Path      string
	Arguments []string
	// SHA256 is in lower-case hexadecimal digits.
	SHA256 string
}

// Status is whether a hook is asked.
type Status uint8

// Statuses of a hook.
const (
	Enabled Status = iota
	Disabled
	Archived
)

// Defaults of a hook, and its bounds.
const (
	DefaultTimeout     = 2 * time.Second
	DefaultConcurrency = 16

	shortestTimeout = 10 * time.Millisecond
	longestTimeout  = 10 * time.Second
	maxConcurrency  = 512
)

// Order is that in which hooks are asked: by priority, those of one priority by name.
func Order(a, b *configv1.Hook) int {
	return cmp.Or(cmp.Compare(a.GetPriority(), b.GetPriority()), strings.Compare(a.GetName(), b.GetName()))
}

// Planning implements channel.Target: nothing is planned for a hook.
func (h *Hook) Planning() channel.Planning { return channel.Planning{} }

// Decode reads a hook. With faults it is what could be read.
func Decode(m *configv1.Hook) (*Hook, []error) {
	var faults []error
	h := &Hook{
		Name: m.GetName(), Types: m.GetEventTypes(), Priority: m.GetPriority(), Timeout: DefaultTimeout,
		MayChange: m.GetMayChange(), Concurrency: DefaultConcurrency,
	}
	h.Tenant, h.ID = channel.SplitName(m.GetName(), Collection)
	switch m.GetStatus() {
	case configv1.HookStatus_HOOK_STATUS_UNSPECIFIED, configv1.HookStatus_HOOK_STATUS_ENABLED:
	case configv1.HookStatus_HOOK_STATUS_ARCHIVED:
		h.Status = Archived
	default:
		h.Status = Disabled
	}
	switch m.GetFailurePolicy() {
	case configv1.FailurePolicy_FAILURE_POLICY_ALLOW:
		h.Allow = true
	case configv1.FailurePolicy_FAILURE_POLICY_FORBID:
	default:
		// What can't be read forbids.
		faults = append(faults, fmt.Errorf("failure policy %d is not known", m.GetFailurePolicy()))
	}
	if t := m.GetTimeout(); t != nil {
		h.Timeout = t.AsDuration()
	}
	if m.GetConcurrency() > 0 {
		h.Concurrency = int(m.GetConcurrency())
	}
	switch of := m.GetHandler().(type) {
	case *configv1.Hook_Http:
		address, wrong := webhook.Decode(endpointOf(m.GetName(), of.Http))
		faults = append(faults, wrong...)
		// A question ends by its own time, before the request does.
		address.Tenant, address.ID, address.Timeout = h.Tenant, h.ID, h.Timeout+time.Second
		h.HTTP = &HTTP{Method: http.MethodPost, Address: address}
		if of.Http.GetMethod() == configv1.HttpMethod_HTTP_METHOD_PUT {
			h.HTTP.Method = http.MethodPut
		}
	case *configv1.Hook_Script:
		h.Script = &Script{Path: of.Script.GetPath(), Arguments: of.Script.GetArguments(), SHA256: strings.ToLower(of.Script.GetSha256())}
	case nil:
		// A snapshot without what only the service needs.
	default:
		faults = append(faults, errors.New("its kind of handler is not known"))
	}
	return h, faults
}
