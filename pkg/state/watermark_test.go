package state

import (
	"errors"
	"strings"
	"testing"
)

func TestDecodeWatermark_RefusesTheFormatBefore(t *testing.T) {
	w := Watermark{Offset: 7, PublishedOffset: 7, Status: Ready, Address: "a:1"}
	b := w.Encode()
	if read, err := DecodeWatermark(b); err != nil || read.Offset != 7 || read.PublishedOffset != 7 {
		t.Fatalf("read back as %+v, %v", read, err)
	}
	b[len(w.Head())] = 3
	_, err := DecodeWatermark(b)
	if format, ok := errors.AsType[*FormatError](err); !ok || format.Has != 3 || format.Knows != 4 || !strings.Contains(err.Error(), "redis.prefix") {
		t.Errorf("format 3 is read with %v", err)
	}
}
