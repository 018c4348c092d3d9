package access

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// Hash is the SHA-256 of a secret, all that is known of it.
type Hash [sha256.Size]byte

// HashOf is the hash of a secret.
func HashOf(secret string) Hash { return sha256.Sum256([]byte(secret)) }

// String is the hash in hex, its form in configuration.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// Caller names whoever sends the secret, in logs and in the audit: enough to find the key, useless to call with.
func (h Hash) Caller() string { return hex.EncodeToString(h[:4]) }

// Rights are what a key gives.
type Rights struct {
	Scopes Scopes
	// Grants are read with the scope Subscribe.
	Grants Grants
	// Contact and Personal: events of the queue are shown with their fields of these kinds.
	Contact, Personal bool
}

// Covers reports that r gives everything that other gives.
func (r Rights) Covers(other Rights) bool {
	return r.Scopes.Covers(other.Scopes) && r.Grants.Covers(other.Grants) &&
		(r.Contact || !other.Contact) && (r.Personal || !other.Personal)
}

// Key is a tenant's key.
type Key struct {
	// Name is that of the resource, Tenant the id within it.
	Name, Tenant string
	Hash         Hash
	Rights       Rights
	// Expires is when it ends; zero: never.
	Expires time.Time
}

// Expired reports whether the key has ended.
func (k *Key) Expired(now time.Time) bool { return !k.Expires.IsZero() && !now.Before(k.Expires) }

// Decode reads a key as a snapshot for services has it.
func Decode(m *configv1.ApiKey) (Key, error) {
	parts := strings.Split(m.GetName(), "/")
	if len(parts) != 4 || parts[0] != "tenants" || parts[2] != "apiKeys" || parts[1] == "" || parts[3] == "" {
		return Key{}, fmt.Errorf("the name must look like tenants/{tenant}/apiKeys/{id}, not %.100q", m.GetName())
	}
	k := Key{Name: m.GetName(), Tenant: parts[1], Rights: RightsOf(m)}
	if len(m.GetSecretHash()) != len(k.Hash) {
		return Key{}, fmt.Errorf("%s comes without its hash", m.GetName())
	}
	k.Hash = Hash(m.GetSecretHash())
	if t := m.GetExpireTime(); t != nil {
		if err := t.CheckValid(); err != nil {
			return Key{}, fmt.Errorf("%s: expire_time: %w", m.GetName(), err)
		}
		k.Expires = t.AsTime()
	}
	return k, nil
}

// RightsOf are the rights of a key.
func RightsOf(m *configv1.ApiKey) Rights {
	return Rights{
		Scopes: ScopesOf(m.GetScopes()...), Grants: GrantsOf(m.GetQueueGrants()),
		Contact: m.GetContactFields(), Personal: m.GetPersonalFields(),
	}
}
