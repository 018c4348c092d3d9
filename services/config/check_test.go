package config

import (
	"context"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/fault"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// A check that takes too long, and one that finds no place because of it, are answered in time; afterwards all is well.
func TestCheck_IsGivenUpAtItsDeadline(t *testing.T) {
	r := start(t)
	r.tenant("acme")
	r.endpoint("crm")
	changed(t, &checkTimeout, 50*time.Millisecond)
	changed(t, &checking, make(chan struct{}, 1))
	release := make(chan struct{})
	changed(t, &notificationKind.validate, func(f *fault.Violations, n resource) { <-release })
	create := func(ctx context.Context) error {
		_, err := r.notes.CreateNotification(ctx, &configv1.CreateNotificationRequest{Notification: aNotification("slow", "crm")})
		return err
	}
	for _, what := range []string{"a check that takes too long", "a check without a place"} {
		if err := create(t.Context()); fault.KindOf(err) != fault.Unavailable || fault.ReasonOf(err) != "CHECK_TIMEOUT" {
			t.Errorf("%s: %v", what, err)
		}
	}
	close(release)
	checking <- struct{}{} // the one that was given up has left its place
	<-checking
	checkTimeout = time.Minute
	if err := create(t.Context()); err != nil {
		t.Errorf("once it is over: %v", err)
	}
	if len(checking) != 0 {
		t.Errorf("%d places are taken", len(checking))
	}
}

// The figures that the documents have.
func TestBounds_AreThoseOfTheDocuments(t *testing.T) {
	if maxNotificationsAType != 1000 {
		t.Errorf("%d notifications on a type", maxNotificationsAType)
	}
	r := start(t)
	r.tenant("acme")
	r.endpoint("crm")
	n := aNotification("n", "crm")
	action := n.Actions[0]
	n.Actions = nil
	for i := range 21 {
		one := &configv1.Action{Name: "a" + string(rune('a'+i)), Action: action.GetAction()}
		n.Actions = append(n.Actions, one)
	}
	_, err := r.notes.CreateNotification(t.Context(), &configv1.CreateNotificationRequest{Notification: n})
	refused(t, err, fault.Invalid, "CONFIG_INVALID")
	n.Actions = n.Actions[:20]
	if _, err := r.notes.CreateNotification(t.Context(), &configv1.CreateNotificationRequest{Notification: n}); err != nil {
		t.Errorf("20 actions: %v", err)
	}
}
