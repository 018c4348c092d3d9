package display

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"testing"
)

func TestWriter_EscapesWhatAffectsATerminal(t *testing.T) {
	const in = "a\x1b[2J\tb\nГрüße 世界🙂 \u202e\u200b \U000e0041 \xff\r\n"
	const want = "a\\u001b[2J\tb\nГрüße 世界🙂 \\u202e\\u200b \\udb40\\udc41 \\xff\\u000d\n"
	var out bytes.Buffer
	// The result is the same for every split into pieces.
	for size := 1; size <= len(in); size++ {
		out.Reset()
		w := NewWriter(&out)
		for at := 0; at < len(in); at += size {
			piece := in[at:min(at+size, len(in))]
			if n, err := w.Write([]byte(piece)); n != len(piece) || err != nil {
				t.Fatalf("%d, %v", n, err)
			}
		}
		if got := out.String(); got != want {
			t.Errorf("in pieces of %d: %q", size, got)
		}
	}
	name := "x\u202e\x7f\U000e0041"
	out.Reset()
	if err := json.NewEncoder(NewWriter(&out)).Encode(name); err != nil {
		t.Fatal(err)
	}
	var back string
	if err := json.Unmarshal(out.Bytes(), &back); err != nil || back != name {
		t.Errorf("JSON is read as %q: %v", back, err)
	}
	broken := NewWriter(failing{})
	if _, err := broken.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("%v", err)
	}
	if broken.Unwrap() != (failing{}) {
		t.Error("it does not have what it writes to")
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
