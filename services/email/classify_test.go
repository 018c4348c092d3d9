package email

import (
	"errors"
	"fmt"
	"testing"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/services/email/smtp"
)

func TestClassify_IsByStepAndAnswer(t *testing.T) {
	lost := errors.New("lost")
	profile := finding{result: delivery.Failed, fault: delivery.FaultReceiver, uncounted: true}
	slowProfile := finding{result: delivery.Failed, fault: delivery.FaultSlow, uncounted: true}
	closing := finding{result: delivery.Failed, fault: delivery.FaultReceiver, uncounted: true, busy: true}
	both := finding{result: delivery.Failed, fault: delivery.FaultReceiver}
	slowBoth := finding{result: delivery.Failed, fault: delivery.FaultSlow}
	later := finding{result: delivery.Failed, fault: delivery.FaultRecipient}
	refused := finding{result: delivery.Refused, fault: delivery.FaultRecipient}
	suppressed := finding{result: delivery.Refused, fault: delivery.FaultRecipient, suppress: true}
	policy := finding{result: delivery.Refused, fault: delivery.FaultRecipient, policy: true}
	type row struct {
		stage    smtp.Stage
		class    smtp.Class
		code     int
		enhanced string
		want     finding
	}
	rows := map[string]row{
		"the host has no address":                {smtp.StageConnect, "dns", 0, "", profile},
		"the address is not allowed":             {smtp.StageConnect, "refused_address", 0, "", profile},
		"connecting takes too long":              {smtp.StageConnect, "timeout", 0, "", slowProfile},
		"no descriptor is free":                  {smtp.StageConnect, "local", 0, "", finding{result: delivery.LocalFailure, fault: delivery.FaultOurs}},
		"it never greets":                        {smtp.StageGreeting, "timeout", 0, "", slowProfile},
		"it greets with 554":                     {smtp.StageGreeting, smtp.ClassReply, 554, "5.7.1", profile},
		"the certificate is not trusted":         {smtp.StageTLS, smtp.ClassTLS, 0, "", profile},
		"the password is wrong":                  {smtp.StageAuth, smtp.ClassAuth, 535, "5.7.8", profile},
		"the sender is refused":                  {smtp.StageMail, smtp.ClassReply, 550, "5.7.1", profile},
		"no room at MAIL":                        {smtp.StageMail, smtp.ClassReply, 452, "4.3.1", profile},
		"the message is too big at MAIL":         {smtp.StageMail, smtp.ClassTooLarge, 552, "5.3.4", refused},
		"SMTPUTF8 is not offered":                {smtp.StageMail, smtp.ClassUTF8, 0, "", refused},
		"8BITMIME is not offered":                {smtp.StageMail, smtp.ClassEightBit, 0, "", refused},
		"an address with a line break":           {smtp.StageMail, "request", 0, "", refused},
		"greylisting at RCPT":                    {smtp.StageRecipient, smtp.ClassReply, 450, "4.2.0", later},
		"greylisting after the dot":              {smtp.StageEnd, smtp.ClassReply, 451, "4.7.1", later},
		"a policy at RCPT":                       {smtp.StageRecipient, smtp.ClassReply, 550, "5.7.1", policy},
		"a policy after the dot":                 {smtp.StageEnd, smtp.ClassReply, 554, "5.7.1", policy},
		"no such mailbox, without a status code": {smtp.StageRecipient, smtp.ClassReply, 550, "", refused},
		"a full mailbox":                         {smtp.StageRecipient, smtp.ClassReply, 552, "5.2.2", refused},
		"5.1.1 with a code of another thing":     {smtp.StageRecipient, smtp.ClassReply, 554, "5.1.1", refused},
		"5.1.1 after the dot":                    {smtp.StageEnd, smtp.ClassReply, 550, "5.1.1", refused},
		"5.1.1 at DATA":                          {smtp.StageData, smtp.ClassReply, 550, "5.1.1", refused},
		"5.1.2, a domain":                        {smtp.StageRecipient, smtp.ClassReply, 550, "5.1.2", refused},
		"AUTH is wanted at RCPT":                 {smtp.StageRecipient, smtp.ClassReply, 530, "5.7.0", profile},
		"it never answers RCPT":                  {smtp.StageRecipient, "timeout", 0, "", slowBoth},
		"it closes in the message":               {smtp.StageContent, "reset", 0, "", both},
		"it closes after the dot":                {smtp.StageEnd, smtp.ClassUnknown, 0, "", both},
		"it answers RCPT with garbage":           {smtp.StageRecipient, smtp.ClassProtocol, 0, "", both},
	}
	for _, code := range []int{550, 551, 553} {
		for _, enhanced := range []string{"5.1.1", "5.1.3", "5.1.6", "5.1.10"} {
			rows[fmt.Sprintf("%d %s at RCPT", code, enhanced)] = row{smtp.StageRecipient, smtp.ClassReply, code, enhanced, suppressed}
		}
	}
	for s := smtp.StageGreeting; s <= smtp.StageEnd; s++ {
		rows["421 at "+s.String()] = row{s, smtp.ClassReply, 421, "4.7.0", closing}
	}
	for name, c := range rows {
		t.Run(name, func(t *testing.T) {
			e := &smtp.Error{Stage: c.stage, Class: c.class, Reply: smtp.Reply{Code: c.code, Enhanced: c.enhanced}}
			if c.code == 0 {
				e.Err = lost
			}
			if got := classify(e); got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
	if got := classify(nil); got != (finding{result: delivery.Accepted}) {
		t.Errorf("success is %+v", got)
	}
}

func TestRefusals_TenDifferentRecipientsInARowAreTheProfiles(t *testing.T) {
	policy := finding{result: delivery.Refused, fault: delivery.FaultRecipient, policy: true}
	other := finding{result: delivery.Refused, fault: delivery.FaultRecipient}
	var r refusals
	note := func(v finding, recipient string) delivery.Result { return r.note(v, recipient).result }
	for n := range 9 {
		if got := note(policy, fmt.Sprint(n)); got != delivery.Refused {
			t.Fatalf("refusal %d is %d", n+1, got)
		}
		for range 3 { // the same recipient, and refusals of other kinds between
			if note(policy, fmt.Sprint(n)) != delivery.Refused || note(other, "x") != delivery.Refused {
				t.Fatal("not of the recipient")
			}
		}
	}
	if got := r.note(policy, "9"); got != profileFails {
		t.Errorf("the tenth is %+v, want that of the profile", got)
	}
	if got := r.note(policy, "1"); got != profileFails {
		t.Errorf("and so are those after it, not %+v", got)
	}
	if note(finding{result: delivery.Accepted}, "10") != delivery.Accepted || note(policy, "11") != delivery.Refused {
		t.Error("one that is accepted begins a new row")
	}
}

func TestWaits_AreWithinTheHorizon(t *testing.T) {
	var all, least = waits.Least() * 5 / 4, waits.Least()
	if all > delivery.Horizon || all < delivery.Horizon-waits.Longest() || least <= 0 {
		t.Errorf("they are %s in all", all)
	}
}
