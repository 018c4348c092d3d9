package config

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/tollgate/tollgate/pkg/catalog"
	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/rules"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/config/store"
)

const nameEventType = "event_type"

// maxEventTypes is how many types a tenant may declare.
const maxEventTypes = 1_000

// eventTypeKind is the kind of the types that tenants declare; built-in ones can be read.
func eventTypeKind() *kind {
	return &kind{
		name: nameEventType, label: "event type", collection: catalog.Collection, id: regexp.MustCompile(`^[a-z][a-z0-9_.]*$`), most: maxEventTypes,
		make:     func() resource { return &configv1.EventType{} },
		besides:  besideEventType,
		validate: func(f *fault.Violations, r resource) { event.Declare(typeOf(r), r.(*configv1.EventType), f) },
		fits:     eventTypeFits,
		applied:  always, inUse: eventTypeInUse,
		stored: func(next, _ resource, _ func(string) bool) { catalog.Clear(next.(*configv1.EventType)) },
		shown:  showEventType,
		find: func(name string) resource {
			if t := catalog.Find(name); t != nil {
				return t
			}
			return nil
		},
		builtIn: func() []resource {
			var all []resource
			for _, t := range catalog.BuiltIn() {
				all = append(all, t)
			}
			return all
		},
	}
}

// typeOf is the name of a type that a resource declares.
func typeOf(r resource) string {
	_, typ := channel.SplitName(r.GetName(), catalog.Collection)
	return typ
}

// showEventType fills in what follows from a declaration.
func showEventType(r resource) {
	t := r.(*configv1.EventType)
	var f fault.Violations
	if made := event.Declare(typeOf(t), t, &f); made != nil {
		catalog.Complete(t, made)
	}
}

// besideEventType are the notifications that a type is read by, the hooks on it, and the other types of its tenant.
func besideEventType(ctx context.Context, q queries, r resource) ([]store.Version, error) {
	types, err := q.List(ctx, nameEventType, tenantOf(r.GetName())+"/", "", false, store.All)
	if err != nil {
		return nil, err
	}
	types = slices.DeleteFunc(types, func(v store.Version) bool { return v.Name == r.GetName() })
	rows, err := q.List(ctx, nameNotification, tenantOf(r.GetName())+"/", "", false, store.All)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		var n configv1.Notification
		if err := unmarshal(row, &n); err != nil {
			return nil, err
		}
		if rules.Uses(&n, typeOf(r)) {
			types = append(types, row)
		}
	}
	for _, k := range kindsOnTypes() {
		rows, err := q.List(ctx, k.Field, tenantOf(r.GetName())+"/", "", false, store.All)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			on := k.New()
			if err := unmarshal(row, on); err != nil {
				return nil, err
			}
			if slices.Contains(k.EventTypes(on), typeOf(r)) {
				types = append(types, row)
			}
		}
	}
	return types, nil
}

// kindsOnTypes are the kinds whose resources name event types, beside notifications.
func kindsOnTypes() []*channel.Kind {
	return slices.DeleteFunc(slices.Clone(table.Kinds()), func(k *channel.Kind) bool { return k.EventTypes == nil })
}

// typesNamed are the declared types among those that a resource names.
func typesNamed(ctx context.Context, q queries, r resource, names []string) ([]store.Version, error) {
	rows, err := q.List(ctx, nameEventType, tenantOf(r.GetName())+"/", "", false, store.All)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(rows, func(v store.Version) bool {
		return !slices.Contains(names, v.Name[strings.LastIndexByte(v.Name, '/')+1:])
	}), nil
}

