package stream

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
	fetchVersion   = 11
	produceVersion = 8
)

var (
	errBrokerTooOld = errors.New("broker does not speak the versions of fetch and produce requests that are needed")
	errWire         = errors.New("answer is not what its version says")
)

// maxAnswer bounds what is allocated on the word of an answer's length.
const maxAnswer = 256 << 20

// exchange is a request that knows its own bytes. broker is who is asked; -1
// asks whoever leads the first partition.
type exchange struct {
	broker    int32
	key       protocol.ApiKey
	version   int16
	clientID  string
	topic     string // of the first partition
	partition int32
	// body appends the request after its header.
	body func(b []byte) []byte
}

// answer is what came back, after its header.
type answer struct {
	key  protocol.ApiKey
	body []byte
}

var (
	_ protocol.BrokerMessage = (*exchange)(nil)
	_ protocol.RawExchanger  = (*exchange)(nil)
)

// ApiKey implements protocol.Message.
func (e *exchange) ApiKey() protocol.ApiKey { return e.key } //nolint:staticcheck // kafka-go's name

// ApiKey implements protocol.Message.
func (a *answer) ApiKey() protocol.ApiKey { return a.key } //nolint:staticcheck // kafka-go's name

// Broker implements protocol.BrokerMessage.
func (e *exchange) Broker(cluster protocol.Cluster) (protocol.Broker, error) {
	none := protocol.Broker{ID: -1}
	id := e.broker
	if id < 0 {
		topic, ok := cluster.Topics[e.topic]
		if !ok {
			return none, protocol.NewErrNoTopic(e.topic)
		}
		partition, ok := topic.Partitions[e.partition]
		if !ok {
			return none, protocol.NewErrNoPartition(e.topic, e.partition)
		}
		id = partition.Leader
	}
	if b, ok := cluster.Brokers[id]; ok {
		return b, nil
	}
	return none, protocol.NewErrNoLeader(e.topic, e.partition)
}

// Required implements protocol.RawExchanger: always.
func (e *exchange) Required(versions map[protocol.ApiKey]int16) bool {
	if versions[e.key] != e.version {
		e.body = nil
	}
	return true
}

// buffers of requests; one is back when its request was written.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// keepBuffer bounds what an idle buffer holds.
const keepBuffer = 2 << 20

// RawExchange implements protocol.RawExchanger. kafka-go gives a connection to
// one request at a time, and has set its deadline.
func (e *exchange) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	if e.body == nil {
		return nil, errBrokerTooOld
	}
	const correlation = 1 // one request at a time
	buf, _ := buffers.Get().(*[]byte)
	b := append((*buf)[:0], 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(e.key))
	b = binary.BigEndian.AppendUint16(b, uint16(e.version))
	b = binary.BigEndian.AppendUint32(b, correlation)
	b = appendString(b, e.clientID)
	b = e.body(b)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	_, err := rw.Write(b)
	if *buf = b; cap(b) <= keepBuffer {
		buffers.Put(buf)
	}
	if err != nil {
		return nil, fmt.Errorf("write request: %w", err)
	}
	var head [8]byte
	if _, err := io.ReadFull(rw, head[:]); err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	size := int64(binary.BigEndian.Uint32(head[:])) - 4
	if size < 0 || size > maxAnswer || binary.BigEndian.Uint32(head[4:]) != correlation {
		return nil, fmt.Errorf("read answer: %w", errWire)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(rw, body); err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	return &answer{e.key, body}, nil
}

func appendString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

// wireReader takes fields off an answer. Once one does not fit, everything
// later is zero and bad is set.
type wireReader struct {
	b   []byte
	bad bool
}

func (r *wireReader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.bad, r.b = true, nil
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *wireReader) int16() int16 {
	if b := r.take(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (r *wireReader) int32() int32 {
	if b := r.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (r *wireReader) int64() int64 {
	if b := r.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

// string shares memory with the answer's; nil for null.
func (r *wireReader) string() []byte {
	if n := r.int16(); n >= 0 {
		return r.take(int(n))
	}
	return nil
}

// bytes are nil for null.
func (r *wireReader) bytes() []byte {
	if n := r.int32(); n >= 0 {
		return r.take(int(n))
	}
	return nil
}

// count of what follows, each taking a byte at least; 0 for null.
func (r *wireReader) count() int {
	n := int(r.int32())
	if n > len(r.b) {
		r.bad, r.b = true, nil
	}
	if r.bad {
		return 0
	}
	return max(0, n)
}

// byTopic appends partitions, neighbours of one topic under one name.
func byTopic[P any](b []byte, all []P, topic func(*P) string, each func(b []byte, p *P) []byte) []byte {
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
		b = appendString(b, topic(&all[i]))
		b = binary.BigEndian.AppendUint32(b, uint32(n))
		for ; n > 0; n-- {
			b = each(b, &all[i])
			i++
		}
	}
	return b
}

// errorOf turns a code of an answer into an error; nil for 0.
func errorOf(code int16, message []byte) error {
	if code == 0 {
		return nil
	}
	err := kafka.Error(code)
	if len(message) > 0 {
		return fmt.Errorf("%w: %s", err, message)
	}
	return err
}
