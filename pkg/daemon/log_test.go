package daemon

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/display"
)

func TestNewLogger_EscapesAndBoundsTexts(t *testing.T) {
	var out bytes.Buffer
	log, err := NewLogger("ingest", "info", &out)
	if err != nil {
		t.Fatal(err)
	}
	hostile := "a\x1b[2J\u202eb\n" + strings.Repeat("世", 100_000)
	names := make([]string, 100_000)
	for i := range names {
		names[i] = hostile[:12]
	}
	log.With(zap.String("source", hostile)).Error("call failed",
		zap.String("name", hostile), zap.Error(fmt.Errorf("no subscriber 447700900012: %w", errors.New(hostile))),
		zap.Strings("fields", names), zap.Any("panic", map[string]string{"x": hostile}), zap.ByteString("stack", []byte(hostile)),
		zap.Stringer("subject", display.Subject("447700900012")), zap.Stringer("none", (*bytes.Buffer)(nil)),
		zap.Int64("offset", 447700900012), zap.String("error_at", "offset 1234567"), zap.String("detail", "offset 1234567 has 49151"), zap.Any("of", fmt.Errorf("no 49151")),
		zap.String("why", "49151 asked for it"), zap.Any("who", "no 49151"), zap.NamedError("cause", nil))
	line := out.String()
	if len(line) > 64<<10 || strings.Count(line, "\n") != 1 {
		t.Errorf("the line has %d bytes", len(line))
	}
	var fields map[string]any
	if err := json.Unmarshal([]byte(line), &fields); err != nil {
		t.Fatal(err)
	}
	for name, value := range fields {
		text := fmt.Sprint(value)
		if strings.ContainsAny(text, "\x1b\u202e") || strings.Contains(text, "subscriber 4477009") || strings.Contains(text, "49151") {
			t.Errorf("%s is %.100q", name, text)
		}
	}
	if fields["subject"] != "4477••••••12" || fields["error_at"] != "offset 1234567" || fields["offset"] != 447700900012.0 || fields["detail"] != "offset 1234567 has ••••••" {
		t.Errorf("%v", fields)
	}
	if list := fields["fields"].([]any); len(list) != 51 || list[50] != "and 99950 more" {
		t.Errorf("%d fields, %v", len(list), list[50])
	}
}
