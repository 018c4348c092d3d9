package stream

import (
	"time"

	"github.com/tollgate/tollgate/pkg/stream/internal/cluster"
	"github.com/tollgate/tollgate/pkg/stream/internal/codec"
	"github.com/tollgate/tollgate/pkg/stream/internal/consume"
	"github.com/tollgate/tollgate/pkg/stream/internal/produce"
)

// Records and what is read.
type (
	// Record is one record, read or to be written.
	Record = codec.Record
	// Header is one header of a record.
	Header = codec.Header
	// Batch is what one fetch brought.
	Batch = codec.Batch
	// DamagedError is a record batch that can't be read.
	DamagedError = codec.DamagedError
)

// Producing.
type (
	// Producer appends records with acks=all.
	Producer = produce.Producer
	// ProducerOption changes a Producer from its defaults.
	ProducerOption = produce.Option
	// ProduceResult is where a record was appended, or why not.
	ProduceResult = produce.Result
	// ProduceError is why one record of a Produce call was not acknowledged.
	ProduceError = produce.Error
)

// Consuming.
type (
	// GroupConfig describes one consumer group of this process.
	GroupConfig = consume.GroupConfig
	// Claim is one partition held by this member for one generation of its group.
	Claim = consume.Claim
	// FetchOptions bound one fetch.
	FetchOptions = consume.FetchOptions
	// Reader reads a claim's partition ahead of its worker.
	Reader = consume.Reader
	// Fetched is one batch a Reader brought, or why it stopped.
	Fetched = consume.Fetched
	// Position is what a group committed for a partition.
	Position = consume.Position
	// OutOfRangeError means that the log does not hold the offset asked for.
	OutOfRangeError = consume.OutOfRangeError
)

// Health and incidents.
type (
	// Health is what waits, and which incidents need a person, right now.
	Health = cluster.Health
	// Waiting is one partition (or group) that waits.
	Waiting = cluster.Waiting
	// Incident is a state that needs a person.
	Incident = cluster.Incident
)

// AnyPartition as a record's partition lets its key decide.
const AnyPartition = codec.AnyPartition

// Codes of incidents this package raises, beside the reasons of a DamagedError.
const (
	IncidentOutOfRange = consume.IncidentOutOfRange
	IncidentStuck      = consume.IncidentStuck
)

// Errors of producing.
var (
	// ErrUnknown marks a record that may or may not be appended: its context ended while it was
	// waiting or on its way. Produce it again under the same id.
	ErrUnknown = produce.ErrUnknown
	// ErrTimestampAhead is the broker's refusal of a record stamped ahead of its clock (error 32).
	// It is ours to fix: this machine's clock or the broker's is wrong.
	ErrTimestampAhead = produce.ErrTimestampAhead
	// ErrTooLarge marks a record larger than the topic takes.
	ErrTooLarge = produce.ErrTooLarge
	// ErrInvalidRecord marks a record that the topic's settings refuse, such as one without a key where it is compacted.
	ErrInvalidRecord = produce.ErrInvalidRecord
	// ErrClosed means the producer was closed before the record was sent.
	ErrClosed = produce.ErrClosed
	// ErrUnknownTopic means the topic or partition does not exist.
	ErrUnknownTopic = cluster.ErrUnknownTopic
	// ErrNotAuthorized means that access control does not allow it.
	ErrNotAuthorized = cluster.ErrNotAuthorized
)

// Errors of consuming.
var (
	// ErrNotMonotonic refuses a commit below what was committed before.
	ErrNotMonotonic = consume.ErrNotMonotonic
	// ErrRevoked means the claim no longer belongs to this member, or is about to go.
	ErrRevoked = consume.ErrRevoked
	// ErrRejoin, returned by a partition's work, makes the member drain and rejoin the group.
	ErrRejoin = consume.ErrRejoin
	// ErrStuck ends Consume: a partition's work made no progress within the watchdog's time.
	ErrStuck = consume.ErrStuck
)

// MaxBatch bounds what goes into one request, before compression. Topics of
// Tollgate take 2 MiB a batch; default 900 KiB, which any topic takes.
func MaxBatch(bytes int) ProducerOption { return produce.MaxBatch(bytes) }

// MaxRecord refuses larger records before they are sent: a broker answers a
// request beyond its own bound by closing the connection, which looks temporary.
// Default 8 MiB.
func MaxRecord(bytes int) ProducerOption { return produce.MaxRecord(bytes) }

// UnknownTopicAfter is how long a topic or partition may be unknown to the
// broker before its records fail with ErrUnknownTopic. Default 10 s.
func UnknownTopicAfter(d time.Duration) ProducerOption { return produce.UnknownTopicAfter(d) }

// PartitionOf returns the partition that Java's default partitioner gives a key.
func PartitionOf(key []byte, partitions int) int32 { return produce.PartitionOf(key, partitions) }
