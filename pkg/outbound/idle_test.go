package outbound

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// Many endpoints may share a receiver: all connections that their requests used at once serve the next ones.
func TestIdle_AsManyWaitAsWereInUseAtOnce(t *testing.T) {
	const together = 600
	var (
		mu      sync.Mutex
		arrived int
		all     chan struct{}
	)
	s, o := receiver(t, func(w http.ResponseWriter, req *http.Request) {
		mu.Lock()
		arrived++
		wait := all
		if arrived == together {
			close(all)
		}
		mu.Unlock()
		select {
		case <-wait:
			w.WriteHeader(http.StatusNoContent)
		case <-req.Context().Done(): // one of them did not come
		}
	}, func(s *httptest.Server) { s.EnableHTTP2 = false })
	// So many handshakes take long under the race detector.
	o.DialTimeout, o.TLSTimeout, o.TotalTimeout = time.Minute, time.Minute, 2*time.Minute
	c := mustClient(t, o)
	for round := range 2 {
		arrived, all = 0, make(chan struct{})
		var wg sync.WaitGroup
		for range together {
			wg.Go(func() {
				got := c.Do(t.Context(), Request{URL: mustURL(t, s.URL)})
				if got.Err != nil || got.Status != http.StatusNoContent || got.Reused != (round > 0) {
					t.Errorf("round %d: %+v", round, got)
				}
			})
		}
		wg.Wait()
	}
}
