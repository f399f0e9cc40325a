package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	resourcev1 "github.com/formicary/formicary/proto/gen/formicary/resource/v1"
)

func (a *app) antCmd() *cobra.Command {
	return group("ant", "Ants: the workers that execute tasks", "formicary ant list", a.antStartCmd(), a.antListCmd(), a.antGetCmd(), a.antDrainCmd(), a.antResumeCmd(), a.antRevokeCmd(), a.antTokenCmd(), a.antExecutorsCmd())
}

func (a *app) antListCmd() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the ants", Args: cobra.NoArgs, Example: "  formicary ant list\n  formicary ant list -o json",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				res, err := cl.ants.ListAnts(ctx, &resourcev1.ListAntsRequest{PageSize: pageSize})
				if err != nil {
					return err
				}
				ids := make([]string, len(res.GetAnts()))
				for i, x := range res.GetAnts() {
					ids[i] = x.GetId()
				}
				return a.show(res, ids, func(w io.Writer) { antTable(w, res.GetAnts()) })
			})
		},
	}
}

func antTable(w io.Writer, ants []*resourcev1.Ant) {
	row(w, "ID", "STATE", "SLOTS", "METHODS", "TAGS", "VERSION", "BEAT")
	for _, x := range ants {
		row(w, x.GetId(), x.GetState(), fmt.Sprintf("%d/%d", x.GetUsed(), x.GetSlots()), methodsText(x.GetMethods()),
			strings.Join(x.GetTags(), ","), x.GetVersion(), since(x.GetHeartbeatAt()))
	}
}

// methodsText joins methods; several HTTP methods are one word, the other formats name them.
func methodsText(methods []string) string {
	const http = "HTTP_"
	var out []string
	web := 0
	for _, m := range methods {
		if strings.HasPrefix(m, http) {
			web++
			continue
		}
		out = append(out, m)
	}
	if web > 0 {
		out = append(out, fmt.Sprintf("%s* (%d)", http, web))
	}
	return strings.Join(out, ",")
}

// oneAnt is a command about one ant.
func (a *app) oneAnt(use, short string, call func(context.Context, *client, string) (*resourcev1.Ant, error)) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: cobra.ExactArgs(1), Example: "  formicary ant " + strings.Replace(use, "ANT", "ant-1", 1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				x, err := call(ctx, cl, args[0])
				if err != nil {
					return err
				}
				one := []*resourcev1.Ant{x}
				return a.show(x, []string{x.GetId()}, func(w io.Writer) { antTable(w, one) })
			})
		},
	}
}

func (a *app) antGetCmd() *cobra.Command {
	return a.oneAnt("get ANT", "Show an ant", func(ctx context.Context, cl *client, id string) (*resourcev1.Ant, error) {
		res, err := cl.ants.GetAnt(ctx, &resourcev1.GetAntRequest{Id: id})
		return res.GetAnt(), err
	})
}

func (a *app) antDrainCmd() *cobra.Command {
	return a.oneAnt("drain ANT", "Place nothing more on an ant; what runs there finishes", func(ctx context.Context, cl *client, id string) (*resourcev1.Ant, error) {
		res, err := cl.ants.DrainAnt(ctx, &resourcev1.DrainAntRequest{Id: id})
		return res.GetAnt(), err
	})
}

func (a *app) antResumeCmd() *cobra.Command {
	return a.oneAnt("resume ANT", "End a drain", func(ctx context.Context, cl *client, id string) (*resourcev1.Ant, error) {
		res, err := cl.ants.ResumeAnt(ctx, &resourcev1.ResumeAntRequest{Id: id})
		return res.GetAnt(), err
	})
}
