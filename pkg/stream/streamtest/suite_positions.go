package streamtest

import (
	"context"
	"slices"
	"strconv"
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

func testCommittedMetadata(t *testing.T, b Broker) {
	s := newSuite(t, b)
	topic := s.topic("metadata", 1, nil)
	type found struct {
		offset   int64
		metadata string
	}
	got := make(chan found, 10)
	member := func(offset int64, metadata string) {
		end := s.consume(s.Client, s.group("metadata", topic), func(ctx context.Context, cl *stream.Claim) error {
			before := found{cl.Committed(), cl.Metadata()}
			if err := cl.CommitWith(ctx, offset, metadata); err != nil {
				return err
			}
			if cl.Committed() != offset || cl.Metadata() != metadata {
				t.Errorf("after the commit the claim has %d, %q", cl.Committed(), cl.Metadata())
			}
			got <- before
			<-cl.Draining()
			return nil
		})
		want := found{-1, ""}
		if offset > 0 {
			want = found{offset - 1, "of " + strconv.FormatInt(offset-1, 10)}
		}
		if before := waitFor(s, "the partition", got); before != want {
			t.Errorf("a member finds %+v, want %+v", before, want)
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
	}
	for offset := range int64(3) {
		member(offset, "of "+strconv.FormatInt(offset, 10))
	}
}
