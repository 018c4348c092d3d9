package reason

// Codes that more than one package gives, and those of invalid events.
const (
	// Panic is of an input that made a service panic.
	Panic = "PANIC"
	// BatchTooLarge and BatchDamaged are of record batches that can't be read.
	BatchTooLarge = "BATCH_TOO_LARGE"
	BatchDamaged  = "BATCH_DAMAGED"
	// Stopping is of a call that a replica refuses because it stops.
	Stopping = "STOPPING"

	// EventInvalid: a field of the envelope or of the data is missing, too long or not what it must be; or violations of
	// more than one of the codes below.
	EventInvalid = "EVENT_INVALID"
	// Undecodable: the bytes are not of the form they claim.
	Undecodable = "UNDECODABLE"
	// TooLarge: more bytes than are taken.
	TooLarge = "TOO_LARGE"
	// UnknownType: the catalog has no such type.
	UnknownType = "UNKNOWN_TYPE"
	// UnknownTenant: there is no such tenant.
	UnknownTenant = "UNKNOWN_TENANT"
	// UnknownData: the data is a message that events do not carry.
	UnknownData = "UNKNOWN_DATA"
	// TypeReserved: only Tollgate publishes events of this type, or from this source.
	TypeReserved = "TYPE_RESERVED"
	// MediaTypeUnsupported: a content type that is not taken, whatever else is wrong.
	MediaTypeUnsupported = "MEDIA_TYPE_UNSUPPORTED"
	// AmountInvalid: an amount of money that is malformed or larger than can be counted.
	AmountInvalid = "AMOUNT_INVALID"
)
