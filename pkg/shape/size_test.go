package shape

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Bounds of product code, in lines, comments included. What is larger has the wrong shape: it holds more than one thing.
const (
	maxFile    = 400
	maxPackage = 4000
)

func TestSizes_OfFilesAndPackagesAreBounded(t *testing.T) {
	root := filepath.Join("..", "..")
	packages := map[string]int{}
	for _, module := range []string{"pkg", "services"} {
		err := filepath.WalkDir(filepath.Join(root, module), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			n := bytes.Count(content, []byte("\n"))
			if n > maxFile {
				t.Errorf("%s has %d lines, above %d", path, n, maxFile)
			}
			packages[filepath.Dir(path)] += n
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for path, n := range packages {
		if n > maxPackage {
			t.Errorf("package %s has %d lines, above %d", path, n, maxPackage)
		}
	}
}
