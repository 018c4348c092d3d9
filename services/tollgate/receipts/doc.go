// Package receipts compares what a receiver logged with what the attempts hold.
//
// An export of attempts (Attempt, one JSON object a line) and a log of receipts (Receipt, likewise) go in. A Report comes
// out: which deliveries are lost, which gaps of an order are explained by a settlement, which receipts are repeats, and
// whether first receipts came in order. The package is pure.
package receipts
