package config

import (
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/rpc"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// repeatInterval is how often a watch sends the same while nothing changes.
const repeatInterval = 10 * time.Second

// notifier has the head, and wakes those that wait for the next one.
type notifier struct {
	mu      sync.Mutex
	last    *configv1.WatchResponse
	changed chan struct{}
}

func newNotifier() *notifier {
	return &notifier{last: &configv1.WatchResponse{}, changed: make(chan struct{})}
}

// announce takes the head that the database has now. It may go back: the database may have been set back to a backup.
func (n *notifier) announce(head *configv1.WatchResponse) {
	n.mu.Lock()
	defer n.mu.Unlock()
	moved := head.GetRevision() != n.last.GetRevision() || head.GetHistory() != n.last.GetHistory()
	n.last = head
	if moved {
		close(n.changed)
		n.changed = make(chan struct{})
	}
}

// read returns a head that does not change any more.
func (n *notifier) read() (*configv1.WatchResponse, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.last, n.changed
}

type watchService struct {
	configv1.UnimplementedConfigWatchServiceServer
	service  *service
	stopping <-chan struct{}
}

func (w *watchService) Watch(req *configv1.WatchRequest, stream grpc.ServerStreamingServer[configv1.WatchResponse]) error {
	w.service.metrics.watchers.Inc()
	defer w.service.metrics.watchers.Dec()
	repeat := time.NewTicker(repeatInterval)
	defer repeat.Stop()
	for {
		last, changed := w.service.notifier.read()
		for _, p := range req.GetKnown() {
			if !configclient.Continues(last, p) {
				w.service.noteUnknown(stream.Context(), p, true)
			}
		}
		if err := stream.Send(last); err != nil {
			return err
		}
		select {
		case <-changed:
			repeat.Reset(repeatInterval)
		case <-repeat.C:
		case <-w.stopping:
			return rpc.ErrStopping()
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}
