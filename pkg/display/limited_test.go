package display

import (
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func TestLimited_CountsOmittedLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zapcore.InfoLevel)
		l := NewLimited(zap.New(core), "event rejected", 10)
		made := 0
		flood := func() {
			for range 1000 {
				l.Write(zapcore.InfoLevel, func() []zap.Field { made++; return nil })
			}
			l.Write(zapcore.DebugLevel, func() []zap.Field { t.Error("a line nobody asked for was made"); return nil })
		}
		flood()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		flood()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if made != 20 || logs.FilterMessage("event rejected").Len() != 20 {
			t.Errorf("%d lines were made, %d written", made, logs.Len())
		}
		left := logs.FilterMessage("lines omitted").All()
		if len(left) != 2 {
			t.Fatalf("%d lines report omitted lines", len(left))
		}
		for _, line := range left {
			if line.ContextMap()["omitted"] != int64(990) || line.ContextMap()["of"] != "event rejected" {
				t.Errorf("%v", line.ContextMap())
			}
		}
	})
}
