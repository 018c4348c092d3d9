package config

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/secret"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/config/protobounds"
	"github.com/tollgate/tollgate/services/config/query"
	"github.com/tollgate/tollgate/services/config/store"
)

// undeletable is how long a deleted resource can be brought back.
const undeletable = 30 * 24 * time.Hour

// change is one request to change one resource.
type change struct {
	kind *kind
	name string
	// etag, where not empty, must be the stored one's.
	etag string
	// validateOnly checks everything and changes nothing.
	validateOnly bool
	// force deletes although others may need what is deleted, where that can't be known.
	force bool
	// label is the action as it stands in the history, where it is another one; empty for the same.
	label string
	// given is what the client sent of an update; nil of other changes.
	given resource
	// reveal, where not nil, is called on the answer of a creation.
	reveal func(answer resource)
	// named reports whether the request names a field; nil where it names none.
	named func(field string) bool
	// edit makes the new version out of the stored one, which is nil where the resource never was. It may keep none of
	// its argument. The action is for the log: create, update, delete, undelete.
	edit func(stored resource, deleted bool) (next resource, action string, err error)
}

const (
	actionCreate   = "create"
	actionUpdate   = "update"
	actionDelete   = "delete"
	actionUndelete = "undelete"
	// actionRestore is an update or an undelete to what was.
	actionRestore = "restore"
)

// draft is a change as it would be stored.
type draft struct {
	next, stored resource
	action       string
	// beside are the versions of other resources that next is checked with.
	beside []store.Version
	// redirected are the stored credentials that next would send elsewhere.
	redirected []fault.Violation
}

// tries is how often a change is checked anew because the resource was changed meanwhile.
const tries = 3

// apply makes a change: one transaction, one revision. A change that changes nothing takes none and answers what is
// stored. What it takes to compile an expression is spent before the transaction, so that no other change waits for it.
func (s *service) apply(ctx context.Context, c change) (resource, error) {
	var f fault.Violations
	c.kind.checkName(&f, c.name)
	if err := f.Err(reason.NameInvalid); err != nil {
		return nil, below(c.kind, err)
	}
	// What others changed is in memory by now: nothing is refused for what does not hold any more.
	if err := s.sync(ctx); err != nil {
		return nil, err
	}
	for range tries {
		checked, err := s.draft(ctx, c, s.read())
		if err != nil {
			return nil, err
		}
		if checked.action != actionDelete {
			if err := s.violations(ctx, c.kind, s.read(), checked, true); err != nil {
				return nil, err
			}
		}
		if shown, done, err := s.commit(ctx, c, checked); done || err != nil {
			return shown, err
		}
	}
	return nil, fault.New(fault.Conflict, "CHANGED_MEANWHILE", "%s %s is being changed by others, read it again", c.kind.label, c.name)
}

// draft reads what is stored and edits it.
func (s *service) draft(ctx context.Context, c change, q queries) (d draft, err error) {
	row, exists, err := q.Newest(ctx, c.kind.name, c.name)
	if err != nil {
		return d, err
	}
	if exists {
		if d.stored, err = s.decode(c.kind, row); err != nil {
			return d, err
		}
		if c.etag != "" && c.etag != d.stored.GetMetadata().GetEtag() {
			return d, fault.New(fault.Conflict, "ETAG_MISMATCH", "%s %s was changed in revision %d, read it again",
				c.kind.label, c.name, row.Revision)
		}
	}
	var given resource
	if d.stored != nil {
		given = clone(d.stored)
	}
	if d.next, d.action, err = c.edit(given, row.Deleted); err != nil {
		return d, err
	}
	setMetadata(d.next, nil)
	if c.kind.stored != nil && d.action != actionDelete {
		c.kind.stored(d.next, d.stored, func(field string) bool { return c.named != nil && c.named(field) })
	}
	if d.stored != nil && c.given != nil && c.kind.credentials != nil {
		d.redirected = redirected(c.kind.credentials, d.stored, c.given, d.next)
	}
	if c.kind.besides != nil && d.action != actionDelete {
		if d.beside, err = c.kind.besides(ctx, q, d.next); err != nil {
			return d, err
		}
	}
	return d, nil
}

// sameBeside reports whether a draft was checked with the same versions of others.
func (d draft) sameBeside(checked draft) bool {
	return slices.EqualFunc(d.beside, checked.beside, func(a, b store.Version) bool { return a.Name == b.Name && a.Revision == b.Revision })
}

