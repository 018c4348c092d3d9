package reference

import (
	"context"
	"fmt"
	"go/doc"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Packages is the page of the packages, each with the first sentence of its documentation.
func Packages(_ context.Context, root string) (string, error) {
	var b strings.Builder
	head(&b, "Map of the code", `
Each package with the first sentence of its documentation. A service is read by its `+"`doc.go`"+`, then by the file of its own name. What is not
obvious is written in `+"`DESIGN.md`"+` beside the code; the last column links to it.
`)
	for _, module := range []string{"proto", "pkg", "services"} {
		rows, err := packagesOf(root, module)
		if err != nil {
			return "", fmt.Errorf("packages of %s: %w", module, err)
		}
		fmt.Fprintf(&b, "\n## %s\n", module)
		table(&b, []string{"package", "holds", "notes"}, rows)
	}
	return b.String(), nil
}

// packagesOf are the packages of a module, without commands that only call a service.
func packagesOf(root, module string) ([][]string, error) {
	var rows [][]string
	err := filepath.WalkDir(filepath.Join(root, module), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		if name := entry.Name(); name == "gen" || name == "testdata" || strings.HasPrefix(name, ".") {
			return filepath.SkipDir
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		text, err := synopsis(path)
		if err != nil || text == "" || strings.Contains(rel, "/cmd/tollgate") {
			return err
		}
		notes := ""
		if _, err := os.Stat(filepath.Join(path, "DESIGN.md")); err == nil {
			notes = fmt.Sprintf("[DESIGN.md](../../../%s/DESIGN.md)", rel)
		}
		rows = append(rows, []string{code(rel), plain(text), notes})
		return nil
	})
	slices.SortFunc(rows, slices.Compare)
	return rows, err
}

// synopsis is the first sentence of the documentation of the package in a folder, "" where there is none.
func synopsis(dir string) (string, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return "", err
	}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.PackageClauseOnly)
		if err != nil {
			return "", err
		}
		if file.Doc != nil {
			return new(doc.Package).Synopsis(file.Doc.Text()), nil
		}
	}
	return "", nil
}
