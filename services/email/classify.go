package email

import (
	"strings"
	"sync"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/outbound"
	"github.com/tollgate/tollgate/services/email/smtp"
)

// finding is whose a failure is, and what follows.
type finding struct {
	result delivery.Result
	fault  delivery.Fault
	// busy: the server asks for less at once. uncounted: it uses no attempt of the delivery.
	busy, uncounted bool
	// suppress: the address does not exist. policy: the refusal names a policy, and many of them in a row are the profile's.
	suppress, policy bool
}

// profiles are findings on the profile: its server, its account, its sender.
var profileFails = finding{result: delivery.Failed, fault: delivery.FaultReceiver, uncounted: true}

// refusesDelivery is a finding on this message or this recipient alone, for good.
var refusesDelivery = finding{result: delivery.Refused, fault: delivery.FaultRecipient}

// classify decides by the step that failed and the answer, never by texts. nil is success.
func classify(e *smtp.Error) finding {
	if e == nil {
		return finding{result: delivery.Accepted}
	}
	switch e.Class {
	case smtp.Class(outbound.ClassLocal):
		return finding{result: delivery.LocalFailure, fault: delivery.FaultOurs}
	case smtp.ClassUTF8, smtp.ClassEightBit, smtp.ClassTooLarge, smtp.Class(outbound.ClassRequest):
		return refusesDelivery
	}
	switch {
	case e.Closing():
		// The service closes, at whatever command: none of this delivery.
		closing := profileFails
		closing.busy = true
		return closing
	case e.Stage < smtp.StageRecipient, wantsAuth(e.Reply.Code):
		fails := profileFails
		if e.Class == smtp.Class(outbound.ClassTimeout) {
			fails.fault = delivery.FaultSlow
		}
		return fails
	case e.Class != smtp.ClassReply:
		return lost(e)
	case e.Reply.Class() == 4:
		// Greylisting, a full mailbox: of this recipient, and of this time.
		return finding{result: delivery.Failed, fault: delivery.FaultRecipient}
	}
	v := refusesDelivery
	v.suppress = e.Stage == smtp.StageRecipient && noMailbox(e.Reply)
	v.policy = strings.HasPrefix(e.Reply.Enhanced, "5.7.")
	return v
}

// lost is a connection that broke, stood still or answered nonsense once the recipient was named: it counts for both, since a
// message that a server can't bear must end.
func lost(e *smtp.Error) finding {
	v := finding{result: delivery.Failed, fault: delivery.FaultReceiver}
	if e.Class == smtp.Class(outbound.ClassTimeout) {
		v.fault = delivery.FaultSlow
	}
	return v
}

// wantsAuth: the server wants an account that the profile has not, whatever command it answers so (RFC 4954, section 6).
func wantsAuth(code int) bool { return code == 530 || code == 534 || code == 535 || code == 538 }

// noMailbox: the address can't exist (RFC 3463, section 3.2; RFC 7505 for 5.1.10). A reply without a status code proves
// nothing: many servers answer 550 to whoever they dislike.
func noMailbox(r smtp.Reply) bool {
	if r.Code != 550 && r.Code != 551 && r.Code != 553 {
		return false
	}
	switch r.Enhanced {
	case "5.1.1", "5.1.3", "5.1.6", "5.1.10":
		return true
	}
	return false
}

// refusalsOfProfile is from how many different recipients in a row refusals by a policy are the profile's.
const refusalsOfProfile = 10

// refusals are the recipients that were refused by a policy since the last message was accepted. They are kept in memory: a
// restart counts anew.
type refusals struct {
	mu sync.Mutex
	of map[string]bool
}

// note takes a finding over and returns what it comes to.
func (r *refusals) note(v finding, recipient string) finding {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case v.result == delivery.Accepted:
		r.of = nil
	case v.policy:
		if r.of == nil {
			r.of = map[string]bool{}
		}
		if len(r.of) < refusalsOfProfile {
			r.of[recipient] = true
		}
		if len(r.of) >= refusalsOfProfile {
			return profileFails
		}
	}
	return v
}
