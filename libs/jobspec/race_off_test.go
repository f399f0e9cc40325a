//go:build !race

package jobspec_test

import "time"

// limitOfHostile is how long a hostile condition may take.
const limitOfHostile = 100 * time.Millisecond
