package email

import (
	"time"

	"github.com/tollgate/tollgate/pkg/delivery"
)

// waits are for greylisting: a server that asks to come again takes the message after minutes, one that is full after hours.
// They are 27.9 hours in all.
var waits = delivery.Backoff{
	time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour,
	4 * time.Hour, 4 * time.Hour, 4 * time.Hour, 4 * time.Hour, 4 * time.Hour, 4 * time.Hour,
}
