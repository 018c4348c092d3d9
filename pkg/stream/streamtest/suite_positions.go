package streamtest

import (
	"slices"
	"testing"

	"github.com/tollgate/tollgate/pkg/stream"
)

func testPositions(t *testing.T, b Broker) {
	s := newSuite(t, b)
	topic := s.topic("positions", 3, nil)
	ask := make([]stream.Position, 3)
	for i := range ask {
		ask[i] = stream.Position{Topic: topic, Partition: int32(i)}
	}
	read := func() []stream.Position {
		t.Helper()
		got, err := s.Positions(s.ctx, "nobody", ask)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	for _, p := range read() {
		if p.Offset != -1 || p.Metadata != "" {
			t.Errorf("a group that never was has %+v", p)
		}
	}
	want := []stream.Position{{Topic: topic, Partition: 0, Offset: 7, Metadata: "a b"}, {Topic: topic, Partition: 2, Offset: 0, Metadata: "c"}}
	if err := s.SetPositions(s.ctx, "nobody", want); err != nil {
		t.Fatal(err)
	}
	want = slices.Insert(want, 1, stream.Position{Topic: topic, Partition: 1, Offset: -1})
	if got := read(); !slices.Equal(got, want) {
		t.Errorf("stored is %+v, want %+v", got, want)
	}
	// Nothing keeps a position from moving back: whoever stores it decides.
	want[0].Offset = 3
	if err := s.SetPositions(s.ctx, "nobody", want[:1]); err != nil {
		t.Fatal(err)
	}
	if got := read(); !slices.Equal(got, want) {
		t.Errorf("stored is %+v, want %+v", got, want)
	}
}
