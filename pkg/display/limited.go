package display

import (
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Limited writes lines that outsiders cause: at most so many in a second, then how many were left out. A flood of what is
// refused costs no disk, and hides nothing else.
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

// Write writes a line, whose fields are made only then.
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
		time.AfterFunc(time.Second, l.tell)
	}
	return false
}

// tell says what was left out, in a line that counts for none.
func (l *Limited) tell() {
	l.mu.Lock()
	n := l.omitted
	l.omitted = 0
	l.mu.Unlock()
	l.log.Warn("lines left out", zap.String("of", l.message), zap.Int64("omitted", n))
}
