package produce

import (
	"bufio"
	"encoding/hex"
	"os"
	"strconv"
	"strings"
	"testing"
)

// The vectors were printed by Kafka's Java client: testdata/Murmur2Vectors.java.
func TestPartitionOf_AgreesWithTheJavaClient(t *testing.T) {
	f, err := os.Open("testdata/murmur2.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	for lines := bufio.NewScanner(f); lines.Scan(); n++ {
		part := strings.Split(lines.Text(), " ")
		key, err := hex.DecodeString(part[0])
		if err != nil {
			t.Fatal(err)
		}
		if got := strconv.Itoa(int(int32(murmur2(key)))); got != part[1] {
			t.Errorf("murmur2(%x) = %s, in Java %s", key, got, part[1])
		}
		if got := strconv.Itoa(int(PartitionOf(key, 24))); got != part[2] {
			t.Errorf("partition of %x = %s, in Java %s", key, got, part[2])
		}
	}
	if n < 200 {
		t.Fatalf("%d vectors", n)
	}
}
