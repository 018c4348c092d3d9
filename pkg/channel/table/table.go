// Package table lists the channels of the product. What depends on which channels there are follows from this list.
package table

import (
	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/channel/email"
	"github.com/tollgate/tollgate/pkg/channel/topic"
	"github.com/tollgate/tollgate/pkg/channel/webhook"
	"github.com/tollgate/tollgate/pkg/hook"
	"github.com/tollgate/tollgate/pkg/stream"
)

// Channels are all channels, in the order in which they are listed to people.
var Channels = channel.List{
	webhook.Channel,
	email.Channel,
	topic.Channel,
}

// Kinds are the kinds of resource that something is sent to: the targets of the channels, and the handlers of hooks.
func Kinds() []*channel.Kind { return append(Channels.Kinds(), hook.Kind) }

// Topics are all topics of the product.
func Topics(partitions int) []stream.TopicSpec {
	var planned []string
	for _, c := range Channels.Served() {
		planned = append(planned, c.Topic)
	}
	return stream.Topics(partitions, planned...)
}

// Permissions are all that the product's processes, producers and consumers have to be allowed under a prefix; own are the
// topic_prefixes of its tenants.
func Permissions(prefix string, own ...string) []stream.Permission {
	var senders []stream.Sender
	for _, c := range Channels.Served() {
		senders = append(senders, stream.Sender{Service: c.Name, Topic: c.Topic})
	}
	return append(stream.Permissions(prefix, senders...), stream.PublishPermissions(own...)...)
}
