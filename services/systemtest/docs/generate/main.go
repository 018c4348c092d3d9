// Command generate writes the reference pages under deploy/docs anew, and the page of reasons: `make docs`, at the root of
// the repository.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/services/systemtest/docs/reference"
)

func main() {
	if err := generate(daemon.UntilSignal(), "."); err != nil {
		fmt.Fprintf(os.Stderr, "generate: %v\n", err)
		os.Exit(1)
	}
}

func generate(ctx context.Context, root string) error {
	for _, p := range reference.Pages {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, reference.Dir, p.Name)), 0o755); err != nil {
			return err
		}
		text, err := p.Write(ctx, root)
		if err != nil {
			return fmt.Errorf("page %s: %w", p.Name, err)
		}
		if err := os.WriteFile(filepath.Join(root, reference.Dir, p.Name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(root, "deploy", "docs", "reasons.md"), []byte(reason.Page()), 0o644)
}
