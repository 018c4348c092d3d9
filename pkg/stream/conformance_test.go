package stream_test

import (
	"testing"

	"github.com/tollgate/tollgate/pkg/stream/streamtest"
)

func TestConformance(t *testing.T) {
	for _, b := range streamtest.Brokers(t) {
		t.Run(b.Name, func(t *testing.T) { streamtest.Conformance(t, b) })
	}
}
