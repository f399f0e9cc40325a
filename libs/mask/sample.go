package mask

import (
	"encoding/base64"
	"math/rand/v2"
)

// Sample makes values as secrets are, always the same: passwords, tokens and keys of several lines. For measuring.
func Sample(n int) []string {
	rnd := rand.New(rand.NewPCG(1, 2)) // #nosec G404 -- not a secret
	out := make([]string, 0, n)
	for i := range n {
		raw := make([]byte, 12+rnd.IntN(36))
		for k := range raw {
			raw[k] = byte(' ' + rnd.IntN('~'-' '))
		}
		switch i % 4 {
		case 0:
			out = append(out, string(raw))
		case 1:
			out = append(out, "ghp_"+base64.RawURLEncoding.EncodeToString(raw))
		default:
			out = append(out, base64.StdEncoding.EncodeToString(raw))
		}
	}
	return out
}
