package config

import (
	"testing"

	"github.com/tollgate/tollgate/pkg/profile"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

func TestProfiles_AreAccepted(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.tenant("your-tenant")
	for _, p := range profile.All() {
		class, err := profile.Class(p.Name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.classes.CreateClassOfService(t.Context(), &configv1.CreateClassOfServiceRequest{ClassOfService: class}); err != nil {
			t.Errorf("%s: %v", p.Name, err)
		}
	}
}
