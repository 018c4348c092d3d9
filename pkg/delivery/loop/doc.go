// Package loop works the partitions of a channel's deliveries: it reads them, sends each in its turn, records what came of it,
// and follows the health of their endpoints. Every channel runs it; delivery.Sender and delivery.Directory are what a
// channel brings.
package loop
