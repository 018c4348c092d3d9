package docs

import (
	"regexp"
	"strings"
	"testing"

	"github.com/tollgate/tollgate/services/systemtest/docs/reference"
)

// unused are words that the glossary replaces and that have no other meaning in a document.
var unused = regexp.MustCompile(`(?i)\b(doors?|lanes?|parcels?|couriers?|stained|unprovable|rosters?|ledgers?|judge[sd]?|verdicts?|judging|tells?|told|telling|says?|said|heard|worlds?|standings?|seal(s|ed)?|aside|parked|somebody|nobody)\b`)

func TestWords_AreThoseOfTheGlossary(t *testing.T) {
	for _, p := range pages(t) {
		if p.path == "CHANGELOG.md" || strings.HasPrefix(p.path, reference.Dir) || p.path == "deploy/docs/reasons.md" {
			continue
		}
		prose, _, _ := strings.Cut(p.prose, "\n## Glossary\n")
		for _, word := range unused.FindAllString(span.ReplaceAllString(prose, ""), -1) {
			t.Errorf("%s uses %q, which the glossary replaces", p.path, word)
		}
	}
}

func TestWords_GlossaryKeepsWhatItReplacesApart(t *testing.T) {
	_, glossary, _ := strings.Cut(parse("", read(t, ".github/CONTRIBUTING.md")).prose, "\n## Glossary\n")
	first, last := map[string]bool{}, map[string]bool{}
	for line := range strings.Lines(glossary) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 3 || strings.HasPrefix(cells[0], "-") {
			continue
		}
		for _, w := range strings.Split(cells[0], ",") {
			first[strings.TrimSpace(w)] = true
		}
		for _, w := range strings.Split(cells[2], ",") {
			last[strings.TrimSpace(w)] = true
		}
	}
	if len(first) < 30 {
		t.Fatalf("the glossary has %d words: its table is not read", len(first))
	}
	for w := range last {
		if first[w] {
			t.Errorf("%q is a word of the glossary and one that it replaces", w)
		}
	}
}
