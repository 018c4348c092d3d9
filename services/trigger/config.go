package trigger

// Domains of the trigger's state, one for each log it reads.
const (
	DomainOrdered    = "trigger-ordered"
	DomainSafeguards = "trigger-safeguards"
	DomainUnordered  = "trigger-unordered"
)
