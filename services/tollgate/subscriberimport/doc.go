// Package subscriberimport imports the subscribers of another system: a CSV file, one subscriber a row, each published
// as a subscriber.activated event over ingest's PublishStream.
//
// Every row is validated before any is sent. The id of a row's event derives from its content, so a repeated import
// counts nothing twice. A journal beside the file holds how far it has been acknowledged, so that an interrupted import
// continues there. Memory holds 16 bytes a row and a window of unacknowledged rows.
package subscriberimport
