// Package control makes the control records of an engine: they stand in the log beside events and belong to no tenant.
package control

import (
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/state"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
)

func init() {
	event.RegisterControl(&controlv1.Revision{}, &controlv1.Tick{}, &controlv1.Gap{}, &controlv1.Transfer{}, &controlv1.TransferSettled{}, &controlv1.Forward{})
}

// NewRevision is the record of the configuration that is in force from here on.
func NewRevision(service string, r state.Revision, level uint32, at time.Time) *event.Event {
	id := strconv.FormatInt(r.Number, 10) + "/" + strconv.FormatUint(r.History, 16)
	return newRecord(service, event.TypeRevision, id, at,
		&controlv1.Revision{Revision: r.Number, History: r.History, Level: int32(level)})
}

// NewTick moves the time of a log.
func NewTick(service string, at time.Time) *event.Event {
	return newRecord(service, event.TypeTick, strconv.FormatInt(at.UnixMilli(), 10), at,
		&controlv1.Tick{Time: timestamppb.New(at)})
}

// NewGap is the record by which a person accepts the loss of part of a log.
func NewGap(gap *controlv1.Gap, at time.Time) *event.Event {
	id := gap.GetDomain() + "/" + strconv.FormatInt(gap.GetFromOffset(), 10) + "/" + strconv.FormatInt(gap.GetToOffset(), 10)
	return newRecord("operator", event.TypeGap, id, at, gap)
}

func newRecord(service, name, id string, at time.Time, data proto.Message) *event.Event {
	at = at.Truncate(time.Millisecond)
	return &event.Event{ID: id, Source: "tollgate/" + service, Type: name, Time: at, ReceivedAt: at, Data: data}
}

// RevisionOf is what NewRevision wrote.
func RevisionOf(e *event.Event) (revision state.Revision, level uint32) {
	r, ok := e.Data.(*controlv1.Revision)
	if !ok {
		return state.Revision{}, 0
	}
	return state.Revision{History: r.GetHistory(), Number: r.GetRevision()}, uint32(max(r.GetLevel(), 0))
}
