package config

import (
	"context"
	"fmt"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/rpc"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/config/store"
)

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
	return w.service.snapshot(stream.Context(), req, func(part *configv1.SnapshotResponse) error {
		if !shown {
			part.Snapshot.ApiKeys = nil
			for _, k := range table.Kinds() {
				for r := range configclient.Resources(part.GetSnapshot(), k) {
					w.service.decrypt(k, r)
					k.Mask(r)
				}
			}
		}
		return stream.Send(part)
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

// snapshot reads the configuration as of a revision, the named lists or all, or what differs from another revision, part by
// part, secrets encrypted.
func (s *service) snapshot(ctx context.Context, req *configv1.SnapshotRequest, send func(*configv1.SnapshotResponse) error) error {
	asked := &configv1.Position{History: req.GetHistory(), Revision: req.GetRevision()}
	found, err := s.store.Snapshot(ctx, asked)
	switch {
	case err != nil:
		return err
	case !found.Found:
		return s.notKnown(ctx, asked)
	case found.Pruned:
		return fault.New(fault.NotFound, "REVISION_PRUNED", "the content of revision %d was pruned: no log that is kept names it", asked.GetRevision())
	}
	p := parts{found: found, lists: req.GetLists(), planned: req.GetPlanned(), send: send}
	var removed []*store.Version
	if since := req.GetSince(); since.GetRevision() > 0 && since.GetRevision() == found.GetRevision() && since.GetHistory() == found.GetHistory() {
		p.since = since
		p.begin()
		return p.send(p.part)
	} else if since.GetRevision() > 0 {
		differs, gone, ok, err := s.store.Since(ctx, found, since)
		if err != nil {
			return err
		}
		if ok {
			p.found, p.since, removed = differs, since, gone
		}
	}
	p.begin()
	for _, v := range removed {
		if err := p.remove(v); err != nil {
			return err
		}
	}
	for v := range p.found.All() {
		if err := p.add(v); err != nil {
			return err
		}
	}
	return p.send(p.part)
}

// parts sends a snapshot in parts.
type parts struct {
	found store.Snapshot
	lists []string
	since *configv1.Position
	// planned: targets are sent as planning reads them.
	planned bool
	send    func(*configv1.SnapshotResponse) error

	part *configv1.SnapshotResponse
	size int
}

func (p *parts) begin() {
	out := &configv1.Snapshot{Revision: p.found.GetRevision(), History: p.found.GetHistory(), ApplyRevision: p.found.At.Apply}
	if p.found.At.Revision != p.found.GetRevision() {
		out.StandsIn, out.ApplyRevision = p.found.At.Revision, p.found.GetRevision()
	}
	p.part, p.size = &configv1.SnapshotResponse{Snapshot: out, Since: p.since}, 0
}

// wanted reports whether a kind is in one of the lists that were asked for.
func (p *parts) wanted(kind string) bool {
	return len(p.lists) == 0 || slices.ContainsFunc(p.lists, func(list string) bool { return kind == kindOfList[list] })
}

// room makes room for so many bytes.
func (p *parts) room(size int) error {
	if p.size > 0 && p.size+size > partBytes {
		if err := p.send(p.part); err != nil {
			return err
		}
		p.begin()
	}
	p.size += size
	return nil
}

func (p *parts) remove(v *store.Version) error {
	if !p.wanted(v.Kind) {
		return nil
	}
	if err := p.room(len(v.Name)); err != nil {
		return err
	}
	p.part.Removed = append(p.part.Removed, v.Name)
	return nil
}

func (p *parts) add(v *store.Version) error {
	if !p.wanted(v.Kind) {
		return nil
	}
	if err := p.room(len(v.Body)); err != nil {
		return err
	}
	return add(p.part.GetSnapshot(), *v, p.planned)
}

// notKnown notes a revision that somebody asks for and that is not here.
func (s *service) notKnown(ctx context.Context, asked *configv1.Position) error {
	if asked.GetHistory() != 0 {
		s.noteUnknown(ctx, asked, false)
	}
	last, _ := s.notifier.read()
	return fault.New(fault.NotFound, "REVISION_UNKNOWN", "revision %d of history %016x is not known here, the newest is %d of history %016x",
		asked.GetRevision(), asked.GetHistory(), last.GetRevision(), last.GetHistory())
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

func add(out *configv1.Snapshot, row store.Version, planned bool) error {
	k := kindOf(row.Kind)
	if k == nil {
		return fmt.Errorf("read %s of revision %d: this binary does not know kind %q", row.Name, row.Revision, row.Kind)
	}
	r, err := k.decode(row)
	if err != nil {
		return err
	}
	var m proto.Message = r
	if of := configclient.KindOf(r); of != nil && planned {
		m = of.Planned(r)
	}
	if !configclient.Append(out, m) {
		return fmt.Errorf("read %s of revision %d: snapshots have no list of it", row.Name, row.Revision)
	}
	return nil
}
