// Package roster brings the subscribers of another system in: a CSV file, one subscriber a row, each published as a
// subscriber.activated event over ingest's PublishStream.
//
// Every row is judged before any is sent. A row's event has an id that follows from its content, so that sending it again
// counts nothing twice; how far a file has been acknowledged stands in a journal beside it, so that an import that was
// interrupted goes on from there. Memory holds 16 bytes a row and a window of those that are on their way.
package roster
