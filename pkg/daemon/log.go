package daemon

import (
	"fmt"
	"io"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/tollgate/tollgate/pkg/display"
)

// NewLogger writes JSON lines to w from level on: time (UTC, RFC 3339 with ms), level, message, service, fields in
// snake_case. No text in a line contains terminal control characters or is longer than maxText; errors name no
// subscriber.
func NewLogger(name, level string, w io.Writer) (*zap.Logger, error) {
	from, err := zapcore.ParseLevel(level)
	if err != nil {
		return nil, err
	}
	encoder := zapcore.NewJSONEncoder(zapcore.EncoderConfig{
		TimeKey: "time", LevelKey: "level", MessageKey: "message",
		EncodeLevel:    zapcore.LowercaseLevelEncoder,
		EncodeDuration: zapcore.StringDurationEncoder,
		EncodeTime: func(t time.Time, enc zapcore.PrimitiveArrayEncoder) {
			enc.AppendString(t.UTC().Format("2006-01-02T15:04:05.000Z07:00"))
		},
	})
	core := zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(w)), from)
	return zap.New(legible{core}).With(zap.String("service", name)), nil
}

const (
	// maxText bounds one text of a line, and maxTexts the number of texts in a list.
	maxText  = 4 << 10
	maxTexts = 50
)

// free are the fields whose texts are sentences, in which what callers sent may stand; so are errors under any name. Ids,
// names and codes are written whole: a person looks for them.
var free = map[string]bool{"error": true, "detail": true, "why": true, "who": true, "cause": true, "panic": true}

// legible is a core that escapes and bounds the texts in the fields of its lines.
type legible struct{ zapcore.Core }

func (l legible) With(fields []zapcore.Field) zapcore.Core { return legible{l.Core.With(fit(fields))} }

func (l legible) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if l.Enabled(e.Level) {
		return checked.AddCore(e, l)
	}
	return checked
}

func (l legible) Write(e zapcore.Entry, fields []zapcore.Field) error {
	e.Message = display.Text(e.Message, maxText)
	return l.Core.Write(e, fit(fields))
}

// fit is a copy of fields with their texts escaped and cut.
func fit(fields []zapcore.Field) []zapcore.Field {
	out := make([]zapcore.Field, len(fields))
	for i, f := range fields {
		switch f.Type {
		case zapcore.StringType:
			f.String = display.Text(f.String, maxText)
			if free[f.Key] {
				f.String = display.Numbers(f.String)
			}
		case zapcore.ErrorType:
			if err, ok := f.Interface.(error); ok {
				f = zap.String(f.Key, display.Numbers(display.Text(err.Error(), maxText)))
			}
		case zapcore.StringerType:
			f = zap.String(f.Key, display.Text(stringOf(f), maxText))
		case zapcore.ByteStringType, zapcore.ReflectType, zapcore.ArrayMarshalerType:
			f = anything(f)
		}
		out[i] = f
	}
	return out
}

// stringOf is zap's text of a Stringer, whose nil may panic.
func stringOf(f zapcore.Field) (text string) {
	defer func() {
		if recover() != nil {
			text = "<nil>"
		}
	}()
	return f.Interface.(fmt.Stringer).String()
}

// anything is a field of a rare kind as zap would encode it, with its texts escaped and cut.
func anything(f zapcore.Field) zapcore.Field {
	encoded := zapcore.NewMapObjectEncoder()
	f.AddTo(encoded)
	switch v := encoded.Fields[f.Key].(type) {
	case string:
		// A stack has lines; JSON escapes them.
		if f.Key == "stack" {
			return zap.String(f.Key, cutText(v))
		}
		return zap.String(f.Key, display.Numbers(cutText(v)))
	case []any:
		texts := make([]string, 0, min(len(v), maxTexts))
		for _, e := range v[:min(len(v), maxTexts)] {
			texts = append(texts, display.Text(fmt.Sprint(e), maxText/4))
		}
		if more := len(v) - maxTexts; more > 0 {
			texts = append(texts, fmt.Sprintf("and %d more", more))
		}
		return zap.Strings(f.Key, texts)
	case nil:
		return f
	default:
		return zap.String(f.Key, display.Numbers(display.Text(fmt.Sprint(v), maxText)))
	}
}

// maxStack bounds a text of many lines.
const maxStack = 16 << 10

func cutText(s string) string {
	var lines []byte
	for i, line := range display.Lines(s, maxText, 400) {
		if i > 0 {
			lines = append(lines, '\n')
		}
		if lines = append(lines, line...); len(lines) > maxStack {
			break
		}
	}
	return string(lines)
}
