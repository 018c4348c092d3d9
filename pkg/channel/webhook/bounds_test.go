package webhook

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// The figures that the documents have.
func TestTimeout_IsThatOfTheDocuments(t *testing.T) {
	page, err := os.ReadFile("../../../deploy/docs/receive.md")
	want := fmt.Sprintf("at most %d s, or the `timeout` of the endpoint (%d s to %d s).",
		DefaultTimeout/time.Second, shortestTimeout/time.Second, longestTimeout/time.Second)
	if err != nil || !strings.Contains(string(page), want) {
		t.Errorf("receive.md does not have %q (%v)", want, err)
	}
}
