package jobmanager

import (
	"errors"
	"fmt"
	"time"

	"github.com/formicary/formicary/services/job-manager/internal/channel"
	"github.com/formicary/formicary/services/job-manager/internal/notify"
	"github.com/formicary/formicary/services/job-manager/internal/request"
)

// Config is what an operator may tune.
type Config struct {
	// CachedDefinitions is how many parsed definitions are kept in memory.
	CachedDefinitions int
	// SubmitBatch is the largest number of submissions in one transaction, SubmitFlushers how many of these run at once.
	SubmitBatch, SubmitFlushers int
	// SilentAfter is how long an admitted request may hear nothing before supervisor is asked about it.
	SilentAfter time.Duration
	// SweepEvery is the pause between two sweeps for what no message told of.
	SweepEvery time.Duration
	// Launches bound how long the templates of admitted requests may take.
	Launches request.LaunchTimes
	// Notify says how people and webhooks are reached.
	Notify channel.Config
	// Delivery says when and how often.
	Delivery notify.Options
}

// DefaultConfig returns what fits a colony of any size.
func DefaultConfig() Config {
	return Config{
		CachedDefinitions: 256, SubmitBatch: 500, SubmitFlushers: 2, SilentAfter: 15 * time.Second, SweepEvery: 5 * time.Second,
		Launches: request.DefaultLaunchTimes(),
		Notify:   channel.DefaultConfig(), Delivery: notify.DefaultOptions(),
	}
}

// Validate reports all faults at once.
func (c Config) Validate() error {
	var faults []error
	for name, positive := range map[string]bool{
		"CachedDefinitions": c.CachedDefinitions > 0, "SubmitBatch": c.SubmitBatch > 0, "SubmitFlushers": c.SubmitFlushers > 0,
		"SilentAfter": c.SilentAfter > 0, "SweepEvery": c.SweepEvery > 0,
		"Launches.Call": c.Launches.Call > 0, "Launches.Shared": c.Launches.Shared > 0, "Launches.Alone": c.Launches.Alone >= c.Launches.Shared,
	} {
		if !positive {
			faults = append(faults, fmt.Errorf("%s must be positive", name))
		}
	}
	return errors.Join(append(faults, c.Notify.Validate(), c.Delivery.Validate())...)
}
