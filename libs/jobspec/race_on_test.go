//go:build race

package jobspec_test

import "time"

// limitOfHostile is how long a hostile condition may take; the race detector slows everything down.
const limitOfHostile = 2 * time.Second
