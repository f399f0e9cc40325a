package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/formicary/formicary/libs/errs"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	resourcev1 "github.com/formicary/formicary/proto/gen/formicary/resource/v1"
	schedulev1 "github.com/formicary/formicary/proto/gen/formicary/schedule/v1"
	"github.com/formicary/formicary/services/formicary/internal/doctor"
)

func (a *app) doctorCmd() *cobra.Command {
	var quiet bool
	var data string
	c := &cobra.Command{
		Use: "doctor", Short: "Check this machine and the colony, with advice",
		Long: `Check what a colony needs from this machine, the Docker engine (the one that DOCKER_HOST names) included, and whether the colony in use is well: each service answers, the
scheduler leads, ants are there. With --quiet only the exit code tells whether the colony takes work.`,
		Example: "  formicary doctor\n  formicary doctor --quiet && formicary job apply job.yaml",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if quiet {
				if doctor.Failed(a.checkColony(c.Context())) {
					return &exit{code: exitUnavailable}
				}
				return nil
			}
			return a.doctor(c.Context(), data)
		},
	}
	c.Flags().BoolVarP(&quiet, "quiet", "q", false, "print nothing; exit code 0 only when the colony is ready")
	c.Flags().StringVar(&data, "data", defaultData, "data `directory` that up would use")
	return c
}

func (a *app) doctor(ctx context.Context, data string) error {
	found := append(doctor.Machine(ctx, data, defaultServer), doctor.Engine(ctx, a.Getenv("DOCKER_HOST"))...)
	colony := a.checkColony(ctx)
	// Without a named server a colony need not run.
	if !a.named() && doctor.Failed(colony) {
		for i := range colony {
			if colony[i].Grade == doctor.Bad {
				colony[i].Grade = doctor.Note
			}
		}
	}
	found = append(found, colony...)
	if a.output == "json" || a.output == "yaml" {
		raw, err := json.Marshal(map[string]any{"findings": found})
		if err != nil {
			return fmt.Errorf("encode findings: %w", err)
		}
		if err := a.showJSON(raw); err != nil {
			return err
		}
	} else if err := tabulate(a.Out, func(w io.Writer) {
		for _, f := range found {
			row(w, f.Grade, f.Name, f.What)
			if f.Advice != "" {
				row(w, "", "", "→ "+f.Advice)
			}
		}
	}); err != nil {
		return err
	}
	if doctor.Failed(found) {
		return &exit{code: exitUnavailable}
	}
	return nil
}

// checkColony asks the colony in use and every service behind it.
func (a *app) checkColony(ctx context.Context) []doctor.Finding {
	t, err := a.target()
	if err != nil {
		return []doctor.Finding{{Name: "colony", Grade: doctor.Bad, What: err.Error(), Advice: "start one with: formicary up"}}
	}
	if t.dead != 0 {
		return []doctor.Finding{{
			Name: "colony", Grade: doctor.Bad, What: fmt.Sprintf("process %d, which wrote %s, is not running", t.dead, filepath.Base(t.why)),
			Advice: "start it again with: formicary up --data DIR",
		}}
	}
	first := doctor.Ready(ctx, t.ops)
	if first.Grade != doctor.OK {
		return []doctor.Finding{first}
	}
	as, err := a.callerAt(t)
	if err != nil {
		return []doctor.Finding{first, {Name: "gateway", Grade: doctor.Bad, What: err.Error()}}
	}
	c, err := dial(t, as)
	if err != nil {
		return []doctor.Finding{first, {Name: "gateway", Grade: doctor.Bad, What: err.Error()}}
	}
	defer c.close()
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	return []doctor.Finding{first, c.checkJobs(ctx), c.checkSupervisor(ctx), c.checkScheduler(ctx), c.checkAnts(ctx)}
}

func answer(name string, err error) doctor.Finding {
	if err != nil {
		return doctor.Finding{Name: name, Grade: doctor.Bad, What: err.Error(), Advice: "look at the log of " + name}
	}
	return doctor.Finding{Name: name, Grade: doctor.OK, What: "answers"}
}

func (c *client) checkJobs(ctx context.Context) doctor.Finding {
	_, err := c.definitions.ListJobDefinitions(ctx, &jobv1.ListJobDefinitionsRequest{PageSize: 1})
	return answer("job-manager", err)
}

func (c *client) checkSupervisor(ctx context.Context) doctor.Finding {
	_, err := c.executions.GetExecution(ctx, &executionv1.GetExecutionRequest{RequestId: uuid.Nil.String()})
	if errs.CodeOf(err) == errs.CodeNotFound {
		err = nil
	}
	return answer("supervisor", err)
}

func (c *client) checkScheduler(ctx context.Context) doctor.Finding {
	res, err := c.queue.GetScheduler(ctx, &schedulev1.GetSchedulerRequest{})
	f := answer("scheduler", err)
	if err == nil {
		f.What = fmt.Sprintf("answers; leading: %t, epoch %d", res.GetLeading(), res.GetEpoch())
	}
	return f
}

func (c *client) checkAnts(ctx context.Context) doctor.Finding {
	const name = "resource-manager"
	res, err := c.ants.ListAnts(ctx, &resourcev1.ListAntsRequest{PageSize: pageSize})
	if err != nil {
		return answer(name, err)
	}
	online, slots, used := 0, int32(0), int32(0)
	for _, x := range res.GetAnts() {
		if x.GetState() == resourcev1.Ant_ONLINE {
			online++
			slots += x.GetSlots()
			used += x.GetUsed()
		}
	}
	f := doctor.Finding{Name: name, Grade: doctor.OK, What: fmt.Sprintf("answers; ants online: %d, slots used: %d of %d", online, used, slots)}
	if online == 0 {
		f.Grade, f.Advice = doctor.Note, "no ant takes work: start one with: formicary ant start --colony FILE --id NAME"
	}
	return f
}
