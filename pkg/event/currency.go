package event

import "github.com/bojanz/currency"

// FormCurrency is what a code of a currency has to be.
const FormCurrency = "must be a currency of ISO 4217, three capital letters such as EUR"

// IsCurrency reports that amounts may be in this currency: one of ISO 4217 that is in use, or the special drawing
// rights that operators settle roaming in.
func IsCurrency(code string) bool {
	_, ok := currencies[code]
	return ok
}

var currencies = func() map[string]struct{} {
	m := map[string]struct{}{"XDR": {}}
	for _, code := range currency.GetCurrencyCodes() {
		m[code] = struct{}{}
	}
	return m
}()
