package smtp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Bounds of a reply. RFC 5321, section 4.5.3.1.5 allows 512 octets a line; servers that explain themselves take more.
const (
	maxReplyLine  = 2048
	maxReplyLines = 128
	// maxReplyKept is how much of the text of a reply is kept, in bytes.
	maxReplyKept = 4096
)

// Reply is what a server answered to one command.
type Reply struct {
	// Code has three digits; 0 where there was no answer.
	Code int
	// Enhanced is the status code of RFC 3463 such as "5.1.1", empty where the reply has none.
	Enhanced string
	// Text is the lines without their codes, at most 4 KiB.
	Text string
}

// Class is the first digit of the code.
func (r Reply) Class() int { return r.Code / 100 }

// String is the reply in one line.
func (r Reply) String() string {
	if r.Code == 0 {
		return ""
	}
	text := strings.ReplaceAll(r.Text, "\n", " / ")
	if r.Enhanced != "" {
		text = r.Enhanced + " " + text
	}
	return strings.TrimSpace(strconv.Itoa(r.Code) + " " + text)
}

var errReply = errors.New("the answer is not one of SMTP")

// readReply reads one reply. An error of the connection is returned as it is, everything else wraps errReply.
func readReply(r *bufio.Reader) (Reply, error) {
	var out Reply
	var text strings.Builder
	for n := 1; ; n++ {
		if n > maxReplyLines {
			return out, fmt.Errorf("%w: it has more than %d lines", errReply, maxReplyLines)
		}
		line, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			return out, fmt.Errorf("%w: a line has more than %d bytes", errReply, maxReplyLine)
		case err != nil:
			return out, err
		}
		line = bytes.TrimRight(line, "\r\n")
		code, more, rest, ok := cutLine(line)
		if !ok || n > 1 && code != out.Code {
			return out, fmt.Errorf("%w: %q", errReply, printable(line, 80))
		}
		out.Code = code
		status, rest := cutEnhanced(code, rest)
		if status != "" && out.Enhanced == "" {
			out.Enhanced = status
		}
		if text.Len() < maxReplyKept {
			if n > 1 {
				text.WriteByte('\n')
			}
			text.WriteString(printable(rest, maxReplyKept-text.Len()))
		}
		if !more {
			out.Text = text.String()
			return out, nil
		}
	}
}

// cutLine reads "250-text" or "250 text"; the text may be missing.
func cutLine(line []byte) (code int, more bool, rest []byte, ok bool) {
	if len(line) < 3 {
		return 0, false, nil, false
	}
	for _, c := range line[:3] {
		if c < '0' || c > '9' {
			return 0, false, nil, false
		}
		code = code*10 + int(c-'0')
	}
	if code < 200 || code > 599 {
		return 0, false, nil, false
	}
	if len(line) == 3 {
		return code, false, nil, true
	}
	if line[3] != ' ' && line[3] != '-' {
		return 0, false, nil, false
	}
	return code, line[3] == '-', line[4:], true
}

// cutEnhanced reads the status code that begins a text (RFC 2034). Its first digit is that of the reply's code.
func cutEnhanced(code int, text []byte) (status string, rest []byte) {
	word, rest, _ := bytes.Cut(text, []byte(" "))
	parts := bytes.Split(word, []byte("."))
	if len(parts) != 3 || len(parts[0]) != 1 || int(parts[0][0]-'0') != code/100 {
		return "", text
	}
	for _, part := range parts[1:] {
		if len(part) < 1 || len(part) > 3 || bytes.ContainsFunc(part, func(c rune) bool { return c < '0' || c > '9' }) {
			return "", text
		}
	}
	return string(word), rest
}

// printable is text of a server as it may be shown and logged, at most most bytes of it.
func printable(text []byte, most int) string {
	if len(text) > most {
		text = text[:max(0, most)]
	}
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(string(text), "\uFFFD"))
}