// redirected are the stored credentials that a new version sends to another receiver, and that the client did not give
// again: it may be one who may write and not read.
func redirected(of func(resource) []channel.Credential, stored, given, next resource) (all []fault.Violation) {
	before, again := map[string]channel.Credential{}, map[string]string{}
	for _, c := range of(stored) {
		before[c.Key] = c
	}
	for _, c := range of(given) {
		again[c.Key] = c.Value
	}
	for _, c := range of(next) {
		b, kept := before[c.Key]
		if kept && c.Value != "" && c.Value == b.Value && c.To != b.To && again[c.Key] != c.Value {
			all = append(all, fault.Violation{
				Field: c.Field, Reason: "SECRET_REQUIRED",
				Description: "is required with the change to " + cut(c.To) + ": the stored one was given for " + cut(b.To),
			})
		}
	}
	return all
}

// commit stores what was checked, in a transaction that looks again at what may have changed meanwhile: what the resource
// refers to, and the bounds of its tenant. It is not done where the resource itself has.
func (s *service) commit(ctx context.Context, c change, checked draft) (shown resource, done bool, err error) {
	tx, err := s.store.Begin(ctx)
	if err != nil {
		return nil, false, err
	}
	// After a commit this does nothing.
	defer tx.Rollback()
	if err := tx.Sync(ctx); err != nil {
		return nil, false, err
	}
	q := queries{tx.Reader, s.index}
	d, err := s.draft(ctx, c, q)
	if err != nil {
		return nil, false, err
	}
	if d.action != checked.action || !proto.Equal(d.next, checked.next) || !d.sameBeside(checked) {
		return nil, false, nil
	}
	if d.action == actionDelete {
		if c.kind.inUse != nil {
			if err := c.kind.inUse(ctx, q, c.name, c.force); err != nil {
				return nil, false, err
			}
		}
	} else if err := s.violations(ctx, c.kind, q, d, false); err != nil {
		return nil, false, err
	}
	if d.action == actionUpdate && sameContent(d.next, d.stored) {
		return s.shown(c.kind, d.stored), true, nil
	}
	if d.action != actionDelete {
		if err := bounds(ctx, q, c.kind, d); err != nil {
			return nil, false, err
		}
	}

	made, err := s.write(ctx, tx, c, d.action, d.next, d.stored)
	if err != nil || c.validateOnly {
		return s.shown(c.kind, d.next), true, err
	}
	if err := tx.Commit(); err != nil {
		return nil, false, err
	}
	s.announce(ctx)
	s.metrics.changed(c.kind.name, d.action)
	s.log.Info("configuration changed", zap.Int64("revision", made.Revision), zap.Int64("apply_revision", made.Apply),
		zap.String("action", d.action), zap.String("kind", c.kind.name), zap.String("name", c.name), zap.String("caller", rpc.Caller(ctx)))
	answer := s.shown(c.kind, d.next)
	if c.reveal != nil && d.action == actionCreate {
		c.reveal(answer)
	}
	return answer, true, nil
}

// faults lists everything that is wrong with a version about to be stored: with itself, where that was not checked
// before, and with what it refers to.
func (s *service) violations(ctx context.Context, k *kind, q queries, d draft, itself bool) error {
	next := d.next
	var f fault.Violations
	var large []fault.Violation
	if k != tenantKind {
		if err := requireTenant(ctx, q, &f, tenantOf(next.GetName())); err != nil {
			return err
		}
	}
	if itself {
		if n := proto.Size(next); n > maxResource {
			f.Add("", "must be at most %d bytes, has %d", maxResource, n)
			return below(k, f.Err(reason.ConfigInvalid)) // the rest is not looked at
		}
		var long bool
		var err error
		if large, long, err = exceeded(next); err != nil {
			return err
		}
		if long { // what compares a list's elements with each other would take long
			protobounds.Report(&f, large)
			return below(k, f.Err(reason.ConfigInvalid))
		}
		if k.validate != nil {
			if err := within(ctx, func() { k.validate(&f, next) }); err != nil {
				return err
			}
		}
		if k.fits != nil {
			var failed error
			if err := within(ctx, func() { failed = k.fits(&f, d) }); err != nil {
				return err
			}
			if failed != nil {
				return failed
			}
		}
		query.CheckLabels(&f, next.ProtoReflect())
		s.validatePrefixes(&f, d)
		if err := s.validatePublished(ctx, &f, d); err != nil {
			return err
		}
	}
	if k.validateWithin != nil {
		if err := k.validateWithin(ctx, q, &f, next); err != nil {
			return err
		}
	}
	unreadable(&f, k, next)
	for _, v := range d.redirected {
		f.AddAs(v.Reason, v.Field, "%s", v.Description)
	}
	protobounds.Report(&f, large)
	if err := f.ErrShared(reason.ConfigInvalid); err != nil {
		return below(k, err)
	}
	return nil
}

