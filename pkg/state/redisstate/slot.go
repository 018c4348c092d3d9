package redisstate

import (
	"fmt"
	"sync"

	"github.com/tollgate/tollgate/pkg/state"
)

// Keys of a partition share a hash tag, so that they lie on one node of a cluster and one script may write them all.
// The tag's number is chosen so that partition p of P lies in the p-th part of the slots: even over nodes.

const slots = 16384

// base is what stands before each key of a partition.
func (s *Store) base(p state.Partition) string {
	key := baseKey{s.prefix, p}
	if b, ok := bases.Load(key); ok {
		return b.(string)
	}
	b := "{" + tag(s.prefix, p) + "}"
	bases.Store(key, b)
	return b
}

type baseKey struct {
	prefix    string
	partition state.Partition
}

// bases never forgets: a process knows few partitions.
var bases sync.Map

func tag(prefix string, p state.Partition) string {
	count := max(int(p.Count), 1)
	low, high := int(p.Number)*slots/count, (int(p.Number)+1)*slots/count
	for k := 0; ; k++ {
		t := fmt.Sprintf("%s:%s:%d.%d", prefix, p.Domain, p.Number, k)
		if slot := int(crc16(t)) % slots; slot >= low && slot < high || low >= high {
			return t
		}
	}
}

// crc16 is XMODEM's, as the Redis Cluster specification has it.
func crc16(s string) uint16 {
	var crc uint16
	for i := range len(s) {
		crc ^= uint16(s[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return crc
}
