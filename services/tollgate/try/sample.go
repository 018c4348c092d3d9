package try

import (
	"bytes"
	_ "embed"
	"fmt"
	"strings"
	"text/template"
)

// Names in the sample.
const (
	tenant = "sample"
	class  = "roamer"
	source = "sample-traffic"
	// mailbox gets the e-mail of the first journey.
	mailbox = "jane@operator.example"
)

//go:embed sample.yaml
var sampleTemplate string

// sample is the configuration, in YAML, with what differs from folder to folder.
func sample(secret string, r *receiver, m *mailServer) ([]byte, error) {
	t, err := template.New(sampleFile).Parse(sampleTemplate)
	if err != nil {
		return nil, fmt.Errorf("read the sample: %w", err)
	}
	var out bytes.Buffer
	err = t.Execute(&out, map[string]any{
		"Port": r.port(), "URL": r.url(), "Secret": secret, "MailPort": m.port(), "Mailbox": mailbox,
		"HookURL": r.hookURL(), "DeepAuthority": "    " + strings.ReplaceAll(strings.TrimSpace(string(r.authority)), "\n", "\n    "),
		"Authority": "  " + strings.ReplaceAll(strings.TrimSpace(string(r.authority)), "\n", "\n  "),
	})
	if err != nil {
		return nil, fmt.Errorf("write the sample: %w", err)
	}
	return out.Bytes(), nil
}
