package config

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/configclient"
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
	changed(t, &notificationKind.fits, func(*fault.Violations, draft) error {
		<-release
		return nil
	})
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

// The figures that the documents have. The rows that other packages hold are tested there.
func TestBounds_AreThoseOfTheDocuments(t *testing.T) {
	t.Parallel()
	thousands := func(n int64) string { return fmt.Sprintf("%d,%03d", n/1000, n%1000) }
	rows := []string{
		fmt.Sprintf("| a resource | %d KiB |", maxResource>>10),
		fmt.Sprintf("| a tenant | %s notifications, of them %s active on one event type; %s endpoints; %s classes of service; %d MiB in all |",
			thousands(notificationKind.most), thousands(int64(maxNotificationsAType)), thousands(maxTargets), thousands(classKind.most), maxTenantBytes>>20),
		fmt.Sprintf("| an installation | %s tenants; %s resources; %d MiB |", thousands(tenantKind.most), thousands(maxInstallation), maxInstallationBytes>>20),
		"| a filter or scope | ",    // pkg/expr
		"| a delay | ",              // pkg/rules
		"| one event | 200 states ", // services/trigger
		"| one event | ",            // services/trigger
	}
	const path = "../../deploy/docs/notifications.md"
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## Bounds\n")
	_, table, _ := strings.Cut(section, "|---|---|\n")
	table, _, _ = strings.Cut(table+"\n\n", "\n\n")
	got := strings.Split(strings.TrimSpace(table), "\n")
	if len(got) != len(rows) {
		t.Errorf("%s has %d bounds: write a test for each", path, len(got))
	}
	for i, row := range rows[:min(len(rows), len(got))] {
		if !strings.HasPrefix(got[i], row) || strings.HasSuffix(row, "|") && got[i] != row {
			t.Errorf("%s has %q, the code %q", path, got[i], row)
		}
	}
	windows := map[string]string{
		"../../deploy/docs/promises.md":       fmt.Sprintf("`subscribers.dedup_window`, up to %d h)", configclient.MaxDedupWindow/time.Hour),
		"../../deploy/docs/reference/grpc.md": fmt.Sprintf("30 s by default, at most %d h.", maxUnknownGrace/time.Hour),
	}
	for path, want := range windows {
		page, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(page), want) {
			t.Errorf("%s does not have %q (%v)", path, want, err)
		}
	}
}

func TestNotification_HasAtMost20Actions(t *testing.T) {
	t.Parallel()
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
