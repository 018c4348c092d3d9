package account

import (
	"fmt"
	"testing"

	"github.com/tollgate/tollgate/pkg/event"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
)

// A command that is in no list, or behind it, is worked again when it comes again, on another record: consumers that drop
// what they have by its id must get both.
func TestCommand_WorkedAgainHasOutcomesWithIdsOfTheirOwn(t *testing.T) {
	for name, happens := range map[string]func(p *partition){
		"reapply": func(p *partition) {
			active(p)
			for _, offered := range []string{"40", "60"} {
				p.configures(gold(limit(offered)))
				p.commands("class/7/"+msisdn, &controlv1.ReapplyCommand{ClassOfService: "gold"}, TypeReapply)
			}
		},
		"change behind the list": func(p *partition) {
			whole(p)
			again := &controlv1.ChangeCommand{Option: overspend, State: turnedOn, CurrentLimit: units("20")}
			p.commands("again", again, TypeChange)
			for i := range 40 {
				p.changes(overspend, currentLimit(fmt.Sprint(30+i)))
			}
			p.commands("again", again, TypeChange)
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPartition(t)
			happens(p)
			p.works()
			ids := map[string]bool{}
			for _, r := range p.out {
				e, err := event.Decode(r.Value)
				if err != nil {
					t.Fatal(err)
				}
				if ids[e.ID] {
					t.Errorf("two outcomes have one id: %s", line(t, r))
				}
				ids[e.ID] = true
			}
			if len(p.refusals) > 0 || len(ids) < 2 {
				t.Errorf("%d outcomes, refusals %v", len(ids), p.refusals)
			}
		})
	}
}
