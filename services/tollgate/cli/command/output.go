package command

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/mattn/go-isatty"
	"go.yaml.in/yaml/v3"

	"github.com/tollgate/tollgate/pkg/display"
)

func terminal(fd uintptr) bool { return isatty.IsTerminal(fd) }

// Listing is the flag of commands that list.
type Listing struct {
	Output string `short:"o" enum:"table,json,yaml" default:"table" help:"How the list is written: table, json or yaml."`

	// Width, where not 0, breaks longer cells of the table: sentences, never names.
	Width int `kong:"-"`
}

// Write lists rows in the form that was asked for; columns are the table's, and row makes its cells.
func Write[T any](l Listing, w io.Writer, rows []T, columns []string, row func(T) []string) error {
	if rows == nil {
		rows = []T{}
	}
	switch l.Output {
	case "json":
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(rows)
	case "yaml":
		return writeYAML(w, rows)
	}
	t := table.NewWriter()
	t.SetOutputMirror(w)
	style := table.StyleDefault
	style.Options = table.Options{}
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	style.Format.Header = text.FormatUpper
	t.SetStyle(style)
	t.SuppressTrailingSpaces()
	if l.Width > 0 {
		limits := make([]table.ColumnConfig, len(columns))
		for i := range limits {
			limits[i] = table.ColumnConfig{Number: i + 1, WidthMax: l.Width, WidthMaxEnforcer: text.WrapSoft}
		}
		t.SetColumnConfigs(limits)
	}
	t.AppendHeader(cells(columns))
	for _, r := range rows {
		t.AppendRow(cells(row(r)))
	}
	t.Render()
	return nil
}

// MaxCell bounds a line of a cell.
const MaxCell = 512

func cells(texts []string) table.Row {
	r := make(table.Row, len(texts))
	for i, t := range texts {
		r[i] = strings.Join(display.Lines(t, MaxCell, MaxLines), "\n")
	}
	return r
}

// writeYAML goes by way of JSON, so that both forms have the same names.
func writeYAML(w io.Writer, rows any) error {
	raw, err := json.Marshal(rows)
	if err != nil {
		return fmt.Errorf("write YAML: %w", err)
	}
	var node yaml.Node
	if err := yaml.Unmarshal(raw, &node); err != nil {
		return fmt.Errorf("write YAML: %w", err)
	}
	plain(&node)
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	if err := e.Encode(&node); err != nil {
		return fmt.Errorf("write YAML: %w", err)
	}
	return e.Close()
}

// plain gives nodes that were JSON the style of YAML.
func plain(n *yaml.Node) {
	n.Style = 0
	if !display.Shown(n.Value) {
		// In double quotes what a terminal obeys can be escaped.
		n.Style = yaml.DoubleQuotedStyle
	}
	for _, c := range n.Content {
		plain(c)
	}
}
