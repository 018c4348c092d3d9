package access

import (
	"strings"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// Scope is what a tenant's key may do.
type Scope = configv1.ApiKeyScope

// The scopes, by short names.
const (
	Publish           = configv1.ApiKeyScope_API_KEY_SCOPE_PUBLISH
	Subscribe         = configv1.ApiKeyScope_API_KEY_SCOPE_SUBSCRIBE
	ConfigRead        = configv1.ApiKeyScope_API_KEY_SCOPE_CONFIG_READ
	ConfigWrite       = configv1.ApiKeyScope_API_KEY_SCOPE_CONFIG_WRITE
	SuppressionsWrite = configv1.ApiKeyScope_API_KEY_SCOPE_SUPPRESSIONS_WRITE
	APIKeysWrite      = configv1.ApiKeyScope_API_KEY_SCOPE_API_KEYS_WRITE
	OptionsRead       = configv1.ApiKeyScope_API_KEY_SCOPE_OPTIONS_READ
	OptionsWrite      = configv1.ApiKeyScope_API_KEY_SCOPE_OPTIONS_WRITE
	Enforcement       = configv1.ApiKeyScope_API_KEY_SCOPE_ENFORCEMENT
	Rules             = configv1.ApiKeyScope_API_KEY_SCOPE_RULES
	Tests             = configv1.ApiKeyScope_API_KEY_SCOPE_TESTS
	DeliveriesRead    = configv1.ApiKeyScope_API_KEY_SCOPE_DELIVERIES_READ
	DeliveriesReplay  = configv1.ApiKeyScope_API_KEY_SCOPE_DELIVERIES_REPLAY
	Provision         = configv1.ApiKeyScope_API_KEY_SCOPE_PROVISION
)

// ScopeName is a scope without the prefix that all have.
func ScopeName(s Scope) string { return strings.TrimPrefix(s.String(), "API_KEY_SCOPE_") }

// KnownScope reports that this binary has a meaning for a scope.
func KnownScope(s Scope) bool {
	_, known := configv1.ApiKeyScope_name[int32(s)]
	return known && s != configv1.ApiKeyScope_API_KEY_SCOPE_UNSPECIFIED
}

// Scopes is a set of scopes.
type Scopes uint64

// ScopesOf is the set of those that are known: one of a newer binary gives nothing here.
func ScopesOf(all ...Scope) (set Scopes) {
	for _, s := range all {
		if KnownScope(s) {
			set |= 1 << uint(s)
		}
	}
	return set
}

// Has reports whether a scope is in the set.
func (set Scopes) Has(s Scope) bool { return s > 0 && s < 64 && set&(1<<uint(s)) != 0 }

// Covers reports that every scope of other is in the set.
func (set Scopes) Covers(other Scopes) bool { return other&^set == 0 }
