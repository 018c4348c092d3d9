package config

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/rpc"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// repeatInterval is how often a watch sends the same while nothing changes.
const repeatInterval = 10 * time.Second

// notifier has the head, and wakes those that wait for the next one.
type notifier struct {
	mu      sync.Mutex
	last    *configv1.WatchResponse
	changed chan struct{}
}

func newNotifier(last *configv1.WatchResponse) *notifier {
	return &notifier{last: last, changed: make(chan struct{})}
}

// announce never goes back: commits are one after the other, but their announcements may overtake.
func (n *notifier) announce(head *configv1.WatchResponse) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if head.GetRevision() <= n.last.GetRevision() {
		return
	}
	n.last = head
	close(n.changed)
	n.changed = make(chan struct{})
}

// read returns a head that does not change any more.
func (n *notifier) read() (*configv1.WatchResponse, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.last, n.changed
}

// announce sends watchers what was committed. A head that can't be read now is sent with the next change, or by a watch's
// repetition.
func (s *service) announce(ctx context.Context) {
	now, err := head(context.WithoutCancel(ctx), s.store.reader)
	if err != nil {
		s.log.Error("head not read after a change", zap.Error(err))
		return
	}
	s.notifier.announce(now)
}

type watchService struct {
	configv1.UnimplementedConfigWatchServiceServer
	service  *service
	stopping <-chan struct{}
}

func (w *watchService) Watch(req *configv1.WatchRequest, stream grpc.ServerStreamingServer[configv1.WatchResponse]) error {
	w.service.metrics.watchers.Inc()
	defer w.service.metrics.watchers.Dec()
	repeat := time.NewTicker(repeatInterval)
	defer repeat.Stop()
	for {
		last, changed := w.service.notifier.read()
		for _, p := range req.GetKnown() {
			if !configclient.Continues(last, p) {
				w.service.unknown.note(stream.Context(), p, true)
			}
		}
		if err := stream.Send(last); err != nil {
			return err
		}
		select {
		case <-changed:
			repeat.Reset(repeatInterval)
		case <-repeat.C:
			w.service.announce(stream.Context())
		case <-w.stopping:
			return rpc.ErrStopping()
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

func (w *watchService) Snapshot(req *configv1.SnapshotRequest, stream grpc.ServerStreamingServer[configv1.SnapshotResponse]) error {
	if req.GetRevision() < 0 {
		return fault.NewInvalid(reason.RequestInvalid, fault.Violation{Field: "revision", Description: "must not be negative"})
	}
	if err := checkLists(req.GetLists()); err != nil {
		return err
	}
	shown := rpc.FromService(stream.Context())
	if !shown && slices.Contains(req.GetLists(), "api_keys") {
		return fault.New(fault.Denied, reason.ServiceKeyRequired, "API keys are followed by a service: its key must be one of grpc.service_key_hashes_file")
	}
	asked := &configv1.Position{History: req.GetHistory(), Revision: req.GetRevision()}
	return w.service.snapshot(stream.Context(), asked, req.GetKnown(), req.GetLists(), func(part *configv1.Snapshot, unchanged bool) error {
		if !shown {
			part.ApiKeys = nil
		}
		for _, k := range table.Kinds() {
			for r := range configclient.Resources(part, k) {
				if !shown {
					k.Mask(r)
				}
			}
		}
		return stream.Send(&configv1.SnapshotResponse{Snapshot: part, Unchanged: unchanged})
	})
}

// checkLists reports the names that are no lists of a snapshot.
func checkLists(names []string) error {
	var f fault.Violations
	for i, name := range names {
		if kindOfList[name] == "" {
			f.Add(at("lists", i), "%q is no list of a snapshot", cut(name))
		}
	}
	return f.Err(reason.RequestInvalid)
}

// partBytes is how large a part of a snapshot becomes before the next one is begun; one resource is never split.
const partBytes = 1 << 20

// snapshot reads the configuration as of a revision, the named lists or all, part by part, secrets in clear; nothing of it
// where the revision is the known one.
func (s *service) snapshot(ctx context.Context, asked, known *configv1.Position, lists []string, send func(part *configv1.Snapshot, unchanged bool) error) error {
	found, rows, err := s.read(ctx, asked, known)
	if err != nil {
		return err
	}
	begin := func() *configv1.Snapshot {
		out := &configv1.Snapshot{Revision: found.GetRevision(), History: found.GetHistory(), ApplyRevision: found.at.apply}
		if found.at.revision != found.GetRevision() {
			out.StandsIn, out.ApplyRevision = found.at.revision, found.GetRevision()
		}
		return out
	}
	if known.GetRevision() != 0 && proto.Equal(known, found.Position) {
		return send(begin(), true)
	}
	part, size := begin(), 0
	for _, row := range rows {
		if len(lists) > 0 && !slices.ContainsFunc(lists, func(list string) bool { return row.kind == kindOfList[list] }) {
			continue
		}
		if size > 0 && size+len(row.body) > partBytes {
			if err := send(part, false); err != nil {
				return err
			}
			part, size = begin(), 0
		}
		if err := add(part, row); err != nil {
			return err
		}
		size += len(row.body)
	}
	return send(part, false)
}

// read finds a revision and its resources, in one view of the database; without them where it is the known one.
func (s *service) read(ctx context.Context, asked, known *configv1.Position) (found located, rows []version, err error) {
	tx, err := s.store.reader.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return found, nil, fmt.Errorf("begin snapshot: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // nothing was written
	if found, err = locate(ctx, tx, asked); err != nil {
		return found, nil, err
	}
	if !found.found {
		if asked.GetHistory() != 0 {
			s.unknown.note(ctx, asked, false)
		}
		last, _ := s.notifier.read()
		return found, nil, fault.New(fault.NotFound, "REVISION_UNKNOWN", "revision %d of history %016x is not known here, the newest is %d of history %016x",
			asked.GetRevision(), asked.GetHistory(), last.GetRevision(), last.GetHistory())
	}
	if proto.Equal(known, found.Position) {
		return found, nil, nil
	}
	rows, err = asOf(ctx, tx, found.at.revision)
	return found, rows, err
}

// kindOfList is the kind of each list of a snapshot, by their fields.
var kindOfList = func() map[string]string {
	out := map[string]string{}
	for _, k := range kinds {
		if name := configclient.ListFor(k.make()); name != "" {
			out[name] = k.name
		}
	}
	return out
}()

func add(out *configv1.Snapshot, row version) error {
	for _, k := range kinds {
		if k.name != row.kind {
			continue
		}
		r, err := k.decode(row)
		if err != nil {
			return err
		}
		if !configclient.Append(out, r) {
			return fmt.Errorf("read %s of revision %d: snapshots have no list of it", row.name, row.revision)
		}
		return nil
	}
	return fmt.Errorf("read %s of revision %d: this binary does not know kind %q", row.name, row.revision, row.kind)
}
