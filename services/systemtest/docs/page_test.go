package docs

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/tollgate/tollgate/services/systemtest/docs/reference"
)

// page is one document.
type page struct {
	// path from the root of the repository, with slashes.
	path string
	// prose is the text without its fenced blocks and comments.
	prose  string
	blocks []block
}

// block is a fenced block. A block of the shell is marked as run or check: one that runs is executed against an
// installation, one to check is parsed.
type block struct {
	line           int
	language, mark string
	text           string
}

var (
	fence   = regexp.MustCompile("^```(\\w*) ?(\\w*)$")
	comment = regexp.MustCompile(`(?s)<!--.*?-->`)
	heading = regexp.MustCompile(`(?m)^#{1,6} (.+)$`)
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	span    = regexp.MustCompile("`([^`\n]+)`")
)

// pages are all documents for readers: notes for those who change the code (DESIGN.md) are none.
func pages(t *testing.T) []page {
	t.Helper()
	paths := []string{"README.md", "CHANGELOG.md"}
	for _, dir := range []string{"deploy/docs", ".github"} {
		err := filepath.WalkDir(filepath.Join(root, filepath.FromSlash(dir)), func(p string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || path.Ext(p) != ".md" {
				return err
			}
			rel, err := filepath.Rel(root, p)
			paths = append(paths, filepath.ToSlash(rel))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	all := make([]page, len(paths))
	for i, p := range paths {
		text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(p)))
		if err != nil {
			t.Fatal(err)
		}
		all[i] = parse(p, string(text))
	}
	return all
}

func parse(path, text string) page {
	p := page{path: path}
	var prose strings.Builder
	var open *block
	for i, line := range strings.Split(text, "\n") {
		m := fence.FindStringSubmatch(line)
		switch {
		case open == nil && m != nil:
			p.blocks = append(p.blocks, block{line: i + 1, language: m[1], mark: m[2]})
			open = &p.blocks[len(p.blocks)-1]
		case open != nil && line == "```":
			open = nil
		case open != nil:
			open.text += line + "\n"
		default:
			prose.WriteString(line + "\n")
		}
	}
	p.prose = comment.ReplaceAllString(prose.String(), "")
	return p
}

// anchors are the names of the page's headings, as GitHub makes them.
func (p page) anchors() map[string]bool {
	names := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(p.prose, -1) {
		names[reference.Anchor(strings.ReplaceAll(m[1], "`", ""))] = true
	}
	return names
}

func TestLinks_PathsAndAnchorsResolve(t *testing.T) {
	all := pages(t)
	anchors := map[string]map[string]bool{}
	for _, p := range all {
		anchors[p.path] = p.anchors()
	}
	for _, p := range all {
		for _, m := range link.FindAllStringSubmatch(p.prose, -1) {
			target, name, hasName := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			to := p.path
			if target != "" {
				to = path.Join(path.Dir(p.path), target)
			}
			if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(to))); err != nil {
				t.Errorf("%s links to %s, which is not there", p.path, m[1])
				continue
			}
			if hasName && !anchors[to][name] {
				t.Errorf("%s links to %s, which has no heading %q", p.path, m[1], name)
			}
		}
	}
}

func TestLinks_EveryPageIsReachedFromTheReadme(t *testing.T) {
	byPath := map[string]page{}
	for _, p := range pages(t) {
		byPath[p.path] = p
	}
	reached := map[string]bool{}
	var follow func(at string)
	follow = func(at string) {
		p, ok := byPath[at]
		if !ok || reached[at] {
			return
		}
		reached[at] = true
		for _, m := range link.FindAllStringSubmatch(p.prose, -1) {
			target, _, _ := strings.Cut(m[1], "#")
			follow(path.Join(path.Dir(at), target))
		}
	}
	follow("README.md")
	for name := range byPath {
		// The forms of issues and pull requests are shown by the host of the repository.
		if !reached[name] && !strings.Contains(name, "TEMPLATE") {
			t.Errorf("no link leads from README.md to %s", name)
		}
	}
}

func TestBlocks_OfTheShellRunOrAreChecked(t *testing.T) {
	for _, p := range pages(t) {
		for _, b := range p.blocks {
			if (b.language == "sh") != (b.mark == "run" || b.mark == "check") {
				t.Errorf("%s:%d: a block of %q is marked %q; blocks of the shell are marked run or check", p.path, b.line, b.language, b.mark)
			}
		}
	}
}
