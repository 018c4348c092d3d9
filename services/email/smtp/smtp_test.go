package smtp

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestSend_SendsWhatTheServerCanTake(t *testing.T) {
	for name, c := range map[string]struct {
		offers   []string
		envelope Envelope
		message  string
		want     []string
		class    Class
	}{
		"a plain server is asked step by step": {
			want: []string{"EHLO tollgate.example", "MAIL FROM:<billing@tollgate.example>", "RCPT TO:<ana@mail.example>", "DATA", "Subject: hi\r\n\r\n..dot\r\ntext\r\n"},
		},
		"what is offered is used where it is needed": {
			offers: []string{"SIZE 1000", "8BITMIME", "SMTPUTF8", "PIPELINING"}, envelope: Envelope{From: "a@x.example", To: "josé@mail.example"}, message: "Subject: hi\r\n\r\nñ\r\n",
			want: []string{"EHLO tollgate.example", "MAIL FROM:<a@x.example> SIZE=19 BODY=8BITMIME SMTPUTF8", "RCPT TO:<josé@mail.example>", "DATA", "Subject: hi\r\n\r\nñ\r\n"},
		},
		"what is offered and not needed is not used": {
			offers: []string{"8BITMIME", "SMTPUTF8", "SIZE"},
			want:   []string{"EHLO tollgate.example", "MAIL FROM:<billing@tollgate.example> SIZE=27", "RCPT TO:<ana@mail.example>", "DATA", "Subject: hi\r\n\r\n..dot\r\ntext\r\n"},
		},
		"an address beyond ASCII without SMTPUTF8 is not sent": {
			offers: []string{"8BITMIME"}, envelope: Envelope{From: "a@x.example", To: "josé@mail.example"}, want: []string{"EHLO tollgate.example"}, class: ClassUTF8,
		},
		"a message beyond ASCII without 8BITMIME is not sent": {
			message: "Subject: hi\r\n\r\nñ\r\n", want: []string{"EHLO tollgate.example"}, class: ClassEightBit,
		},
		"a message past SIZE is not sent": {offers: []string{"SIZE 10"}, want: []string{"EHLO tollgate.example"}, class: ClassTooLarge},
		"an address with a line break is not sent": {
			envelope: Envelope{From: "a@x.example", To: "b@x.example>\r\nRCPT TO:<c@x.example"}, want: []string{"EHLO tollgate.example"}, class: "request",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t, c.offers...)
				p := NewPool(1)
				e, m := c.envelope, []byte(c.message)
				if e.To == "" {
					e = envelope
				}
				if len(m) == 0 {
					m = message
				}
				sent := p.Send(t.Context(), Key{}, f.server(None), e, m)
				if c.class == "" && sent.Failed != nil || c.class != "" && (sent.Failed == nil || sent.Failed.Class != c.class) {
					t.Errorf("failed: %v, want class %q", sent.Failed, c.class)
				}
				if got := f.commands(); !slices.Equal(got, c.want) {
					t.Errorf("the server got %q, want %q", got, c.want)
				}
				p.Close()
				if p.Open() != 0 {
					t.Errorf("%d connections are open after Close", p.Open())
				}
			})
		})
	}
}

