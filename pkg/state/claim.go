package state

// Settlement is what stands under an idempotency key.
type Settlement struct {
	// State is how far the action of the key came.
	State ClaimState
	// Answer is what was decided; nil before.
	Answer []byte
}

// ClaimState is the state of an idempotency key.
type ClaimState uint8

const (
	// Claimed: the caller of this claim holds the key, and is the only one who may decide it.
	Claimed ClaimState = iota
	// Waiting: another holds it, and its time is not over.
	Waiting
	// Reused: it stands for another content.
	Reused
	// Decided: the answer stands; whether it was published is not known.
	Decided
	// Published: the answer stands, and its event is in the log.
	Published
	// Lost: whoever held it no longer does, and nothing is decided.
	Lost
)

// String is the state in lower case.
func (s ClaimState) String() string {
	return [...]string{"claimed", "waiting", "reused", "decided", "published", "lost"}[s]
}
