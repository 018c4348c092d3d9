package display

import (
	"bytes"
	"io"
	"unicode/utf8"
)

// Writer writes to a terminal: newlines and tabs stay; everything else that has an effect on a terminal becomes the
// escape that JSON, double-quoted YAML and Go share. It is for one goroutine at a time.
type Writer struct {
	out io.Writer
	// rest is the beginning of a rune whose end has not arrived.
	rest []byte
}

// NewWriter writes to out.
func NewWriter(out io.Writer) *Writer { return &Writer{out: out} }

// Unwrap is the underlying writer, for code that draws on a terminal.
func (w *Writer) Unwrap() io.Writer { return w.out }

// Write implements io.Writer.
func (w *Writer) Write(p []byte) (int, error) {
	text := p
	if len(w.rest) > 0 {
		text = append(w.rest, p...)
		w.rest = nil
	}
	var b []byte
	from := 0
	for at := 0; at < len(text); {
		r, size := utf8.DecodeRune(text[at:])
		if r == utf8.RuneError && size == 1 && !utf8.FullRune(text[at:]) {
			w.rest = bytes.Clone(text[at:])
			text = text[:at]
			break
		}
		if r == '\n' || r == '\t' || r != utf8.RuneError && !hasEffect(r) || r == utf8.RuneError && size > 1 {
			at += size
			continue
		}
		b = append(b, text[from:at]...)
		b = append(b, escape(r, text[at:at+size])...)
		at += size
		from = at
	}
	if b == nil {
		b = text
	} else {
		b = append(b, text[from:]...)
	}
	if _, err := w.out.Write(b); err != nil {
		return 0, err
	}
	return len(p), nil
}

// escape is the escape of a rune that has an effect, or of a byte that is not part of a rune.
func escape(r rune, raw []byte) []byte {
	switch {
	case r == utf8.RuneError:
		return []byte{'\\', 'x', hex[raw[0]>>4], hex[raw[0]&15]}
	case r <= 0xffff:
		return []byte{'\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15]}
	}
	r -= 0x10000
	return append(escape(0xd800+r>>10, nil), escape(0xdc00+r&0x3ff, nil)...)
}

// Shown reports that s is shown as it is, on one line.
func Shown(s string) bool { return plain(s) }