// Every step of a conversation that fails has its class and its time limit, and costs the connection where it must.
func TestSend_OfAServerThatMisbehaves(t *testing.T) {
	type row struct {
		at, answer string
		stage      Stage
		class      Class
		code       int
		enhanced   string
		// within bounds the time of the attempt; least is how long the server is waited for.
		least, within time.Duration
		open          int // connections that can be used again
		offers        []string
	}
	short := time.Second
	rows := map[string]row{
		"it never greets":                       {at: "greeting", answer: hangs, stage: StageGreeting, class: "timeout", least: 5 * time.Minute, within: 5*time.Minute + short},
		"it closes instead of a greeting":       {at: "greeting", answer: closes, stage: StageGreeting, class: "reset", within: short},
		"it greets with garbage":                {at: "greeting", answer: "SSH-2.0-OpenSSH_9.2", stage: StageGreeting, class: "protocol", within: short},
		"it greets with an HTTP error":          {at: "greeting", answer: "HTTP/1.1 400 Bad Request", stage: StageGreeting, class: "protocol", within: short},
		"it greets with a code of HTTP":         {at: "greeting", answer: "199 hello", stage: StageGreeting, class: "protocol", within: short},
		"it refuses in its greeting":            {at: "greeting", answer: "554 5.7.1 go away", stage: StageGreeting, class: ClassReply, code: 554, enhanced: "5.7.1", within: 6 * time.Second},
		"it drips its answer to EHLO":           {at: "EHLO", answer: drips, stage: StageHello, class: "timeout", least: 5 * time.Minute, within: 5*time.Minute + short},
		"its answer to EHLO is a line for ever": {at: "EHLO", answer: endless, stage: StageHello, class: "protocol", within: 6 * time.Second},
		"its answer to EHLO has 1,000 lines":    {at: "EHLO", answer: thousand, stage: StageHello, class: "protocol", within: 6 * time.Second},
		"its codes differ within an answer":     {at: "MAIL", answer: "250-one\r\n550 two", stage: StageMail, class: "protocol", within: short},
		"it never answers MAIL":                 {at: "MAIL", answer: hangs, stage: StageMail, class: "timeout", least: 5 * time.Minute, within: 5*time.Minute + short},
		"it takes MAIL with 354":                {at: "MAIL", answer: "354 what", stage: StageMail, class: "protocol", code: 354, within: short, open: 1},
		"it refuses the sender":                 {at: "MAIL", answer: "550 5.7.1 not you", stage: StageMail, class: ClassReply, code: 550, enhanced: "5.7.1", within: short, open: 1},
		"the message is too big at MAIL":        {at: "MAIL", answer: "552 5.3.4 message too big", stage: StageMail, class: ClassTooLarge, code: 552, enhanced: "5.3.4", within: short, open: 1},
		"it never answers RCPT":                 {at: "RCPT", answer: hangs, stage: StageRecipient, class: "timeout", least: 5 * time.Minute, within: 5*time.Minute + short},
		"it refuses the recipient":              {at: "RCPT", answer: "550-5.1.1 no such\r\n550 5.1.1 mailbox", stage: StageRecipient, class: ClassReply, code: 550, enhanced: "5.1.1", within: short, open: 1},
		"it refuses without a status code":      {at: "RCPT", answer: "550 5.1 no", stage: StageRecipient, class: ClassReply, code: 550, within: short, open: 1},
		"a status code of another class":        {at: "RCPT", answer: "550 2.1.1 no", stage: StageRecipient, class: ClassReply, code: 550, within: short, open: 1},
		"it refuses the recipient in a group":   {at: "RCPT", answer: "550 5.1.1 no", stage: StageRecipient, class: ClassReply, code: 550, enhanced: "5.1.1", within: short, open: 1, offers: []string{"PIPELINING"}},
		"it never answers DATA":                 {at: "DATA", answer: hangs, stage: StageData, class: "timeout", least: 2 * time.Minute, within: 2*time.Minute + short},
		"it refuses DATA":                       {at: "DATA", answer: "554 5.5.1 no valid recipients", stage: StageData, class: ClassReply, code: 554, enhanced: "5.5.1", within: short, open: 1},
		"it reads nothing":                      {at: "block", answer: hangs, stage: StageContent, class: "timeout", least: 3 * time.Minute, within: 3*time.Minute + 2*short},
		"it closes in the message":              {at: "block", answer: closes, stage: StageContent, class: "reset", within: 2 * short},
		"it never answers the dot":              {at: ".", answer: hangs, stage: StageEnd, class: ClassUnknown, least: 10 * time.Minute, within: 10*time.Minute + short},
		"it closes after the dot":               {at: ".", answer: closes, stage: StageEnd, class: ClassUnknown, within: short},
		"it answers the dot with garbage":       {at: ".", answer: "ok", stage: StageEnd, class: ClassUnknown, within: short},
		"it refuses the message":                {at: ".", answer: "554 5.7.1 looks like spam", stage: StageEnd, class: ClassReply, code: 554, enhanced: "5.7.1", within: short, open: 1},
		"it does not know RSET":                 {at: "RSET", answer: "502 what", stage: StageRecipient, class: ClassReply, code: 550, enhanced: "5.1.1", within: short},
	}
	for _, at := range []string{"greeting", "EHLO", "MAIL", "RCPT", "DATA", "."} {
		stage := map[string]Stage{"greeting": StageGreeting, "EHLO": StageHello, "MAIL": StageMail, "RCPT": StageRecipient, "DATA": StageData, ".": StageEnd}[at]
		rows["421 at "+at] = row{at: at, answer: "421 4.7.0 too many connections", stage: stage, class: ClassReply, code: 421, enhanced: "4.7.0", within: short}
		rows["421 at "+at+" in a group"] = row{at: at, answer: "421 4.7.0 too many connections", stage: stage, class: ClassReply, code: 421, enhanced: "4.7.0", within: short, offers: []string{"PIPELINING"}}
	}
	for name, c := range rows {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t, c.offers...)
				f.set(c.at, c.answer)
				if c.at == "RSET" {
					f.set("RCPT", "550 5.1.1 no")
				}
				p := NewPool(1)
				began := time.Now()
				content := message
				if c.at == "block" {
					content = bytes.Repeat([]byte("text\r\n"), 50_000)
				}
				sent := p.Send(t.Context(), Key{}, f.server(None), envelope, content)
				took := time.Since(began)
				if sent.Failed == nil {
					t.Fatal("the message was sent")
				}
				if got := sent.Failed; got.Stage != c.stage || got.Class != c.class || got.Reply.Code != c.code || got.Reply.Enhanced != c.enhanced {
					t.Errorf("failed at %s, class %s, code %d, status %q (%v); want %s, %s, %d, %q",
						got.Stage, got.Class, got.Reply.Code, got.Reply.Enhanced, got, c.stage, c.class, c.code, c.enhanced)
				}
				if took < c.least || took > c.within {
					t.Errorf("took %s, want from %s to %s", took, c.least, c.within)
				}
				if last := sent.Steps[len(sent.Steps)-1]; c.code != 0 && !slices.ContainsFunc(sent.Steps, func(s Step) bool { return strings.HasPrefix(s.Answer, "421") || strings.Contains(s.Answer, c.enhanced) }) {
					t.Errorf("the answer is in no step; the last is %+v", last)
				}
				p.closing.Wait()
				if p.Open() != c.open {
					t.Errorf("%d connections are open, want %d", p.Open(), c.open)
				}
				if c.open == 1 { // and it works
					f.unset(c.at)
					if sent = p.Send(t.Context(), Key{}, f.server(None), envelope, message); sent.Failed != nil || f.dialled != 1 {
						t.Errorf("the next message: %v over %d connections, want one connection", sent.Failed, f.dialled)
					}
				}
				p.Close()
				close(f.end)
			})
		})
	}
}

