package provision

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	provisionv1 "github.com/tollgate/tollgate/proto/gen/tollgate/provision/v1"
)

// source is that of events which actions became.
const source = "tollgate/provision"

// maxData bounds the data of an action, in bytes.
const maxData = 256 << 10

// bounds of a request's texts, in bytes.
const (
	maxObjectID = 128
	maxKey      = 128
)

// action is a request that was validated.
type action struct {
	event    *event.Event
	objectID string
	dryRun   bool
	// stage is when it is asked about; before it, where there is none.
	stage provisionv1.Execution_Stage
	// key names the action's idempotency key in the store, content is a hash of what is asked.
	key, content string
}

// askable reports whether an action becomes events of a type, so that it can be asked about beforehand. What a balance or a
// meter has reached has happened.
func askable(t *event.Type) bool {
	return !t.Reserved && t.Operation != event.Other && t.Entity != "balance" && !strings.HasPrefix(t.Name, "client.balance.")
}

// read validates a request. The error lists every violation.
func read(req *provisionv1.DecideRequest, b *book, stage provisionv1.Execution_Stage, now time.Time) (*action, error) {
	var f fault.Violations
	text(&f, "idempotency_key", req.GetIdempotencyKey(), maxKey)
	text(&f, "object_id", req.GetObjectId(), maxObjectID)
	if n := len(req.GetData().GetValue()); n > maxData {
		f.AddAs(reason.TooLarge, "data", "must be at most %d bytes, has %d", maxData, n)
	}
	t := b.lookup(req.GetTenant(), req.GetType())
	if t != nil && stage == provisionv1.Execution_STAGE_BEFORE && !askable(t) {
		f.Add("type", "%s is of what has happened: no action is asked about beforehand", t.Name)
	}
	subject := req.GetObjectId()
	if t != nil && !t.Subscriber {
		subject = t.Entity + "/" + subject
	}
	e, err := event.Parser{Tenants: b}.Proto(&eventv1.Event{
		Id: eventID(req), Source: "provision", Type: req.GetType(), Tenant: req.GetTenant(), Subject: subject, Time: timestamp(now),
		Correlation: req.GetCorrelation(), Data: req.GetData(),
	})
	for _, v := range fault.ViolationsOf(err) {
		if v.Field == "subject" {
			v.Field = "object_id"
		}
		if v.Field != "object_id" || req.GetObjectId() != "" {
			f.AddAs(v.Reason, v.Field, "%s", v.Description)
		}
	}
	if err := f.Err(reason.RequestInvalid); err != nil {
		return nil, err
	}
	if e, err = e.Declared.View(e); err != nil {
		return nil, err
	}
	e.Source = source
	a := &action{event: e, objectID: req.GetObjectId(), dryRun: req.GetDryRun(), stage: stage, key: keyName(req)}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(e.Data)
	if err != nil {
		return nil, fmt.Errorf("hash the action: %w", err)
	}
	a.content = hashOf("content", e.Type, e.Subject, e.Correlation, string(e.Data.ProtoReflect().Descriptor().FullName()), string(data))
	return a, nil
}

func text(f *fault.Violations, field, value string, most int) {
	switch {
	case value == "":
		f.Add(field, "is required")
	case len(value) > most:
		f.Add(field, "must be at most %d bytes, has %d", most, len(value))
	}
}

// eventID is that of the event which the action of a key becomes.
func eventID(req *provisionv1.DecideRequest) string {
	return hashOf("event", req.GetTenant(), req.GetIdempotencyKey())
}

func keyName(req *provisionv1.DecideRequest) string {
	return hashOf("key", req.GetTenant(), req.GetIdempotencyKey())
}

// hashOf is the first half of a SHA-256 over texts, each after its length.
func hashOf(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(p)))
		h.Write(length[:])
		h.Write([]byte(p))
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}
