package docs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/proto/tollgate"
	"github.com/tollgate/tollgate/services/systemtest/docs/reference"
	"github.com/tollgate/tollgate/services/tollgate/process"
)

// root is the folder of the repository.
var root = filepath.Join("..", "..", "..")

func TestReference_CommittedPagesAreCurrent(t *testing.T) {
	for _, p := range reference.Pages {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			want, err := p.Write(t.Context(), root)
			if err != nil {
				t.Fatal(err)
			}
			current(t, filepath.Join(reference.Dir, p.Name), want)
		})
	}
	current(t, filepath.Join("deploy", "docs", "reasons.md"), reason.Page())
}

// current compares a committed page with what it must be.
func current(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	if string(got) == want {
		return
	}
	have, need := strings.Split(string(got), "\n"), strings.Split(want, "\n")
	for i := range need {
		if i >= len(have) || have[i] != need[i] {
			t.Fatalf("%s is not current from line %d on, run `make docs`: want\n%s", path, i+1, need[i])
		}
	}
	t.Fatalf("%s is not current: it has lines behind its end, run `make docs`", path)
}

func TestReference_ListsEveryServiceThatIsBuilt(t *testing.T) {
	built, err := filepath.Glob(filepath.Join(root, "services", "*", "cmd", "tollgate-*"))
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, s := range process.Table {
		listed[s.Name] = true
	}
	for _, path := range built {
		if name := strings.TrimPrefix(filepath.Base(path), "tollgate-"); !listed[name] {
			t.Errorf("service %s is missing in process.Table", name)
		}
	}
	if len(built) != len(listed) {
		t.Errorf("%d services are built, %d are listed", len(built), len(listed))
	}
}

func TestReference_EveryProtobufFileIsOnAPage(t *testing.T) {
	pages := read(t, filepath.Join(reference.Dir, "grpc.md")) + read(t, filepath.Join(reference.Dir, "events.md"))
	areas, err := tollgate.Sources.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, area := range areas {
		files, err := tollgate.Sources.ReadDir(area.Name() + "/v1")
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			text, err := tollgate.Sources.ReadFile(area.Name() + "/v1/" + f.Name())
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(text)) {
				words := strings.Fields(line)
				if len(words) > 1 && (words[0] == "message" || words[0] == "service" || words[0] == "enum") && line[0] != ' ' {
					if heading := "\n### " + area.Name() + ".v1." + words[1] + "\n"; !strings.Contains(pages, heading) {
						t.Errorf("%s of %s/v1/%s stands on no page", words[1], area.Name(), f.Name())
					}
				}
			}
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(path)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
