package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// Fetch and produce requests are written and read here, over kafka-go's
// connections: its own take one partition each, and read records byte by byte.
// Versions are those kafka-go speaks too; every broker since Kafka 2.4 does.
const (
	FetchVersion   = 11
	ProduceVersion = 8
)

var (
	errBrokerTooOld = errors.New("broker does not speak the versions of fetch and produce requests that are needed")
	// ErrWire is an answer that does not have the fields of its version.
	ErrWire = errors.New("answer is not of its version's form")
	// ErrNotNamed is an answer that lacks a partition it was asked about.
	ErrNotNamed = errors.New("answer does not name the partition")
)

// maxAnswer bounds what is allocated on the word of an answer's length.
const maxAnswer = 256 << 20

// Request is a request that knows its own bytes.
type Request struct {
	// To is the broker that is asked; -1 for the leader of the first partition.
	To        int32
	Key       protocol.ApiKey
	Version   int16
	ClientID  string
	Topic     string // of the first partition
	Partition int32
	// Body appends the request after its header.
	Body func(b []byte) []byte
}

// Answer is what came back.
type Answer struct {
	key protocol.ApiKey
	// Body follows the header.
	Body []byte
}

var (
	_ protocol.BrokerMessage = (*Request)(nil)
	_ protocol.RawExchanger  = (*Request)(nil)
)

// ApiKey implements protocol.Message.
func (e *Request) ApiKey() protocol.ApiKey { return e.Key } //nolint:staticcheck // kafka-go's name

// ApiKey implements protocol.Message.
func (a *Answer) ApiKey() protocol.ApiKey { return a.key } //nolint:staticcheck // kafka-go's name

// Broker implements protocol.BrokerMessage.
func (e *Request) Broker(cluster protocol.Cluster) (protocol.Broker, error) {
	none := protocol.Broker{ID: -1}
	id := e.To
	if id < 0 {
		topic, ok := cluster.Topics[e.Topic]
		if !ok {
			return none, protocol.NewErrNoTopic(e.Topic)
		}
		partition, ok := topic.Partitions[e.Partition]
		if !ok {
			return none, protocol.NewErrNoPartition(e.Topic, e.Partition)
		}
		id = partition.Leader
	}
	if b, ok := cluster.Brokers[id]; ok {
		return b, nil
	}
	return none, protocol.NewErrNoLeader(e.Topic, e.Partition)
}

// Required implements protocol.RawExchanger: always.
func (e *Request) Required(versions map[protocol.ApiKey]int16) bool {
	if versions[e.Key] != e.Version {
		e.Body = nil
	}
	return true
}

// buffers of requests and batches; one is back when its bytes were written or copied.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// maxBuffer bounds what an idle buffer holds.
const maxBuffer = 2 << 20

// Buffer is one for the bytes of a request or a batch.
func Buffer() *[]byte {
	buf, _ := buffers.Get().(*[]byte)
	return buf
}

// KeepBuffer takes a buffer back with the bytes it has become, which nothing uses any more.
func KeepBuffer(buf *[]byte, b []byte) {
	if *buf = b; cap(b) <= maxBuffer {
		buffers.Put(buf)
	}
}

// RawExchange implements protocol.RawExchanger. kafka-go gives a connection to
// one request at a time, and has set its deadline.
func (e *Request) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	if e.Body == nil {
		return nil, errBrokerTooOld
	}
	const correlation = 1 // one request at a time
	buf := Buffer()
	b := append((*buf)[:0], 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(e.Key))
	b = binary.BigEndian.AppendUint16(b, uint16(e.Version))
	b = binary.BigEndian.AppendUint32(b, correlation)
	b = AppendString(b, e.ClientID)
	b = e.Body(b)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	_, err := rw.Write(b)
	KeepBuffer(buf, b)
	if err != nil {
		return nil, fmt.Errorf("write request: %w", err)
	}
	var head [8]byte
	if _, err := io.ReadFull(rw, head[:]); err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	size := int64(binary.BigEndian.Uint32(head[:])) - 4
	if size < 0 || size > maxAnswer || binary.BigEndian.Uint32(head[4:]) != correlation {
		return nil, fmt.Errorf("read answer: %w", ErrWire)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(rw, body); err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	return &Answer{e.Key, body}, nil
}

// AppendString appends a string with its length.
func AppendString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

// Fields takes fields off an answer. Once one does not fit, everything
// later is zero and Bad is set.
type Fields struct {
	b   []byte
	Bad bool
}

// FieldsOf is at the beginning of an answer's body.
func FieldsOf(body []byte) Fields { return Fields{b: body} }

func (r *Fields) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.Bad, r.b = true, nil
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

// Int16 is the next field.
func (r *Fields) Int16() int16 {
	if b := r.take(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

// Int32 is the next field.
func (r *Fields) Int32() int32 {
	if b := r.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

// Int64 is the next field.
func (r *Fields) Int64() int64 {
	if b := r.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

// String shares memory with the answer's; nil for null.
func (r *Fields) String() []byte {
	if n := r.Int16(); n >= 0 {
		return r.take(int(n))
	}
	return nil
}

// Bytes are nil for null.
func (r *Fields) Bytes() []byte {
	if n := r.Int32(); n >= 0 {
		return r.take(int(n))
	}
	return nil
}

// Count of what follows, each taking a byte at least; 0 for null.
func (r *Fields) Count() int {
	n := int(r.Int32())
	if n > len(r.b) {
		r.Bad, r.b = true, nil
	}
	if r.Bad {
		return 0
	}
	return max(0, n)
}

// ByTopic appends partitions, neighbours of one topic under one name.
func ByTopic[P any](b []byte, all []P, topic func(*P) string, each func(b []byte, p *P) []byte) []byte {
	topics := 0
	for i := range all {
		if i == 0 || topic(&all[i]) != topic(&all[i-1]) {
			topics++
		}
	}
	b = binary.BigEndian.AppendUint32(b, uint32(topics))
	for i := 0; i < len(all); {
		n := 1
		for i+n < len(all) && topic(&all[i+n]) == topic(&all[i]) {
			n++
		}
		b = AppendString(b, topic(&all[i]))
		b = binary.BigEndian.AppendUint32(b, uint32(n))
		for ; n > 0; n-- {
			b = each(b, &all[i])
			i++
		}
	}
	return b
}

// ErrorOf turns a code of an answer into an error; nil for 0.
func ErrorOf(code int16, message []byte) error {
	if code == 0 {
		return nil
	}
	err := kafka.Error(code)
	if len(message) > 0 {
		return fmt.Errorf("%w: %s", err, message)
	}
	return err
}
