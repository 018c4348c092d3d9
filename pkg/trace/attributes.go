package trace

import "go.opentelemetry.io/otel/attribute"

// Names of attributes: OpenTelemetry's where it has one. None holds a subject, an address or a text of a receiver.
const (
	Topic      = "messaging.destination.name"
	Partition  = "messaging.destination.partition.id"
	Offset     = "messaging.kafka.offset"
	Transport  = "tollgate.transport"
	Outcomes   = "tollgate.outcomes"
	HTTPStatus = "http.response.status_code"
	Reply      = "tollgate.reply_code"
	ErrorType  = "error.type"

	Delivery     = "tollgate.delivery"
	Attempt      = "tollgate.attempt"
	Notification = "tollgate.notification"
	Endpoint     = "tollgate.endpoint"
	Hook         = "tollgate.hook"
	Stage        = "tollgate.stage"
	Changes      = "tollgate.changes"
	Decision     = "tollgate.decision"
)

// OfEvent names an event without its subject, which is a person's number more often than not.
func OfEvent(tenant, typ, source, id string) []attribute.KeyValue {
	return append(make([]attribute.KeyValue, 0, 8),
		attribute.String("tollgate.tenant", tenant), attribute.String("cloudevents.event_type", typ),
		attribute.String("cloudevents.event_source", source), attribute.String("cloudevents.event_id", id))
}
