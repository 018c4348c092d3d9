package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// object writes a JSON object whose keys keep the order in which they are given.
type object struct{ buf []byte }

func (o *object) key(name string) {
	if len(o.buf) == 0 {
		o.buf = append(o.buf, '{')
	} else {
		o.buf = append(o.buf, ',')
	}
	o.buf = appendString(o.buf, name)
	o.buf = append(o.buf, ':')
}

func (o *object) text(name, value string) {
	o.key(name)
	o.buf = appendString(o.buf, value)
}

func (o *object) raw(name string, value []byte) {
	o.key(name)
	o.buf = append(o.buf, value...)
}

// fields adds those of another object.
func (o *object) fields(of []byte) {
	inner := of[1 : len(of)-1]
	if len(inner) == 0 {
		return
	}
	if len(o.buf) == 0 {
		o.buf = append(o.buf, '{')
	} else {
		o.buf = append(o.buf, ',')
	}
	o.buf = append(o.buf, inner...)
}

func (o *object) end() []byte {
	if len(o.buf) == 0 {
		o.buf = append(o.buf, '{')
	}
	return append(o.buf, '}')
}

// appendString writes s as JSON with no escapes but those that JSON demands: encoding/json also escapes U+2028, and
// HTML. What is not UTF-8 becomes U+FFFD.
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for _, c := range s {
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', byte(c))
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\f':
			dst = append(dst, '\\', 'f')
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			if c < ' ' {
				dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xF])
				continue
			}
			dst = utf8.AppendRune(dst, c)
		}
	}
	return append(dst, '"')
}

// canonical writes JSON again without a space that isn't needed, with our escapes, keys in the order in which they came
// and numbers as they were written. protojson inserts spaces at random, so that nobody relies on its bytes; we do.
func canonical(loose []byte) ([]byte, error) {
	in := json.NewDecoder(bytes.NewReader(loose))
	in.UseNumber()
	out := make([]byte, 0, len(loose))
	// What is open, innermost last: how many elements it has, and whether it is an object.
	type level struct {
		object   bool
		elements int
	}
	var open []level
	for {
		t, err := in.Token()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read JSON again: %w", err)
		}
		if d, ok := t.(json.Delim); ok && (d == '}' || d == ']') {
			open = open[:len(open)-1]
			out = append(out, byte(d))
			continue
		}
		if n := len(open); n > 0 {
			at := &open[n-1]
			switch {
			case at.object && at.elements%2 == 1:
				out = append(out, ':')
			case at.elements > 0:
				out = append(out, ',')
			}
			at.elements++
		}
		switch t := t.(type) {
		case json.Delim:
			out = append(out, byte(t))
			open = append(open, level{object: t == '{'})
		case string:
			out = appendString(out, t)
		case json.Number:
			out = append(out, t...)
		case bool:
			out = fmt.Appendf(out, "%t", t)
		case nil:
			out = append(out, "null"...)
		}
	}
}
