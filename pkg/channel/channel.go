package channel

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/template"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// Channel is one way to notify recipients.
type Channel struct {
	// Name of the channel is also the name of its service and of its field in the oneof of an action.
	Name string
	// Topic of its deliveries, without the prefix; empty for a channel without a service, whose actions are Published.
	Topic string
	// Target is the kind of resource that its deliveries go to; nil for a channel without a service.
	Target *Kind
	// NoContact is why a template must not use a contact token, as the end of a sentence. It is empty for a channel that
	// reaches people by their contact data.
	NoContact string
	// Unordered: deliveries have an order only where the action asks for it; else they have one where all its types do.
	Unordered bool
	// DefaultTarget is the resource name of the target of actions that name none; empty where the tenant has none. Nil for
	// a channel whose actions name theirs.
	DefaultTarget func(t *configv1.Tenant) string
	// BuiltIn are notifications of every tenant that has a DefaultTarget. The name of each is its code alone, which none that
	// is stored can have.
	BuiltIn []*configv1.Notification
	// Decode reads the channel's field of an action.
	Decode func(field proto.Message) Action
}

// Action is the channel's part of a notification's action.
type Action interface {
	// Target is the resource name of the target; empty for the channel's DefaultTarget. The target carries the limits; its
	// name is the key of the deliveries.
	Target() string
	// Validate adds what is wrong with the action to f. Fields are relative to the channel's field.
	Validate(tenant string, f *fault.Violations)
	// Texts are the templates of the action beside its parameters, the same at every call. They are validated with the rest.
	Texts() []Text
	// Recipients are those of one event; each gets a delivery of its own. target is the resource name of the target.
	Recipients(o Occasion, target string) Recipients
	// Render makes the message for one recipient. The same arguments give the same bytes.
	Render(o Occasion, to Planning, recipient Recipient, at Position) (Message, error)
}

// Published is an action of a channel without a service. Its messages are records for a topic of the tenant, which the
// planner publishes itself.
type Published interface {
	Action
	// Topic is the full name.
	Topic() string
	// Planning is what planning would read of a target.
	Planning() Planning
}

// Served reports that a service sends the channel's deliveries.
func (c *Channel) Served() bool { return c.Target != nil }

// TargetField is the field in the channel's part of an action that has its target.
func (c *Channel) TargetField() string {
	if c.Target == nil {
		return c.Name
	}
	return c.Target.Field
}

// Text is a template of an action.
type Text struct {
	// Field is its path in the channel's field.
	Field    string
	Template string
	Escape   template.Escape
	// Most bytes that the template may have; 0 for template.MaxSource.
	Most int
}

// Recipients are those of one action for one event. An action that has none, and none that is invalid, notifies nobody.
type Recipients struct {
	To []Recipient
	// Invalid counts those that are left out since they can't be reached at all; Why is of the first, without the value.
	Invalid int
	Why     error
}

// Recipient is the receiver of one delivery.
type Recipient struct {
	// ID differs between the recipients of an action, and is a part of the delivery's id.
	ID string
	// OrderingKey: deliveries with one key are sent in order, of one topic and subject. It is unique over all channels.
	OrderingKey string
	// Address that the delivery is for; empty where the target is all there is. Deliveries of one target to different
	// addresses have no order between them.
	Address string
	// Zone is the recipient's own; nil where it is not known.
	Zone *time.Location
	// Of is the channel's own.
	Of any
}

// User is a person of the tenant.
type User struct {
	// Name is the resource name.
	Name                 string
	DisplayName, Address string
	// Language is a tag of BCP 47; may be empty.
	Language string
	// Zone is that of the user, else the tenant's; never nil. OwnZone reports that it is the user's.
	Zone    *time.Location
	OwnZone bool
}

// Position is the place of a delivery among those of its ordering key; zero where there is no order.
type Position struct {
	// Sequence counts from 1.
	Sequence int64
	// Previous is the id of the delivery before; empty for the first.
	Previous string
}

// Message is what a delivery carries: the same bytes at every attempt.
type Message struct {
	ContentType string
	Body        []byte
	// Key of the record that a message for a topic becomes; nil for none.
	Key []byte
	// Headers are what the form of the message demands beside, in order. One without a value is made when it is sent.
	Headers []Header
}

// Header is one of a message.
type Header struct{ Name, Value string }

// Occasion is an event that fires an action, as rendering sees it.
type Occasion interface {
	Event() *event.Event
	// Notification is the code of the notification.
	Notification() string
	// Firing is what fires of a notification that keeps a state: a threshold, a direction such as "depleted", the due time of a
	// timer; empty where each event does.
	Firing() string
	// Parameters are those of the action with their texts, in order. Tokens above the audience are empty.
	Parameters(a Audience) ([]Parameter, error)
	// Text is that of one of the action's Texts, by its number. Tokens above the audience are empty.
	Text(i int, a Audience, r template.Reader) (string, error)
	// Reader is one of whom nothing is known but what the event holds: its language, and the tenant's zone.
	Reader() template.Reader
	// Users are those of the tenant with a role, by name.
	Users(role string) []User
	// LegalNotice: the law demands the message.
	LegalNotice() bool
	// Once returns what made returns, and calls it once per event and key: deliveries of one event share it.
	Once(key any, made func() any) any
}

// Parameter is a name and its rendered text.
type Parameter struct{ Name, Text string }

// Audience is which data a message may carry. A higher one includes those below.
type Audience uint8

const (
	// Public is data that is not about a person.
	Public Audience = iota
	// Personal includes fields marked personal.
	Personal
	// Contact includes addresses and numbers at which a person is reached.
	Contact
)

// MaxBody is the largest body that is planned, in bytes.
const MaxBody = template.MaxRendered

// ErrTooLarge is returned where a body would be larger than MaxBody.
var ErrTooLarge = template.ErrTooLarge
