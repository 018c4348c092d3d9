package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"time"

	"github.com/tollgate/tollgate/services/systemtest/soak"
)

// content is what must arrive as it was planned: subject, bodies and Date.
func content(subject, text, html string, date time.Time) soak.Content {
	return sha256.Sum256(fmt.Appendf(nil, "%q %q %q %d", subject, strings.TrimSpace(text), strings.TrimSpace(html), date.Unix()))
}

// read makes the receipt of a message to an address.
func read(raw, to string) (soak.Receipt, error) {
	m, err := mail.ReadMessage(strings.NewReader(raw))
	if err != nil {
		return soak.Receipt{}, fmt.Errorf("message: %w", err)
	}
	id, at, _ := strings.Cut(strings.Trim(m.Header.Get("Message-ID"), "<>"), "@")
	if !strings.HasPrefix(id, "dlv_") || at != domain {
		return soak.Receipt{}, fmt.Errorf("message: its Message-ID is %q", m.Header.Get("Message-ID"))
	}
	out := soak.Receipt{ID: id, At: time.Now()}
	var words mime.WordDecoder
	subject, err := words.DecodeHeader(m.Header.Get("Subject"))
	date, dateErr := m.Header.Date()
	from, fromErr := mail.ParseAddress(m.Header.Get("From"))
	shown, toErr := mail.ParseAddress(m.Header.Get("To"))
	text, html, bodyErr := bodies(m.Header.Get("Content-Type"), m.Header.Get("Content-Transfer-Encoding"), m.Body)
	if wrong := errors.Join(err, dateErr, fromErr, toErr, bodyErr); wrong != nil {
		out.Wrong = "can't be read: " + wrong.Error()
		return out, nil //nolint:nilerr // it counts as a message that came wrong
	}
	profile, _, _ := strings.Cut(from.Address, "@")
	out.To, out.Content = recipient(profile, to), content(subject, text, html, date)
	if shown.Address != to {
		out.Wrong = "is for another than its envelope"
	}
	return out, nil
}

// bodies are the texts of a message.
func bodies(kind, encoding string, body io.Reader) (text, html string, err error) {
	media, parameters, err := mime.ParseMediaType(kind)
	if err != nil {
		return "", "", err
	}
	if strings.HasPrefix(media, "multipart/") {
		parts := multipart.NewReader(body, parameters["boundary"])
		for {
			part, err := parts.NextRawPart()
			if errors.Is(err, io.EOF) {
				return text, html, nil
			}
			if err != nil {
				return "", "", err
			}
			t, h, err := bodies(part.Header.Get("Content-Type"), part.Header.Get("Content-Transfer-Encoding"), part)
			if err != nil {
				return "", "", err
			}
			text, html = text+t, html+h
		}
	}
	if strings.EqualFold(encoding, "quoted-printable") {
		body = quotedprintable.NewReader(body)
	}
	raw, err := io.ReadAll(body)
	out := strings.ReplaceAll(string(raw), "\r\n", "\n")
	if media == "text/html" {
		return "", out, err
	}
	return out, "", err
}
