package trace

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io"

	"go.opentelemetry.io/otel/trace"
)

// SpanID is the id of a span.
type SpanID = trace.SpanID

// Parent is what a sampled traceparent names: a trace, and the span in it that comes before. Its zero span begins a trace.
type Parent struct {
	trace trace.TraceID
	span  trace.SpanID
	flags byte
}

// Places in a traceparent: version, trace id, span id, flags.
const (
	atTrace = 3
	atSpan  = 36
	atFlags = 53
	length  = 55
)

// sampled is the flag, as in the last hexadecimal digit.
const sampled = 1

// parse reads a traceparent with the sampled flag; false for any other.
func parse(traceparent string) (p Parent, ok bool) {
	// Most have no flag: they are known by one byte.
	if len(traceparent) < length || digit(traceparent[length-1])&sampled == 0 {
		return Parent{}, false
	}
	if len(traceparent) > length && traceparent[length] != '-' {
		return Parent{}, false
	}
	var flags [1]byte
	if !unhex(p.trace[:], traceparent[atTrace:]) || !unhex(p.span[:], traceparent[atSpan:]) || !unhex(flags[:], traceparent[atFlags:]) {
		return Parent{}, false
	}
	p.flags = flags[0]
	return p, p.trace.IsValid() && p.span.IsValid()
}

func digit(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	}
	return 0
}

func unhex(dst []byte, text string) bool {
	for i := range dst {
		for _, c := range []byte{text[2*i], text[2*i+1]} {
			if digit(c) == 0 && c != '0' {
				return false
			}
			dst[i] = dst[i]<<4 | digit(c)
		}
	}
	return true
}

// Before is the traceparent of what follows the span of this id.
func (p Parent) Before(id SpanID) string {
	b := make([]byte, 0, length)
	b = append(b, "00-"...)
	b = hex.AppendEncode(b, p.trace[:])
	b = append(b, '-')
	b = hex.AppendEncode(b, id[:])
	b = append(b, '-')
	b = hex.AppendEncode(b, []byte{p.flags})
	return string(b)
}

// Span is the id of the span before, zero where there is none.
func (p Parent) Span() SpanID { return p.span }

// Of is the same trace after another span.
func (p Parent) Of(span SpanID) Parent {
	p.span = span
	return p
}

// derive is the id of the span of a stop: the same for the same traceparent and parts.
func (p Parent) derive(stop string, parts ...string) (id SpanID) {
	sum := hash(stop, append([]string{string(p.trace[:]), string(p.span[:])}, parts...))
	copy(id[:], sum[:])
	if !id.IsValid() {
		id[0] = 1
	}
	return id
}

// hash is SHA-256 over texts, each after its length.
func hash(first string, parts []string) (sum [sha256.Size]byte) {
	h := sha256.New()
	write := func(part string) {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(part)))
		h.Write(size[:])
		_, _ = io.WriteString(h, part) // a hash never fails
	}
	write(first)
	for _, part := range parts {
		write(part)
	}
	h.Sum(sum[:0])
	return sum
}

// NewSpanID is drawn at random: for what no record repeats.
func NewSpanID() (id SpanID) {
	_, _ = rand.Read(id[:]) // it never fails
	if !id.IsValid() {
		id[0] = 1
	}
	return id
}
