package reference

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/tollgate/tollgate/services/tollgate/cli"
)

// CommandLine is the page of the command line and of the flags of services.
func CommandLine(context.Context, string) (string, error) {
	model, err := cli.Model()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	head(&b, "Command line", `
`+"`tollgate`"+` is the command line. It exits 0 where it did what it was asked to, 1 where something failed and was named, 2 where it was
called wrongly and did nothing. Answers go to standard output, all else to standard error. An environment variable replaces its
flag; the flag wins. Amounts are such as `+"`'30 EUR'`"+`.

Each service is a program of its own, `+"`tollgate-<service>`"+`, with three flags: `+"`-config FILE`"+` reads the configuration from a YAML file,
`+"`-check-config`"+` validates the configuration and starts nothing, and `+"`-healthy`"+` asks the process that runs with this configuration
whether it is ready: it exits 0 where it is, else 1 with the checks that fail, for supervisors. The program exits 0 after SIGTERM or SIGINT where all work was finished, 1 where
something was left or failed, 2 where the configuration has violations. A second signal ends it at once. See [Configuration](configuration.md).
`)
	var rows [][]string
	commands := leaves(model.Node)
	for _, c := range commands {
		rows = append(rows, []string{fmt.Sprintf("[`%s`](#%s)", c.FullPath(), Anchor(c.FullPath())), c.Help})
	}
	table(&b, []string{"command", "does"}, rows)
	for _, c := range commands {
		command(&b, c)
	}
	return b.String(), nil
}

// leaves are the commands that run.
func leaves(n *kong.Node) []*kong.Node {
	if len(n.Children) == 0 {
		return []*kong.Node{n}
	}
	var all []*kong.Node
	for _, c := range n.Children {
		if !c.Hidden {
			all = append(all, leaves(c)...)
		}
	}
	return all
}

// command writes one command.
func command(b *strings.Builder, c *kong.Node) {
	fmt.Fprintf(b, "\n## %s\n\n%s\n", c.FullPath(), c.Help)
	var rows [][]string
	for _, p := range c.Positional {
		rows = append(rows, []string{code(p.Summary()), "", "", p.Help})
	}
	for _, f := range c.Flags {
		if f.Hidden || f.Name == "help" {
			continue
		}
		name := "--" + f.Name
		if !f.IsBool() {
			name += "=" + value(f)
		}
		name = code(name)
		if f.Short != 0 {
			name = code("-"+string(f.Short)) + ", " + name
		}
		if f.Required {
			name += ", required"
		}
		variables := make([]string, len(f.Envs))
		for i, v := range f.Envs {
			variables[i] = code(v)
		}
		rows = append(rows, []string{name, strings.Join(variables, ", "), code(f.Default), f.Help})
	}
	table(b, []string{"argument or flag", "variable", "default", "meaning"}, rows)
	if c.Detail != "" {
		detail(b, c.Detail)
	}
}

// value is what stands behind a flag.
func value(f *kong.Flag) string {
	switch {
	case f.PlaceHolder != "":
		return f.FormatPlaceHolder()
	case f.Enum != "":
		return strings.ReplaceAll(f.Enum, ",", "|")
	case f.Target.CanInt():
		return "N"
	}
	return "TEXT"
}

// detail writes the text below the flags. What is indented in it is a table, behind the word Example a command.
func detail(b *strings.Builder, text string) {
	language := "text"
	for _, part := range strings.Split(strings.TrimSpace(text), "\n\n") {
		lines := strings.Split(strings.Trim(part, "\n"), "\n")
		if strings.HasPrefix(part, "Example") {
			language = "sh check"
		}
		if !slices.ContainsFunc(lines, func(l string) bool { return !strings.HasPrefix(l, "  ") }) {
			indent := len(lines[0]) - len(strings.TrimLeft(lines[0], " "))
			fmt.Fprintf(b, "\n```%s\n", language)
			for _, l := range lines {
				fmt.Fprintf(b, "%s\n", l[min(indent, len(l)):])
			}
			b.WriteString("```\n")
			continue
		}
		fmt.Fprintf(b, "\n%s\n", part)
	}
}
