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
	// jane gets the e-mail of the first journey.
	jane = "jane@operator.example"
)

// mailbox is where e-mail goes.
type mailbox struct {
	host string
	port int
	// tls: with the certificate of the receiver. Else in clear.
	tls bool
}

//go:embed sample.yaml
var sampleTemplate string

// sample is the configuration, in YAML, with what differs from folder to folder.
func sample(secret string, r *receiver, m mailbox, networks []string) ([]byte, error) {
	t, err := template.New(sampleFile).Parse(sampleTemplate)
	if err != nil {
		return nil, fmt.Errorf("read the sample: %w", err)
	}
	var out bytes.Buffer
	err = t.Execute(&out, map[string]any{
		"Port": r.port(), "URL": r.url(), "Secret": secret, "Networks": `"` + strings.Join(networks, `", "`) + `"`, "Jane": jane,
		"MailHost": m.host, "MailPort": m.port, "MailTLS": m.tls,
		"HookURL": r.hookURL(), "DeepAuthority": "    " + strings.ReplaceAll(strings.TrimSpace(string(r.authority)), "\n", "\n    "),
		"Authority": "  " + strings.ReplaceAll(strings.TrimSpace(string(r.authority)), "\n", "\n  "),
	})
	if err != nil {
		return nil, fmt.Errorf("write the sample: %w", err)
	}
	return out.Bytes(), nil
}
