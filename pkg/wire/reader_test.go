package wire

import (
	"encoding/binary"
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestReader_ReadsWhatWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u, v := rapid.Uint64().Draw(t, "u"), rapid.Int64().Draw(t, "v")
		text, b := rapid.String().Draw(t, "text"), rapid.Byte().Draw(t, "byte")
		raw := binary.AppendVarint(binary.AppendUvarint(nil, u), v)
		raw = append(append(binary.AppendUvarint(raw, uint64(len(text))), text...), b)
		r := Reader{Rest: raw}
		if r.Uvarint() != u || r.Varint() != v || r.Text() != text || r.Byte() != b || !r.Done() {
			t.Fatalf("%x", raw)
		}
		short := Reader{Rest: raw[:rapid.IntRange(0, len(raw)-1).Draw(t, "short")]}
		short.Uvarint()
		short.Varint()
		short.Text()
		if short.Byte(); !short.Bad || short.Done() {
			t.Fatalf("%x is cut short", raw)
		}
	})
}

func TestReader_BadStaysBad(t *testing.T) {
	for name, read := range map[string]func(r *Reader){
		"too many bytes":               func(r *Reader) { r.Bytes(math.MaxUint64) },
		"more elements than bytes":     func(r *Reader) { r.Count() },
		"a number longer than it need": func(r *Reader) { *r = Reader{Rest: []byte{0x80, 0}}; r.Uvarint() },
	} {
		r := Reader{Rest: []byte{3, 1, 1}}
		if read(&r); !r.Bad || r.Uvarint() != 0 || r.Byte() != 0 || r.Bytes(1) != nil || r.Done() {
			t.Errorf("%s: %+v", name, r)
		}
	}
}
