package reason

// Codes that more than one package gives.
const (
	// Panic is of an input that made a service panic.
	Panic = "PANIC"
	// BatchTooLarge and BatchDamaged are of record batches that can't be read.
	BatchTooLarge = "BATCH_TOO_LARGE"
	BatchDamaged  = "BATCH_DAMAGED"
	// Stopping is of a call that a replica refuses because it stops.
	Stopping = "STOPPING"
)
