package records

import (
	"testing"

	"github.com/tollgate/tollgate/pkg/event"
)

func TestRejections_SubjectHasOneSpelling(t *testing.T) {
	for _, asked := range []string{"491522", "+491522"} {
		for subject, want := range map[string]bool{"491522": true, "+491522": true, "491523": false, "client/491522": false} {
			if got := (Rejections{Subject: asked}).wanted(event.Rejection{Subject: subject}); got != want {
				t.Errorf("--subject %s of %s: %v", asked, subject, got)
			}
		}
	}
	if !(Rejections{Subject: "client/+42"}).wanted(event.Rejection{Subject: "client/+42"}) {
		t.Error("a subject that is no number is compared as it is")
	}
}
