package script

import (
	"testing"
	"time"
)

// On a busy machine the reader comes after its deadline; the pipe is held open by a process that left the script's group.
func TestPipe_WhatWasWrittenIsReadBehindTheDeadline(t *testing.T) {
	for written, want := range map[string]string{"": "", "{}": "{}", "0123456789abcdef": "0123456789a"} {
		p, to, err := newPipe(10)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := to.WriteString(written); err != nil {
			t.Fatal(err)
		}
		if err := p.from.SetReadDeadline(time.Now().Add(-time.Second)); err != nil {
			t.Fatal(err)
		}
		p.read()
		if got := string(p.end()); got != want {
			t.Errorf("of %q %q is read", written, got)
		}
		if err := to.Close(); err != nil {
			t.Error(err)
		}
	}
}
