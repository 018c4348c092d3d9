package event

// FormMSISDN is what the number of a subscriber has to be, in the words of every source, API and command.
const FormMSISDN = "must be 5 to 15 digits, country code first, without + or 00"

// MSISDN is the one spelling of a subscriber's number, in every source: the digits of E.164, whose country codes
// begin with 1 to 9. A leading + is dropped; anything else is no number, and not ok.
func MSISDN(text string) (msisdn string, ok bool) {
	if text != "" && text[0] == '+' {
		text = text[1:]
	}
	if len(text) < 5 || len(text) > 15 || text[0] == '0' {
		return "", false
	}
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return "", false
		}
	}
	return text, true
}
