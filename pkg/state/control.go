package state

import (
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/event"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// Control records stand in the log beside events and belong to no tenant.

func newRevision(service string, revision int64, level uint32, at time.Time) *event.Event {
	return control(service, event.TypeRevision, strconv.FormatInt(revision, 10), at,
		&eventv1.SystemRevision{Revision: revision, Level: int32(level)})
}

// NewTick says that it became this late.
func NewTick(service string, at time.Time) *event.Event {
	return control(service, event.TypeTick, strconv.FormatInt(at.UnixMilli(), 10), at,
		&eventv1.SystemTick{Time: timestamppb.New(at)})
}

// NewGap is the record by which a person accepts the loss of part of a log.
func NewGap(gap *eventv1.SystemGap, at time.Time) *event.Event {
	id := gap.GetDomain() + "/" + strconv.FormatInt(gap.GetFromOffset(), 10) + "/" + strconv.FormatInt(gap.GetToOffset(), 10)
	return control("operator", event.TypeGap, id, at, gap)
}

func control(service, name, id string, at time.Time, data proto.Message) *event.Event {
	at = at.Truncate(time.Millisecond)
	return &event.Event{ID: id, Source: "tollgate/" + service, Type: name, Time: at, ReceivedAt: at, Data: data}
}

func revisionOf(e *event.Event) (revision int64, level uint32) {
	r, ok := e.Data.(*eventv1.SystemRevision)
	if !ok {
		return 0, 0
	}
	return r.GetRevision(), uint32(max(r.GetLevel(), 0))
}

// timerIdentity is over subject, name and due time. A record that came from
// another key may bring a timer that is overdue here, and whoever had the key
// before may have had one of that name and time: what brought it tells them apart.
func timerIdentity(key string, h *header, name string, due int64) Identity {
	id := event.TimerIdentity("", key, name, time.UnixMilli(due))
	if h.moved {
		id = event.Derive(id, string(h.creator[:]))
	}
	return id
}