// A server that takes DATA without a recipient gets a message without one, and the next message is not taken for it.
func TestSend_EndsTheDataOfARecipientThatWasRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, "PIPELINING")
		f.set("RCPT", "550 5.1.1 no")
		f.set("DATA", "354 go on")
		f.set(".", "554 5.5.1 no valid recipients")
		p := NewPool(1)
		if sent := p.Send(t.Context(), Key{}, f.server(None), envelope, message); sent.Failed == nil || sent.Failed.Stage != StageRecipient {
			t.Fatalf("failed: %v, want the refusal of the recipient", sent.Failed)
		}
		want := []string{"EHLO tollgate.example", "MAIL FROM:<billing@tollgate.example>", "RCPT TO:<ana@mail.example>", "DATA", "", "RSET"}
		if got := f.commands(); !slices.Equal(got, want) {
			t.Errorf("the server got %q, want %q", got, want)
		}
		p.Close()
	})
}

func TestSend_IsBrokenOffByItsContext(t *testing.T) {
	for _, at := range []string{"greeting", "EHLO", "MAIL", "block"} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake(t)
			f.set(at, hangs)
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, context.Canceled)
			defer cancel()
			stop, end := context.WithCancel(t.Context())
			defer end()
			context.AfterFunc(ctx, end)
			began := time.Now()
			sent := NewPool(1).Send(stop, Key{}, f.server(None), envelope, message)
			if sent.Failed == nil || sent.Failed.Class != "cancelled" || time.Since(began) > 2*time.Second {
				t.Errorf("at %s: %v after %s, want cancelled after a second", at, sent.Failed, time.Since(began))
			}
			_ = f.conn.Close()
			close(f.end)
		})
	}
}
