package webhook

import (
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/event"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// transatelNames are the types that have a name in profile transatel; the options' are made by transatelName.
var transatelNames = map[string]string{
	"package.assigned":          "OCS/PRODUCT/PRELOADED",
	"package.activated":         "OCS/PRODUCT/ACTIVATED",
	"package.deactivated":       "OCS/PRODUCT/TERMINATED",
	"package.renewed":           "OCS/PRODUCT/RENEWED",
	"package.closed":            "OCS/PRODUCT/EXPIRED",
	"package.cancelled":         "OCS/PRODUCT/CANCELED",
	"usage.threshold_exceeded":  "OCS/RESOURCE/THRESHOLD",
	"balance.threshold_reached": "OCS/RESOURCE/THRESHOLD",
	"subscriber.cos_changed":    "CONNECTIVITY-MANAGEMENT/SUBSCRIBER/MODIFIED",
	"subscriber.suspended":      "CONNECTIVITY-MANAGEMENT/SUBSCRIBER/MODIFIED",
	"subscriber.resumed":        "CONNECTIVITY-MANAGEMENT/SUBSCRIBER/MODIFIED",
	"subscriber.msisdn_changed": "CONNECTIVITY-MANAGEMENT/MSISDN/SWAPPED",
	"subscriber.sim_swapped":    "CONNECTIVITY-MANAGEMENT/SIMCARD/SWAPPED",
}

// transatelOptions are the options' names in types.
var transatelOptions = map[eventv1.Safeguard_Option]string{
	eventv1.Safeguard_OPTION_DATA: "DATA", eventv1.Safeguard_OPTION_OVERSPEND: "OVERSPEND", eventv1.Safeguard_OPTION_PAYMENT: "PAYMENT",
}

func transatelName(e *event.Event) string {
	if name := transatelNames[e.Type]; name != "" {
		return name
	}
	if s, ok := e.Data.(*eventv1.Safeguard); ok && transatelOptions[s.GetOption()] != "" {
		_, kind, _ := strings.Cut(e.Type, ".")
		return "OCS/OPTION/" + transatelOptions[s.GetOption()] + "-SAFEGUARD/" + strings.ReplaceAll(strings.ToUpper(kind), "_", "-")
	}
	return e.Type
}

// HeaderTransatel is the header of profile transatel's own signature. Planned deliveries have it empty: it is made when
// they are sent, by SignTransatel.
const HeaderTransatel = "X-TSL-Signature-256"

// transatel is a header and a body.
func (r rendering) transatel() (channel.Message, error) {
	data, err := r.data(true)
	if err != nil {
		return channel.Message{}, err
	}
	e := r.event
	var header object
	header.text("eventId", eventUUID(e))
	header.text("eventType", transatelName(e))
	header.text("eventDate", r.time())
	body := object{buf: make([]byte, 0, 256+len(data))}
	known := func(name, value string) {
		if value != "" {
			body.text(name, value)
		}
	}
	known("mvnoRef", e.Tenant)
	if d, ok := e.Data.(interface{ GetClassOfService() string }); ok {
		known("cos", d.GetClassOfService())
	}
	if number, ok := event.MSISDN(e.Subject); ok && number == e.Subject {
		known("msisdn", number)
	}
	if d, ok := e.Data.(*eventv1.SubscriberSimSwapped); ok && r.audience >= channel.Personal {
		known("iccid", d.GetNewIccid())
	}
	known("externalReference", e.Correlation)
	body.fields(data)
	if err := r.addParameters(&body); err != nil {
		return channel.Message{}, err
	}
	b := object{buf: make([]byte, 0, 256+len(body.buf))}
	b.raw("header", header.end())
	b.raw("body", body.end())
	return channel.Message{ContentType: typeJSON, Body: b.end(), Headers: []channel.Header{{Name: HeaderTransatel}}}, nil
}

// eventNamespace is that of eventUUID, drawn once.
var eventNamespace = [16]byte{0x5b, 0x0e, 0x6d, 0x0b, 0x2f, 0x35, 0x4f, 0x0d, 0x9c, 0x1a, 0x7e, 0x57, 0x3d, 0x84, 0xa1, 0xc6}

// eventUUID is a UUID of version 5 over what distinguishes the event of a delivery's id from all others: tenant, source, subject
// and id, each after its length.
func eventUUID(e *event.Event) string {
	h := sha1.New() //nolint:gosec // a UUID of version 5 is one; nothing relies on its strength
	h.Write(eventNamespace[:])
	for _, part := range []string{e.Tenant, e.Source, e.Subject, e.ID} {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		h.Write(length[:])
		h.Write([]byte(part))
	}
	u := h.Sum(nil)[:16]
	u[6], u[8] = u[6]&0x0f|0x50, u[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// jerasoftEntity is how much of its entity an event of profile jerasoft has.
type jerasoftEntity uint8

const (
	// whole has every field.
	whole jerasoftEntity = iota
	// changes has the id and the fields that changed.
	changes
	// nothing is an empty object.
	nothing
)

// jerasoftTypes are the types that have a name in profile jerasoft.
var jerasoftTypes = map[string]struct {
	name   string
	entity jerasoftEntity
}{
	"client.created":               {"clients.create", whole},
	"client.updated":               {"clients.update", changes},
	"client.deleted":               {"clients.delete", nothing},
	"client.archived":              {"clients.archive", nothing},
	"client.custom_fields_updated": {"clients.custom_fields.update", changes},
	"client.balance.depleted":      {"clients.balance_zero", nothing},
	"client.balance.restored":      {"clients.balance_notzero", nothing},
	"account.created":              {"clients.accounts.create", whole},
	"account.updated":              {"clients.accounts.update", changes},
	"account.deleted":              {"clients.accounts.delete", nothing},
	"package.assigned":             {"clients.subscriptions.assign", whole},
	"package.activated":            {"clients.subscriptions.activate", changes},
	"package.deactivated":          {"clients.subscriptions.deactivate", changes},
	"package.renewed":              {"clients.subscriptions.renew", changes},
	"package.closed":               {"clients.subscriptions.close", changes},
}

// jerasoft is the event's reference, and its entity as far as it changed; of a type without a name there the whole data.
func (r rendering) jerasoft() (channel.Message, error) {
	e := r.event
	named, ok := jerasoftTypes[e.Type]
	if balance, turned := jerasoftTypes["client.balance."+r.Firing()]; turned && strings.HasPrefix(e.Type, "client.") {
		named, ok = balance, true
	}
	if !ok {
		named.name = e.Type
	}
	var data []byte
	var err error
	if ok {
		data, err = r.once(dataKey{"jerasoft " + named.name, r.audience, true}, func(w *writer) { w.entity(e, named.entity) })
	} else {
		data, err = r.data(true)
	}
	if err != nil {
		return channel.Message{}, err
	}
	var head object
	head.text("dt", r.time())
	head.text("events_id", named.name)
	head.objectID(e)
	b := object{buf: make([]byte, 0, 128+len(data))}
	b.raw(keyEvent, head.end())
	b.raw(keyData, data)
	if err := r.addParameters(&b); err != nil {
		return channel.Message{}, err
	}
	return channel.Message{ContentType: typeJSON, Body: b.end()}, nil
}

// isInteger is a number that JSON and 64 bits have.
func isInteger(s string) bool {
	return s != "" && len(s) <= 18 && strings.Trim(s, "0123456789") == "" && (s == "0" || s[0] != '0')
}

// entity writes what the event is about: the message of its data that is named as the entity of the type, else the data.
func (w *writer) entity(e *event.Event, much jerasoftEntity) {
	m := e.Data.ProtoReflect()
	changed, listed := e.Data.(interface{ GetChangedFields() []string })
	t, _ := event.Lookup(e.Type)
	if f := m.Descriptor().Fields().ByName(protoreflect.Name(t.Entity)); f != nil && f.Message() != nil {
		if m = m.Get(f).Message(); !m.IsValid() {
			much = nothing
		}
	}
	l := layouts[m.Descriptor().FullName()]
	switch {
	case much == nothing:
		w.buf = append(w.buf, "{}"...)
	case much == whole:
		w.object(m, l)
	case listed && len(changed.GetChangedFields()) > 0:
		w.changes(m, l, changed.GetChangedFields())
	default:
		w.changes(m, l, nil)
	}
}

// changes writes the id and the fields that changed, whatever their values: those that begin the paths, or where there
// are none those that are set.
func (w *writer) changes(m protoreflect.Message, l layout, paths []string) {
	w.buf = append(w.buf, '{')
	for i := range l {
		f := &l[i]
		named := slices.ContainsFunc(paths, func(path string) bool {
			first, _, _ := strings.Cut(path, ".")
			return first == string(f.d.Name()) || first == f.d.JSONName()
		})
		set := m.Has(f.d)
		if f.audience <= w.audience && (set && (paths == nil || named || f.d.Name() == "id") || named && f.d.Message() == nil) {
			w.written(m.Get(f.d), f)
		}
	}
	w.buf = append(w.buf, '}')
}
