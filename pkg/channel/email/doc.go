// Package email is the pure part of e-mail: SMTP profiles as targets, recipients, what is planned of a message, and the
// bytes of one that is sent.
//
// A message is planned once (Planned: subject, bodies, recipient, the domain of its Message-ID) and is the same at every
// attempt; Build adds what is read when it is sent (From, the default Reply-To, DKIM). RFC 5322, 2045 to 2047, 3834, 6376,
// 8058, 8463.
package email
