package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/formicary/formicary/libs/mask"
)

// masking looks in this process for a hundred secrets, in all their forms, in the text of a log as it comes from a pipe; one
// line in a thousand holds one.
func masking(_ context.Context, _ *colony, rep report) error {
	const rounds = 100
	secrets := mask.Sample(100)
	began := time.Now()
	m := mask.New(secrets)
	rep.set("mask", "ready_ms", float64(time.Since(began).Microseconds())/1000)
	var b strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&b, "2026-11-30T02:%02d:%02dZ INFO compiled package %d of github.com/acme/widget/internal/queue in %dms\n", i/60%60, i%60, i, i*7%997)
		if i%1000 == 0 {
			fmt.Fprintf(&b, "+ curl -u user:%s https://api.example.com\n", secrets[i/1000])
		}
	}
	text := []byte(b.String())
	pieces := func(f func(p []byte)) (float64, error) {
		ms, err := median(rounds, func() error {
			for rest := text; len(rest) > 0; {
				n := min(len(rest), 32<<10)
				f(rest[:n])
				rest = rest[n:]
			}
			return nil
		})
		return float64(len(text)) / 1000 / ms, err
	}
	buf := make([]byte, 0, 64<<10)
	floor, err := pieces(func(p []byte) { buf = append(buf[:0], p...) })
	if err != nil {
		return err
	}
	s := m.Stream()
	speed, err := pieces(func(p []byte) { buf = s.Append(buf[:0], p) })
	if err != nil {
		return err
	}
	rep.set("mask", "floor_mb_per_s", floor)
	rep.set("mask", "mb_per_s", speed)
	return nil
}
