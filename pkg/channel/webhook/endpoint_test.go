package webhook

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

func TestDecode_FillsInDefaults(t *testing.T) {
	full, faults := Decode(&configv1.Endpoint{
		Name: "tenants/a/endpoints/full", Url: "https://x.example",
		Profile: configv1.PayloadProfile_PAYLOAD_PROFILE_PARAMETERS, Status: configv1.EndpointStatus_ENDPOINT_STATUS_DRAFT,
		Secrets: []string{"whsec_QUFB"}, CaCertificates: "pem", Headers: []*configv1.CustomHeader{{Name: "X", Value: "y"}},
		Timeout: durationpb.New(2 * time.Second), Concurrency: 3, PersonalData: configv1.PersonalData_PERSONAL_DATA_INCLUDE,
	})
	if faults != nil {
		t.Fatal(faults)
	}
	want := &Endpoint{
		Name: "tenants/a/endpoints/full", Tenant: "a", ID: "full", URL: "https://x.example", Profile: Parameters,
		Status: Draft, Secrets: []Secret{Secret("AAA")}, CACertificates: []byte("pem"), Headers: []Header{{Name: "X", Value: "y"}},
		Timeout: 2 * time.Second, Concurrency: 3, IncludePersonal: true,
	}
	if diff := cmp.Diff(want, full); diff != "" {
		t.Error(diff)
	}
	plain, faults := Decode(&configv1.Endpoint{Name: "tenants/a/endpoints/plain"})
	if faults != nil || plain.Profile != Tollgate || plain.Status != Active || plain.Timeout != 15*time.Second || plain.Concurrency != 64 || plain.IncludePersonal {
		t.Errorf("%+v", plain)
	}
	if text := fmt.Sprintf("%v %+v %#v %s", full.Secrets, full, full.Secrets[0], full.Secrets[0]); strings.Contains(text, "AAA") || strings.Contains(text, "65 65 65") {
		t.Errorf("a secret shows: %s", text)
	}
}
