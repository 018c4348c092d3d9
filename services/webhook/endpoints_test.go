package webhook

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/delivery/service"
	"github.com/tollgate/tollgate/pkg/outbound"
)

// unreadable knows of revision 7, whose snapshot is there at the third try.
type unreadable struct{ tries int }

func (u *unreadable) Newest() (apply, all int64, ok bool) { return 7, 7, true }
func (u *unreadable) Current(int64) bool                  { return true }
func (u *unreadable) Changed() <-chan struct{}            { return nil }
func (u *unreadable) At(context.Context, int64) (*configclient.Snapshot, error) {
	if u.tries++; u.tries < 3 {
		return nil, errors.New("away")
	}
	return &configclient.Snapshot{Revision: 7}, nil
}

func TestARevisionThatCannotBeReadShowsInHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		health := daemon.NewHealth()
		d := newDirectory(&unreadable{}, nil, func(map[outbound.Key]bool) {}, health, zap.NewNop())
		ctx, cancel := context.WithCancel(t.Context())
		go d.Follow(ctx)
		synctest.Wait()
		if f := health.Failing(); len(f) != 1 || f[0].Error != "endpoints of revision 7 not read: away" {
			t.Errorf("health shows %v", f)
		}
		time.Sleep(3 * service.RetryRead)
		if f := health.Failing(); len(f) != 0 {
			t.Errorf("health still shows %v", f)
		}
		cancel()
		synctest.Wait()
	})
}
