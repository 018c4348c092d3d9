package spend_test

import (
	"fmt"

	"github.com/tollgate/tollgate/pkg/spend"
)

// A limit is crossed once, however charges are split: the same 60 EUR as one charge, as three, and as sixty. The limit of
// 50 EUR is a threshold at 100 %.
func ExampleCount_Charge() {
	euros := func(n int64) spend.Amount {
		a, err := spend.AmountOf(n, 0)
		if err != nil {
			panic(err)
		}
		return a
	}
	limit := euros(50)
	thresholds := []spend.Threshold{{Percent: 80}, {Percent: 100}}
	for _, charges := range [][]int64{{60}, {39, 1, 20}, ones(60)} {
		var count spend.Count
		var crossed []string
		for _, units := range charges {
			next, crossings, err := count.Charge(euros(units), limit, thresholds)
			if err != nil {
				panic(err)
			}
			for _, c := range crossings {
				crossed = append(crossed, fmt.Sprintf("%s at %s", c.Threshold, next.Spent))
			}
			count = next
		}
		fmt.Printf("%d charges, %s EUR spent, crossed: %v\n", len(charges), count.Spent, crossed)
	}
	// Output:
	// 1 charges, 60 EUR spent, crossed: [80% at 60 100% at 60]
	// 3 charges, 60 EUR spent, crossed: [80% at 40 100% at 60]
	// 60 charges, 60 EUR spent, crossed: [80% at 40 100% at 50]
}

// ones are n charges of one unit each.
func ones(n int) []int64 {
	all := make([]int64, n)
	for i := range all {
		all[i] = 1
	}
	return all
}
