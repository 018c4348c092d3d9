package config

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/access"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/rpc"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/config/store"
)

// keyKind are the API keys of tenants. Their secrets are drawn here and stored as hashes, which leave config in snapshots
// for services alone.
var keyKind = &kind{
	name: nameAPIKey, label: "API key", collection: "apiKeys", id: idPattern, most: 1_000,
	make:     func() resource { return &configv1.ApiKey{} },
	validate: validateKey, validateWithin: validateGiven, applied: never,
	stored: keepSecret, shown: hideSecret, drawn: drawSecret,
}

// drawSecret gives a key that may come to be its secret. The result shows it in the answer that creates the key.
func drawSecret(given resource) (reveal func(answer resource)) {
	var raw [32]byte
	rand.Read(raw[:])
	secret := "tg_" + base64.RawURLEncoding.EncodeToString(raw[:])
	hash := access.HashOf(secret)
	k := given.(*configv1.ApiKey)
	k.SecretHash, k.Caller = hash[:], hash.Caller()
	return func(answer resource) { answer.(*configv1.ApiKey).Secret = secret }
}

// keepSecret keeps the secret that a key has got, whatever the client sends.
func keepSecret(next, stored resource, _ func(field string) bool) {
	k := next.(*configv1.ApiKey)
	k.Secret = ""
	if stored != nil {
		before := stored.(*configv1.ApiKey)
		k.SecretHash, k.Caller = before.GetSecretHash(), before.GetCaller()
	}
}

func hideSecret(r resource) {
	k := r.(*configv1.ApiKey)
	k.Secret, k.SecretHash = "", nil
}

func validateKey(f *fault.Violations, r resource) {
	k := r.(*configv1.ApiKey)
	if t := k.GetExpireTime(); t != nil && !t.IsValid() {
		f.Add("expire_time", "must be a time from the year 1 to 9999")
	}
	scopes := map[access.Scope]bool{}
	for i, s := range k.GetScopes() {
		switch {
		case !access.KnownScope(s):
			f.Add(at("scopes", i), "%d is not known", s)
		case scopes[s]:
			f.Add(at("scopes", i), "%s is there twice", s)
		}
		scopes[s] = true
	}
	validateGrants(f, k.GetQueueGrants())
	if !scopes[access.Subscribe] && (len(k.GetQueueGrants()) > 0 || k.GetContactFields() || k.GetPersonalFields()) {
		f.Add("scopes", "must have %s: without it queue_grants, contact_fields and personal_fields mean nothing", access.Subscribe)
	}
}

func validateGrants(f *fault.Violations, grants []*configv1.QueueGrant) {
	entities := map[string]bool{}
	for i, g := range grants {
		place := at("queue_grants", i)
		switch e := g.GetEntity(); {
		case !wordPattern.MatchString(e):
			f.Add(place+".entity", "%q must match %s", cut(e), wordPattern)
		case entities[e]:
			f.Add(place+".entity", "%q is there twice: name all its operations at one place", e)
		}
		entities[g.GetEntity()] = true
		if len(g.GetOperations()) == 0 {
			f.Add(place+".operations", "is required: create, update, delete, other, or several")
		}
		operations := map[configv1.QueueOperation]bool{}
		for j, o := range g.GetOperations() {
			if _, known := access.OperationOf(o); !known {
				f.Add(at(place+".operations", j), "%d is not known", o)
			} else if operations[o] {
				f.Add(at(place+".operations", j), "%s is there twice", o)
			}
			operations[o] = true
		}
	}
}

// validateGiven refuses what the caller has not itself: a key gives no other key more, nor for longer.
func validateGiven(ctx context.Context, _ queries, f *fault.Violations, r resource) error {
	k, caller := r.(*configv1.ApiKey), rpc.CallerOf(ctx)
	if caller == nil || caller.Key == nil {
		return nil // an operator; the table of methods keeps others away
	}
	if !caller.Gives(access.RightsOf(k)) {
		f.AddAs(reasonNotYours, "", "gives more than the key that you call with: leave out scopes, grants and fields that it lacks")
	}
	if end := caller.Key.Expires; !end.IsZero() && (k.GetExpireTime() == nil || k.GetExpireTime().AsTime().After(end)) {
		f.AddAs(reasonNotYours, "expire_time", "must not be after that of the key that you call with")
	}
	return nil
}

const reasonNotYours = "RIGHTS_EXCEEDED"

// readKeys gives the authorizer the keys as they stand.
func (s *service) readKeys(ctx context.Context, authorizer *rpc.Authorizer) error {
	rows, err := s.store.List(ctx, nameAPIKey, tenants+"/", "", false, store.All)
	if err != nil {
		return err
	}
	keys := make([]access.Key, 0, len(rows))
	for _, row := range rows {
		var m configv1.ApiKey
		if err := unmarshal(row, &m); err != nil {
			return err
		}
		k, err := access.Decode(&m)
		if err != nil {
			return err
		}
		keys = append(keys, k)
	}
	authorizer.Replace(keys)
	return nil
}

// followKeys reads them again after each change, until ctx ends.
func (s *service) followKeys(ctx context.Context, authorizer *rpc.Authorizer) {
	retry := time.NewTicker(time.Second)
	defer retry.Stop()
	for last := int64(-1); ; {
		head, changed := s.notifier.read()
		if head.GetRevision() != last {
			if err := s.readKeys(ctx, authorizer); err == nil {
				last = head.GetRevision()
			} else if ctx.Err() == nil {
				s.log.Error("API keys not read, trying again", zap.Error(err))
			}
		}
		select {
		case <-changed:
		case <-retry.C:
		case <-ctx.Done():
			return
		}
	}
}
