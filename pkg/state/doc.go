// Package state keeps what a service knows of the partitions of a topic, behind a fence.
//
// A partition has one owner. Its state is a set of keys in a [Store] with a [Watermark]: how far the topic is worked,
// by which revision of the configuration, and the owner's [Token]. Every commit names the watermark that it replaces,
// so a commit of a former owner is refused ([ErrFenced]). A service whose results do not stand in its topic (a
// dispatcher) uses the store alone; package fold builds exact counting on it.
//
// memstate keeps it in memory, redisstate in Redis; both pass statetest.
package state