// eventTypesOf are the types among versions.
func eventTypesOf(beside []store.Version) (all []*configv1.EventType, _ error) {
	for _, v := range beside {
		if v.Kind != nameEventType {
			continue
		}
		t := &configv1.EventType{}
		if err := unmarshal(v, t); err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	return all, nil
}

// besideNotification are the declared types that a notification reads.
func besideNotification(ctx context.Context, q queries, r resource) ([]store.Version, error) {
	rows, err := q.List(ctx, nameEventType, tenantOf(r.GetName())+"/", "", false, store.All)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(rows, func(v store.Version) bool {
		return !rules.Uses(r.(*configv1.Notification), v.Name[strings.LastIndexByte(v.Name, '/')+1:])
	}), nil
}

// declared compiles the types among versions, and those given; one that this binary can't read is left out.
func declared(beside []store.Version, more ...*configv1.EventType) (*rules.Types, error) {
	stored, err := eventTypesOf(beside)
	if err != nil {
		return nil, err
	}
	var types []*event.Type
	for _, t := range slices.Concat(stored, more) {
		var ignored fault.Violations
		if made := event.Declare(typeOf(t), t, &ignored); made != nil {
			types = append(types, made)
		}
	}
	return rules.NewTypes(types...), nil
}

// notificationFits adds what is wrong with a notification, on built-in types and on those of its tenant.
func notificationFits(f *fault.Violations, d draft) error {
	types, err := declared(d.beside)
	if err != nil {
		return err
	}
	f.AddErr("", rules.Validate(d.next.(*configv1.Notification), table.Channels, types))
	return nil
}

// notificationBroken is the reason where a type is refused because of the notifications on it.
const notificationBroken = "NOTIFICATION_BROKEN"

// eventTypeFits adds what can't change, and the notifications that were right before and would be wrong.
func eventTypeFits(f *fault.Violations, d draft) error {
	next := d.next.(*configv1.EventType)
	before, exists := d.stored.(*configv1.EventType)
	if exists {
		if queueOf(before) != queueOf(next) {
			f.Add("queue", "must stay %s: declare another type", queueOf(before))
		}
		if before.GetSubscriber() != next.GetSubscriber() {
			f.Add("subscriber", "must stay as it is: declare another type")
		}
	}
	if f.Len() > 0 {
		return nil // it compiles to nothing
	}
	after, err := declared(d.beside, next)
	if err != nil {
		return err
	}
	var stood []*configv1.EventType
	if exists && d.action != actionUndelete {
		stood = append(stood, before)
	}
	was, err := declared(d.beside, stood...)
	if err != nil {
		return err
	}
	for _, v := range d.beside {
		if v.Kind != nameNotification {
			continue
		}
		n := &configv1.Notification{}
		if err := unmarshal(v, n); err != nil {
			return err
		}
		if err := rules.Validate(n, table.Channels, after); err != nil && rules.Validate(n, table.Channels, was) == nil {
			f.AddAs(notificationBroken, "", "%s would not be valid any more, change it first: %s", n.GetName(), fault.Detail(err))
		}
	}
	return othersFit(f, d.beside, next, stood)
}

// othersFit adds the resources of other kinds that were right before and would be wrong.
func othersFit(f *fault.Violations, beside []store.Version, next *configv1.EventType, stood []*configv1.EventType) error {
	for _, k := range kindsOnTypes() {
		for _, v := range beside {
			if v.Kind != k.Field {
				continue
			}
			on := k.New()
			if err := unmarshal(v, on); err != nil {
				return err
			}
			stored, err := eventTypesOf(beside)
			if err != nil {
				return err
			}
			var after, was fault.Violations
			k.ValidateTypes(on, append(stored, next), &after)
			k.ValidateTypes(on, append(stored, stood...), &was)
			if after.Len() > 0 && was.Len() == 0 {
				f.AddAs(k.Broken, "", "%s would not be valid any more, change it first: %s", on.GetName(), fault.Detail(after.Err(k.Broken)))
			}
		}
	}
	return nil
}

func queueOf(t *configv1.EventType) event.Queue {
	if t.GetQueue() == configv1.EventQueue_EVENT_QUEUE_UNORDERED {
		return event.Unordered
	}
	return event.Ordered
}

// eventTypeInUse refuses while a notification names the type, or names its entity that has no other type, and while a hook is on it.
func eventTypeInUse(ctx context.Context, q queries, name string, _ bool) error {
	gone := &configv1.EventType{Name: name}
	beside, err := besideEventType(ctx, q, gone)
	if err != nil {
		return err
	}
	types, err := declared(beside)
	if err != nil {
		return err
	}
	var by, others []string
	for _, v := range beside {
		if v.Kind == nameEventType {
			continue
		}
		if v.Kind != nameNotification {
			others = append(others, v.Name)
			continue
		}
		n := &configv1.Notification{}
		if err := unmarshal(v, n); err != nil {
			return err
		}
		if rules.Names(n, typeOf(gone)) || len(rules.TypesOf(n, types)) == 0 {
			by = append(by, v.Name)
		}
	}
	if len(by)+len(others) == 0 {
		return nil
	}
	refused := fault.New(fault.Conflict, "EVENT_TYPE_IN_USE", "%s is read by %s: change or delete that first", name, named(slices.Concat(by, others)))
	if len(by) > 0 {
		refused = refused.With("notifications", named(by))
	}
	if len(others) > 0 {
		refused = refused.With("hooks", named(others))
	}
	return refused
}

// namesOfTypes are the types of a tenant by their names alone, to count by.
func namesOfTypes(ctx context.Context, q queries, tenant string) (*rules.Types, error) {
	rows, err := q.List(ctx, nameEventType, tenant+"/", "", false, store.All)
	if err != nil {
		return nil, err
	}
	var types []*event.Type
	for _, row := range rows {
		name := row.Name[strings.LastIndexByte(row.Name, '/')+1:]
		types = append(types, &event.Type{Name: name, Entity: event.EntityOf(name)})
	}
	return rules.NewTypes(types...), nil
}
