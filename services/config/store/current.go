package store

import (
	"context"
	"iter"
	"slices"
	"sync"

	"github.com/tidwall/btree"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// Index is what is derived from the resources that stand. Changes come in the order of revisions, from any goroutine, one
// at a time.
type Index interface {
	// Reset forgets everything.
	Reset()
	// Change has another version stand in place of one; either is nil where none does. Versions of suppressions have no
	// body.
	Change(before, after *Version)
}

// current is every resource that stands, suppressions apart, as of the newest revision that was read.
type current struct {
	// syncing is held by whoever reads, from before its state of the database begins: so the next one never sees an older.
	syncing sync.Mutex
	index   Index
	// returned is the head that Sync returned last.
	returned head

	mu     sync.Mutex
	loaded bool
	head   head
	rows   *btree.BTreeG[*Version]
}

func before(a, b *Version) bool { return a.Kind < b.Kind || a.Kind == b.Kind && a.Name < b.Name }

func newRows() *btree.BTreeG[*Version] {
	return btree.NewBTreeGOptions(before, btree.Options{NoLocks: true})
}

// Sync brings what is in memory up to date, and returns the head that it is of. moved reports whether Sync returned another
// one the last time: a change brings it up to date too.
func (s *Store) Sync(ctx context.Context) (at *configv1.WatchResponse, moved bool, err error) {
	c := &s.current
	c.syncing.Lock()
	defer c.syncing.Unlock()
	err = s.View(ctx, func(r Reader) error {
		h, err := r.head(ctx)
		if err != nil || c.isAt(h) && c.returned == h {
			return err
		}
		if !c.isAt(h) {
			if err := c.sync(ctx, r, h); err != nil {
				return err
			}
		}
		if at, err = r.message(ctx, h); err == nil {
			c.returned, moved = h, true
		}
		return err
	})
	return at, moved, err
}

// refresh brings what is in memory up to date. Whoever follows by Sync learns of it there.
func (s *Store) refresh(ctx context.Context) error {
	c := &s.current
	c.syncing.Lock()
	defer c.syncing.Unlock()
	return s.View(ctx, func(r Reader) error {
		h, err := r.head(ctx)
		if err != nil || c.isAt(h) {
			return err
		}
		return c.sync(ctx, r, h)
	})
}

// Sync brings the index up to date with what the change builds on. The change has written nothing yet.
func (t *Tx) Sync(ctx context.Context) error {
	c := &t.store.current
	c.syncing.Lock()
	defer c.syncing.Unlock()
	if c.isAt(t.head) {
		return nil
	}
	return c.sync(ctx, t.Reader, t.head)
}

func (c *current) isAt(h head) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.loaded && c.head == h
}

// sync reads what changed since the revision in memory, or everything where the database does not have that any more.
func (c *current) sync(ctx context.Context, r Reader, h head) error {
	c.mu.Lock()
	from, goesOn := c.head, c.loaded
	c.mu.Unlock()
	if goesOn && from.revision > 0 {
		_, history, ok, err := r.revision(ctx, from.revision)
		if err != nil {
			return err
		}
		if goesOn = ok && history == uint64(from.history); goesOn {
			changed, err := r.reencrypted(ctx, from.revision, h.revision)
			if err != nil {
				return err
			}
			goesOn = !changed
		}
	}
	changed, err := r.versions(ctx, `SELECT kind, name, revision, deleted, body FROM resources
		WHERE revision > $1 AND kind <> 'suppression' ORDER BY revision`, c.since(from, goesOn))
	if err != nil {
		return err
	}
	suppressed, err := r.suppressed(ctx, from, goesOn)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !goesOn {
		c.rows = newRows()
		c.index.Reset()
	}
	for i := range changed {
		c.take(&changed[i])
	}
	for _, one := range suppressed {
		c.index.Change(one.before, one.after)
	}
	c.head, c.loaded = h, true
	return nil
}

func (c *current) since(from head, goesOn bool) int64 {
	if goesOn {
		return from.revision
	}
	return 0
}

// take requires mu.
func (c *current) take(v *Version) {
	var old *Version
	if v.Deleted {
		old, _ = c.rows.Delete(v)
		v = nil
	} else {
		old, _ = c.rows.Set(v)
	}
	if old != nil || v != nil {
		c.index.Change(old, v)
	}
}

type suppressionChange struct{ before, after *Version }

// suppressed is how the number of suppressions changed. There may be a million: they are counted by the changes of each,
// and not kept.
func (r Reader) suppressed(ctx context.Context, from head, goesOn bool) (all []suppressionChange, err error) {
	query, args := `SELECT 'create', name FROM resources WHERE kind = 'suppression' AND NOT deleted`, []any(nil)
	if goesOn {
		query, args = `SELECT action, name FROM revisions WHERE revision > $1 AND kind = 'suppression' ORDER BY revision`, []any{from.revision}
	}
	err = r.each(ctx, "suppressions", query, args, func(scan func(...any) error) error {
		var action, name string
		if err := scan(&action, &name); err != nil {
			return err
		}
		v := &Version{Kind: Suppression, Name: name}
		switch action {
		case "create", "undelete":
			all = append(all, suppressionChange{after: v})
		case "delete":
			all = append(all, suppressionChange{before: v})
		}
		return nil
	})
	return all, err
}

