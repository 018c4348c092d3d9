package spend

import (
	"math/bits"
	"time"
)

// youngest is the age from which a period's spend is enough to forecast its future.
const youngest = time.Hour

// lastSecond is 9999-12-31T23:59:59Z, the last time that a timestamp on the wire can hold.
const lastSecond = 253402300799

// Forecast is when the limit is reached if spending goes on as it did since the period's start:
//
//	now + (limit − spent) × (now − start) / spent
//
// in whole seconds, rounded down. ok is false where nothing is spent, the period is younger than an hour, the limit is
// reached, or the time is past the year 9999.
func Forecast(now, start time.Time, spent, limit Amount) (at time.Time, ok bool) {
	if spent <= 0 || spent >= limit || now.Sub(start) < youngest {
		return time.Time{}, false
	}
	elapsed := now.Unix() - start.Unix()
	high, low := bits.Mul64(uint64(limit-spent), uint64(elapsed))
	if high >= uint64(spent) {
		return time.Time{}, false // the quotient is past 64 bits
	}
	left, _ := bits.Div64(high, low, uint64(spent))
	if now.Unix() > lastSecond || left > uint64(lastSecond-now.Unix()) {
		return time.Time{}, false
	}
	return time.Unix(now.Unix()+int64(left), 0).UTC(), true
}
