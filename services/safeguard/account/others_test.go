package account

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/event"
)

// Events of clients, accounts and invoices stand on the same topic, and their subjects are no numbers: they were rejected.
func TestRules_PassOverEventsThatAreNotOfSubscribers(t *testing.T) {
	p := newPartition(t)
	p.configures(gold())
	types := 0
	for _, kind := range event.Types() {
		if kind.Queue != event.Ordered || kind.Subscriber {
			continue
		}
		types++
		p.publishes(kind.Name, proto.Clone(kind.Data), func(e *event.Event) { e.Subject = kind.Entity + "/42" })
	}
	if got := p.published(); types < 20 || len(got) != 0 {
		t.Errorf("%d types: %v", types, got)
	}
}
