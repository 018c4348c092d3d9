package reason

// Codes that more than one package gives, and those of invalid events.
const (
	// Panic is of an input that made a service panic.
	Panic = "PANIC"
	// BatchTooLarge and BatchDamaged are of record batches that can't be read.
	BatchTooLarge = "BATCH_TOO_LARGE"
	BatchDamaged  = "BATCH_DAMAGED"
	// KeysetUnreadable is of a keyset whose file can't be read again, SecretUnreadable of a secret that a keyset does not decrypt.
	KeysetUnreadable = "KEYSET_UNREADABLE"
	SecretUnreadable = "SECRET_UNREADABLE" //nolint:gosec // it is a reason
	// Stopping is of a call that a replica refuses because it stops, OutcomeUnknown of one that may have happened, Rebuilding
	// of one that nothing came of.
	Stopping       = "STOPPING"
	OutcomeUnknown = "OUTCOME_UNKNOWN"
	Rebuilding     = "REBUILDING"
	// PositionNotReached is of a read that asks for what is not worked yet.
	PositionNotReached = "POSITION_NOT_REACHED"
	// LogRecreated is of a log that is not the one that the state is of.
	LogRecreated = "LOG_RECREATED"
	// DeliveryUnreadable is of a record that is no delivery.
	DeliveryUnreadable = "DELIVERY_UNREADABLE"

	// APIKeyMissing and APIKeyUnknown are of calls that are not authenticated.
	APIKeyMissing = "API_KEY_MISSING"
	APIKeyUnknown = "API_KEY_UNKNOWN" //nolint:gosec // a code, and no key
	// APIKeyExpired is of a tenant's key past its expiry, APIKeyEnded of a stream whose key is no longer good for it.
	APIKeyExpired = "API_KEY_EXPIRED" //nolint:gosec // a code, and no key
	APIKeyEnded   = "API_KEY_ENDED"   //nolint:gosec // a code, and no key
	// ScopeRequired, TenantDenied, OperatorRequired and ServiceKeyRequired are of calls that their key may not make.
	ScopeRequired      = "SCOPE_REQUIRED"
	TenantDenied       = "TENANT_DENIED"
	OperatorRequired   = "OPERATOR_REQUIRED"
	ServiceKeyRequired = "SERVICE_KEY_REQUIRED"
	// ConfigInvalid is of a resource or a configuration file, RequestInvalid of a request with violations of several kinds.
	ConfigInvalid  = "CONFIG_INVALID"
	ConfigNotRead  = "CONFIG_NOT_READ"
	RequestInvalid = "REQUEST_INVALID"
	// NameInvalid is of a resource name.
	NameInvalid = "NAME_INVALID"
	// ScopeInvalid is of the scope of an option.
	ScopeInvalid = "SCOPE_INVALID"
	// IDReused: another event, or another call, under an id that was used.
	IDReused = "ID_REUSED"

	// Of subscribers, their classes of service and their options.
	SubscriberNotFound     = "SUBSCRIBER_NOT_FOUND"
	ClassOfServiceNotFound = "CLASS_OF_SERVICE_NOT_FOUND"
	ClassOfServiceUnknown  = "CLASS_OF_SERVICE_UNKNOWN"
	OptionNotOffered       = "OPTION_NOT_OFFERED"
	LimitRequired          = "LIMIT_REQUIRED"
	CurrencyMismatch       = "CURRENCY_MISMATCH"
	RenewalDayChanged      = "RENEWAL_DAY_CHANGED"
	RenewalDayOutOfRange   = "RENEWAL_DAY_OUT_OF_RANGE"

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
	// UnknownField: the data has a field that the type does not, and the tenant rejects those.
	UnknownField = "UNKNOWN_FIELD"
	// TypeUnverified: a type that is not built in, while the configuration that may have it does not answer.
	TypeUnverified = "TYPE_UNVERIFIED"
	// TypeReserved: only Tollgate publishes events of this type, or from this source.
	TypeReserved = "TYPE_RESERVED"
	// MediaTypeUnsupported: a content type that is not taken, whatever else is wrong.
	MediaTypeUnsupported = "MEDIA_TYPE_UNSUPPORTED"
	// AmountInvalid: an amount of money that is malformed or larger than can be counted.
	AmountInvalid = "AMOUNT_INVALID"
)
