// Package fold keeps one service's state of a partitioned log in a store of package state, exactly: each record of the log
// is counted once, whatever dies.
//
// A partition of a log has one owner. Its state is a fold over that log and nothing else: configuration and the passing of
// time stand in the log as control records. The owner works in cycles:
//
//	open     take the partition: a token of ours into its watermark
//	fetch    from where the partition stands
//	load     watermark and records in one read, what is not in memory
//	apply    pure Go: (record, event, log time, revision) -> (record, outcomes)
//	publish  the outcomes, acknowledged by all replicas
//	commit   one fenced atomic step: watermark, records, due lists; beside the cycles that follow, one at a time
//	move     the published offset, which is the offset of the group
//
// A crash at any line repeats outcomes with the same bytes under the same ids and counts nothing twice. What the package
// promises, simulated in foldtest: for any cutting into batches, any kill, any zombie, any store emptied or set back, the
// first appearances of outcomes equal those of one undisturbed run, byte for byte and, per subject, in order.
//
// A call that changes something is a record of the log as well, which its owner appends, decides where it stands, and
// answers after the commit: see [Engine.Call].
//
// A service gives a [Fold]; [Engine] does the rest. A service whose results do not stand in its log (a dispatcher) uses only
// the store.
package fold
