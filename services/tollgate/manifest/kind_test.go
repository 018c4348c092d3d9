package manifest

import "testing"

// Each kind has a short name, and no word that people type means two of them.
func TestKinds_AreCalledByOneOfEach(t *testing.T) {
	for _, k := range kinds {
		if k.short == "" {
			t.Errorf("%s has no short name", k.name)
		}
		for _, typed := range []string{k.name, k.plural(), k.short} {
			for _, other := range kinds {
				if other.called(typed) != (other == k) {
					t.Errorf("%s is called %q: %t", other.name, typed, other.called(typed))
				}
			}
		}
	}
	for typed, want := range map[string]string{"classes-of-service": className, "SMTP_PROFILES": "SmtpProfile", "api-key": "ApiKey", "Event_Types": eventTypeName, "NOTE": notificationName} {
		if got, err := Kind(typed); got != want {
			t.Errorf("%q is %q, %v", typed, got, err)
		}
	}
}
