package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/services/tollgate/cli/records"
)

func TestRejected_IsSentAgainOnceItsCauseIsRemoved(t *testing.T) {
	j := newJourney(t, onlyData())
	now := time.Now().UTC().Format(time.RFC3339)
	lines := []string{
		`{"specversion":"1.0","id":"a-1","source":"crm","type":"subscriber.activated","tenant":"acme","subject":"491522","time":"` + now + `","data":{"class_of_service":"silver"}}`,
		`{"specversion":"1.0","id":"a-2","source":"crm","type":"subscriber.activated","tenant":"acme","subject":"491533","time":"` + now + `","data":{"class_of_service":"gold"}}`,
		`{"specversion":"1.0","id":"a-3","source":"crm","type":"subscriber.activated","tenant":"acme","subject":"491533","time":"` + now + `","data":{"class_of_service":"gold"}}`,
	}
	file := filepath.Join(t.TempDir(), "events.jsonl")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	j.run(exitOK, "send -f "+file)
	j.rejected(2)

	list, _ := j.run(exitOK, "rejected list --since 1h -o json --reason CLASS_OF_SERVICE_UNKNOWN")
	var found records.Rejected
	if err := json.Unmarshal([]byte(list), &found); err != nil {
		t.Fatal(err, list)
	}
	if found.ID != "a-1" || found.Subject != "491522" || found.Tenant != "acme" || found.Type != "subscriber.activated" || !strings.HasSuffix(found.Topic, stream.EventsOrdered) {
		t.Errorf("%+v", found)
	}
	if all, _ := j.run(exitOK, "rejected list"); strings.Count(all, "\n") != 2 || !strings.Contains(all, "ALREADY_ACTIVE") {
		t.Error(all)
	}

	if of, _ := j.run(exitOK, "rejected list --subject +491522"); strings.Count(of, "\n") != 1 || !strings.Contains(of, "a-1") {
		t.Errorf("of one number: %s", of)
	}

	class := filepath.Join(t.TempDir(), "class.yaml")
	if err := os.WriteFile(class, []byte("kind: ClassOfService\nname: tenants/acme/classesOfService/silver\ndata_safeguard: {limit: {currency_code: EUR, units: 10}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	j.run(exitOK, "apply -f "+class)
	if err := j.fleet.AwaitRevision(t.Context(), stream.EventsOrdered, j.revision+1); err != nil {
		t.Fatal(err)
	}
	const resend = "rejected resend --since 1h --reason CLASS_OF_SERVICE_UNKNOWN"
	if out, _ := j.run(exitOK, resend+" --dry-run"); !strings.Contains(out, "not yet, by --dry-run") {
		t.Error(out)
	}
	if out, _ := j.run(exitOK, resend); strings.Count(out, "sent again: ") != 1 || !strings.Contains(out, stream.EventsInbound) {
		t.Error(out)
	}
	if active := j.activated(2, ""); active["491522"] != 1 || active["491533"] != 1 {
		t.Errorf("activated: %v", active)
	}

	// Once more: it is the same event, under the same id, and nothing happens.
	j.run(exitOK, resend)
	last, _ := j.run(exitOK, "option get +491522 -o json")
	if !strings.Contains(last, `"limit": "10 EUR"`) {
		t.Error(last)
	}
	_, errs := j.run(exitUsage, "rejected resend --since 1h")
	if !strings.Contains(errs, "--reason and --since are required") {
		t.Error(errs)
	}
}

// rejected waits until so many records are on events.rejected.
func (j *journey) rejected(n int) {
	j.t.Helper()
	client, seen := j.fleet.Client, 0
	topic := client.Topic(stream.EventsRejected)
	next := make([]int64, j.fleet.Partitions())
	for seen < n {
		for p := range next {
			batch, err := client.FetchFrom(j.t.Context(), topic, int32(p), next[p], 1<<20)
			if err != nil {
				j.t.Fatal(err)
			}
			for _, r := range batch.Records {
				if _, err := event.ParseRejected(r); err != nil {
					j.t.Fatal(err)
				}
			}
			seen, next[p] = seen+len(batch.Records), batch.Next
		}
		pause.For(j.t.Context(), 5*time.Millisecond)
	}
}
