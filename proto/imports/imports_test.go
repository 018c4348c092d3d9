package imports

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPrintWritesWhatOurFilesImport(t *testing.T) {
	dir := t.TempDir()
	if err := Print(dir); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"google/type/money.proto":        "message Money",
		"google/rpc/error_details.proto": "message ErrorInfo",
		"google/api/annotations.proto":   `import "google/api/http.proto"`,
		"google/api/http.proto":          "message HttpRule",
		"buf/validate/validate.proto":    "message FieldRules",
	} {
		text, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(path)))
		if err != nil {
			t.Errorf("a file of ours cannot import %s: %v", path, err)
			continue
		}
		if !strings.Contains(string(text), want) {
			t.Errorf("%s lacks %q", path, want)
		}
	}
}

func TestPrintLeavesOutWhatCompilersHaveBuiltIn(t *testing.T) {
	dir := t.TempDir()
	if err := Print(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "google", "protobuf")); !os.IsNotExist(err) {
		t.Errorf("google/protobuf was printed (stat: %v); a compiler would see its files twice", err)
	}
}

func TestEveryImportOfAPrintedFileIsPrintedOrBuiltIn(t *testing.T) {
	for path, file := range closure(offered) {
		for i := range file.Imports().Len() {
			imported := file.Imports().Get(i).Path()
			if strings.HasPrefix(imported, "google/protobuf/") {
				continue
			}
			if _, there := closure(offered)[imported]; !there {
				t.Errorf("%s imports %s, which is not printed", path, imported)
			}
		}
	}
}
