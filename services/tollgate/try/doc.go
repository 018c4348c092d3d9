// Package try shows the product at work: it runs everything in one process, configures a sample tenant, sends usage that
// crosses a safeguard's alert and its limit, receives the webhooks with a receiver of its own and the e-mail with a mail server of
// its own, and prints each step.
//
// What it keeps in its folder lets a later run go on: the services' data, the API key, the receiver's certificate and what
// it received, and how many runs there were. Each run brings subscribers and events of its own; those of earlier runs are
// neither counted nor notified again.
package try