// Snapshot is the configuration as of a revision.
type Snapshot struct {
	Located
	// Pruned: the bodies of some versions are not there any more.
	Pruned bool

	rows []*Version
}

// All are the resources in the order of kinds and names, suppressions left out.
func (out Snapshot) All() iter.Seq[*Version] { return slices.Values(out.rows) }

// Snapshot finds a revision and its resources: those that stand now come from memory, and only what changed since the
// revision is read. Where the revision is not found, Found is false.
func (s *Store) Snapshot(ctx context.Context, asked *configv1.Position) (out Snapshot, err error) {
	h, rows := s.current.copy()
	if newest := h.located(); rows != nil && newest.is(asked) {
		return Snapshot{Located: newest, rows: asOf(rows, nil, h.revision)}, nil
	}
	// Another replica may have made it a moment ago, or makes another one now.
	for settled := false; !settled; {
		if err := s.refresh(ctx); err != nil {
			return out, err
		}
		h, rows = s.current.copy()
		err := s.View(ctx, func(r Reader) error {
			var replaced []Version
			replaced, settled, err = out.read(ctx, r, asked, h)
			if settled && out.Found {
				out.rows = asOf(rows, replaced, out.At.Revision)
			}
			return err
		})
		if err != nil {
			return out, err
		}
	}
	return out, nil
}

// Since is what differs between a revision and an earlier one, or any other: the versions that only the first has, and the
// names that only the second has. ok is false where the second is not known here, or not whole, and where secrets were encrypted
// anew in between.
func (s *Store) Since(ctx context.Context, first Snapshot, second *configv1.Position) (out Snapshot, removed []*Version, ok bool, err error) {
	other, err := s.Snapshot(ctx, second)
	if err != nil || !other.Found || other.Pruned || other.At.Revision != second.GetRevision() || second.GetHistory() == 0 {
		return first, nil, false, err
	}
	var reencrypted bool
	if err := s.View(ctx, func(r Reader) (err error) {
		reencrypted, err = r.reencrypted(ctx, other.At.Revision, first.At.Revision)
		return err
	}); err != nil || reencrypted {
		return first, nil, false, err
	}
	out = first
	out.rows = nil
	have, had := first.rows, other.rows
	for len(have) > 0 || len(had) > 0 {
		switch {
		case len(had) == 0 || len(have) > 0 && before(have[0], had[0]):
			out.rows, have = append(out.rows, have[0]), have[1:]
		case len(have) == 0 || before(had[0], have[0]):
			removed, had = append(removed, had[0]), had[1:]
		default:
			if have[0].Revision != had[0].Revision {
				out.rows = append(out.rows, have[0])
			}
			have, had = have[1:], had[1:]
		}
	}
	return out, removed, true, nil
}

// is reports whether a located revision is what was asked for.
func (l Located) is(asked *configv1.Position) bool {
	return asked.GetRevision() == 0 ||
		asked.GetRevision() == l.GetRevision() && (asked.GetHistory() == 0 || asked.GetHistory() == l.GetHistory())
}

// read locates a revision and reads the versions of it that were replaced up to a head. It has to be done again where the
// database is not at or after that head.
func (out *Snapshot) read(ctx context.Context, r Reader, asked *configv1.Position, h head) (replaced []Version, settled bool, err error) {
	if h.revision > 0 {
		_, history, ok, err := r.revision(ctx, h.revision)
		if err != nil || !ok || history != uint64(h.history) {
			return nil, false, err
		}
	}
	if out.Located, err = r.Locate(ctx, asked); err != nil || !out.Found {
		return nil, true, err
	}
	if out.At.Revision > h.revision {
		return nil, false, nil
	}
	replaced, err = r.versions(ctx, `SELECT kind, name, revision, deleted, body FROM versions
		WHERE until > $1 AND until <= $2 AND revision <= $1 AND NOT deleted AND kind <> 'suppression'`, out.At.Revision, h.revision)
	out.Pruned = slices.ContainsFunc(replaced, func(v Version) bool { return v.Body == nil })
	return replaced, true, err
}

// copy costs nothing: what is changed afterwards is copied then.
func (c *current) copy() (head, *btree.BTreeG[*Version]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.loaded {
		return head{}, nil
	}
	return c.head, c.rows.Copy()
}

// asOf are the rows as of a revision: those of now that stood then, and those that stood then and were replaced.
func asOf(rows *btree.BTreeG[*Version], replaced []Version, revision int64) []*Version {
	for i := range replaced {
		rows.Set(&replaced[i])
	}
	out := make([]*Version, 0, rows.Len())
	rows.Scan(func(v *Version) bool {
		if v.Revision <= revision {
			out = append(out, v)
		}
		return true
	})
	return out
}