func requireTenant(ctx context.Context, q queries, f *fault.Violations, name string) error {
	row, ok, err := q.Newest(ctx, tenantKind.name, name)
	if err != nil {
		return err
	}
	if !ok || row.Deleted {
		f.Add("name", "%s does not exist", name)
	}
	return nil
}

// write gives next its metadata and adds it as a revision of its own.
func (s *service) write(ctx context.Context, tx *store.Tx, c change, action string, next, stored resource) (store.Revisions, error) {
	last := tx.Last()
	made := store.Revisions{Revision: last.Revision + 1, Apply: last.Apply}
	var before, after resource
	if stored != nil && stored.GetMetadata().GetDeleteTime() == nil {
		before = stored
	}
	if action != actionDelete {
		after = next
	}
	if c.kind.applied(before, after) {
		made.Apply = made.Revision
	}
	if n, ok := next.(*configv1.Notification); ok {
		n.Version++
	}
	body, key, err := s.encode(c.kind, next, stored, action, made.Revision)
	if err != nil {
		return store.Revisions{}, err
	}
	return made, tx.Write(ctx, store.Entry{Revisions: made, At: s.clock(), Caller: rpc.Caller(ctx), Action: c.logged(action)}, store.Version{
		Kind: c.kind.name, Name: c.name, Revision: made.Revision, Deleted: action == actionDelete, Body: body, Key: key,
	})
}

// encode gives a new version its metadata, and is what of it is stored, with the key of its secrets.
func (s *service) encode(k *kind, next, stored resource, action string, revision int64) ([]byte, secret.KeyID, error) {
	// What is shown of the change needs it in clear.
	kept, key, err := s.encrypted(k, next)
	if err != nil {
		return nil, 0, err
	}
	now := timestamppb.New(s.clock())
	// The hash is over what is encrypted: whoever sees it learns nothing of a secret that is short.
	m := &configv1.Metadata{Etag: etagOf(revision, kept), Revision: revision, CreateTime: now, UpdateTime: now}
	if stored != nil {
		m.CreateTime = stored.GetMetadata().GetCreateTime()
	}
	if action == actionDelete {
		m.DeleteTime = now
	}
	setMetadata(next, m)
	setMetadata(kept, m)
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(kept)
	if err != nil {
		return nil, 0, fmt.Errorf("encode %s %s: %w", k.label, next.GetName(), err)
	}
	return body, key, nil
}

// etagOf also holds a hash of the content: a database set back gives out revisions again.
func etagOf(revision int64, r resource) string {
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(r)
	if err != nil {
		// It is marshalled again, and that error returned, right after.
		return ""
	}
	sum := sha256.Sum256(body)
	return fmt.Sprintf("%x-%x", revision, sum[:6])
}

// sameContent compares without metadata.
func sameContent(a, b resource) bool {
	if a == nil || b == nil {
		return false
	}
	c := clone(b)
	setMetadata(c, nil)
	return proto.Equal(a, c)
}

// shown is the copy of a resource that may leave in an answer.
func (s *service) shown(k *kind, r resource) resource {
	if r == nil || k.shown == nil {
		return r
	}
	c := clone(r)
	k.shown(c)
	return c
}

// below puts the request's field in front of the violations of a fault.
func below(k *kind, err error) error {
	e, ok := errors.AsType[*fault.Error](err)
	if !ok {
		return err
	}
	var f fault.Violations
	f.AddErr(k.name, err)
	return f.Err(e.Reason)
}

func notFound(k *kind, name string) error {
	return fault.New(fault.NotFound, strings.ToUpper(k.name)+"_NOT_FOUND", "there is no %s %s", k.label, cut(name))
}
