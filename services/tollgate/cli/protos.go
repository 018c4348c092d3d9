package cli

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tollgate/tollgate/proto/imports"
	"github.com/tollgate/tollgate/proto/tollgate"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
)

// exportProto writes the .proto files.
type exportProto struct {
	Dir string `arg:"" type:"path" help:"Folder, made where it is missing; files in it of the same names are overwritten."`
}

// Help is shown below the flags.
func (exportProto) Help() string {
	return `Writes Tollgate's .proto files and all that they import, so that clients in any language can be generated from the folder
alone; google/protobuf comes with every Protobuf compiler.

Example:

    tollgate proto export protos

    python -m grpc_tools.protoc -I protos --python_out=. --grpc_python_out=. protos/tollgate/ingest/v1/ingest.proto`
}

// Run writes.
func (c exportProto) Run(streams command.Streams) error {
	if err := imports.Print(c.Dir); err != nil {
		return err
	}
	n := 0
	err := fs.WalkDir(tollgate.Sources, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := tollgate.Sources.ReadFile(path)
		if err != nil {
			return err
		}
		target := filepath.Join(c.Dir, "tollgate", filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		n++
		return os.WriteFile(target, content, 0o644)
	})
	if err != nil {
		return fmt.Errorf("write .proto files: %w", err)
	}
	_, err = fmt.Fprintf(streams.Out, "%d files of Tollgate in %s, and what they import\n", n, filepath.Join(c.Dir, "tollgate"))
	return err
}
