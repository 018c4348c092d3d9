package display

import (
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Limited writes log lines that outsiders cause: a bounded number a second, and a second after the first that was omitted
// how many were, whether or not more come. A flood of rejected input fills no disk and hides no other lines.
type Limited struct {
	log       *zap.Logger
	message   string
	perSecond int

	mu      sync.Mutex
	since   time.Time
	written int
	omitted int64
}

// NewLimited writes lines of one message.
func NewLimited(log *zap.Logger, message string, perSecond int) *Limited {
	return &Limited{log: log, message: message, perSecond: perSecond}
}

// Write writes a line; fields is called only then.
func (l *Limited) Write(level zapcore.Level, fields func() []zap.Field) {
	if !l.log.Core().Enabled(level) || !l.admit() {
		return
	}
	l.log.Log(level, l.message, fields()...)
}

func (l *Limited) admit() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); now.Sub(l.since) >= time.Second {
		l.since, l.written = now, 0
	}
	if l.written < l.perSecond {
		l.written++
		return true
	}
	if l.omitted++; l.omitted == 1 {
		time.AfterFunc(time.Second, l.reportOmitted)
	}
	return false
}

// reportOmitted logs how many lines were omitted; this line is not counted.
func (l *Limited) reportOmitted() {
	l.mu.Lock()
	n := l.omitted
	l.omitted = 0
	l.mu.Unlock()
	l.log.Warn("lines omitted", zap.String("of", l.message), zap.Int64("omitted", n))
}
