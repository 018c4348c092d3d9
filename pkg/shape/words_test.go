package shape

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// replaced are words that the glossary (.github/CONTRIBUTING.md) replaces and that have no other use in this code, each
// with its form in identifiers. services/systemtest/docs holds the documents to the same.
var replaced = wordSet(`
	door doors lane lanes parcel parcels courier couriers stained unprovable roster rosters ledger ledgers
	judge judged judges judging verdict verdicts tell tells told telling say says said heard
	world worlds standing standings seal seals sealed aside parked unpark
`)

// commands are names that people type (keys seal makes a keyset).
var commands = regexp.MustCompile(`keys seal|name:"seal"`)

// otherUses are places where such a word is a name of others or has its plain meaning.
var otherUses = map[string]string{
	"pkg/profile/profiles/eu-psd2.yaml":      "quotes laws",
	"pkg/profile/profiles/eu-roaming.yaml":   "quotes laws",
	"pkg/profile/profiles/uk-psr.yaml":       "quotes laws",
	"pkg/shape/words_test.go":                "this list",
	"services/systemtest/docs/words_test.go": "the list of the documents",

	"services/systemtest/webhook/bench/waiting.go": "the name of a figure",
	"services/provision/script/run_linux.go":       "Linux seals memory",
	"pkg/configclient/encryption.go":               "crypto/cipher names its method so",
}

func wordSet(list string) map[string]bool {
	set := map[string]bool{}
	for w := range strings.FieldsSeq(list) {
		set[w] = true
	}
	return set
}

// wordsOf splits a line into lower-case words, identifiers at their capitals too.
func wordsOf(line string) (words []string) {
	var word []rune
	end := func() {
		if len(word) > 0 {
			words = append(words, strings.ToLower(string(word)))
			word = word[:0]
		}
	}
	for _, r := range line {
		switch {
		case !unicode.IsLetter(r):
			end()
			continue
		case unicode.IsUpper(r) && len(word) > 0 && unicode.IsLower(word[len(word)-1]):
			end()
		}
		word = append(word, r)
	}
	end()
	return words
}

func TestWords_SplitsIdentifiers(t *testing.T) {
	if got, want := wordsOf("// newJudge(s.UNPROVABLE_USAGE, laneOf2)"), []string{"new", "judge", "s", "unprovable", "usage", "lane", "of"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

var worded = regexp.MustCompile(`(\.go|\.proto|\.ya?ml|/?Makefile|/run|/servers)$`)

// One word, one thing: what the glossary replaces is neither in names nor in comments nor in texts.
func TestWords_AreThoseOfTheGlossary(t *testing.T) {
	root := filepath.Join("..", "..")
	seen := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		name := d.Name()
		if d.IsDir() {
			hidden := strings.HasPrefix(name, ".") && name != "." && name != ".." && name != ".ci" && name != ".github"
			if hidden || name == "gen" || name == "node_modules" || name == ".deps" {
				return filepath.SkipDir
			}
			return nil
		}
		if !worded.MatchString(rel) || otherUses[rel] != "" {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		seen++
		n := 0
		for line := range bytes.Lines(content) {
			n++
			for _, w := range wordsOf(commands.ReplaceAllString(string(line), "")) {
				if replaced[w] {
					t.Errorf("%s:%d uses %q, which the glossary replaces", rel, n, w)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 500 {
		t.Errorf("%d files read: the walk is wrong", seen)
	}
}
