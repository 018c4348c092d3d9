// Package table lists the channels of the product. What depends on which channels there are follows from this list.
package table

import (
	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/channel/webhook"
)

// Channels are all channels, in the order in which they are listed to people.
var Channels = channel.List{
	webhook.Channel,
}
