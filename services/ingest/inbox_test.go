package ingest

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
)

func TestInbox_HoldsItsSenderBack(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"by number": 0, "by size": inboxBytes / 4} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				in := newInbox()
				room := inboxEvents
				if size > 0 {
					room = 4
				}
				put := 0
				go func() {
					for in.put(t.Context(), [][]byte{make([]byte, size)}, 2) {
						put++
					}
				}()
				synctest.Wait()
				if put != room {
					t.Errorf("%d were put where there is room for %d", put, room)
				}
				if items, weight, err := in.take(t.Context(), nil); len(items) != room || weight != int64(2*room) ||
					err != nil {
					t.Errorf("%d of %d taken: %v", len(items), weight, err)
				}
				synctest.Wait()
				if put != 2*room {
					t.Errorf("%d were put after all was taken", put)
				}
			})
		})
	}
}

func TestInbox_GivesWhatItHoldsBeforeItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stopping := make(chan struct{})
		in := newInbox()
		in.put(t.Context(), [][]byte{{}}, 0)
		in.end(io.EOF)
		if items, _, err := in.take(t.Context(), stopping); len(items) != 1 || !errors.Is(err, io.EOF) {
			t.Errorf("%d, %v", len(items), err)
		}

		in = newInbox()
		in.put(t.Context(), [][]byte{{}}, 0)
		close(stopping)
		if items, _, err := in.take(t.Context(), stopping); len(items) != 1 || !errors.Is(err, errStopping) {
			t.Errorf("%d, %v", len(items), err)
		}

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, _, err := newInbox().take(ctx, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	})
}
