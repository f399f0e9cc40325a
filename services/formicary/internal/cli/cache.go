package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
)

func (a *app) cacheCmd() *cobra.Command {
	return group("cache", "Caches: files that tasks keep for later runs of their jobs", "formicary cache list --job-type ci-cache", a.cacheListCmd(), a.cacheRemoveCmd())
}

// cacheFilter adds the flags that choose caches.
func cacheFilter(c *cobra.Command, req *executionv1.ListCachesRequest) {
	c.Flags().StringVar(&req.JobType, "job-type", "", "of jobs of this `type`")
	c.Flags().StringVar(&req.KeyPrefix, "key", "", "whose keys begin with this `text`")
}

func (a *app) cacheListCmd() *cobra.Command {
	req := &executionv1.ListCachesRequest{PageSize: pageSize}
	c := &cobra.Command{
		Use: "list", Short: "List caches, the newest first", Args: cobra.NoArgs,
		Long: `Lists the caches that tasks have stored. When all of an organisation have more bytes than its quota, those that were used
least recently are deleted.`,
		Example: "  formicary cache list\n  formicary cache list --job-type ci-cache --key deps- -o json",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				all, err := listCaches(ctx, cl, req)
				if err != nil {
					return err
				}
				if err := a.show(all, cacheIDs(all), func(w io.Writer) { cacheTable(w, all) }); err != nil || a.output != "table" {
					return err
				}
				printf(a.Out, "\n%s of %s are used\n", sizeText(all.GetTotalBytes()), sizeText(all.GetQuotaBytes()))
				return nil
			})
		},
	}
	cacheFilter(c, req)
	return c
}

// listCaches reads all pages.
func listCaches(ctx context.Context, cl *client, req *executionv1.ListCachesRequest) (*executionv1.ListCachesResponse, error) {
	all := &executionv1.ListCachesResponse{}
	err := pages(func(token string) (string, error) {
		req.PageToken = token
		res, err := cl.caches.ListCaches(ctx, req)
		all.Caches = append(all.Caches, res.GetCaches()...)
		all.TotalBytes, all.QuotaBytes = res.GetTotalBytes(), res.GetQuotaBytes()
		return res.GetNextPageToken(), err
	})
	return all, err
}

func cacheIDs(all *executionv1.ListCachesResponse) []string {
	ids := make([]string, len(all.GetCaches()))
	for i, x := range all.GetCaches() {
		ids[i] = x.GetId()
	}
	return ids
}

func cacheTable(w io.Writer, all *executionv1.ListCachesResponse) {
	row(w, "ID", "JOB TYPE", "KEY", "FILES", "SIZE", "USES", "USED", "AGE", "EXPIRES")
	for _, x := range all.GetCaches() {
		row(w, x.GetId(), x.GetJobType(), inert(x.GetKey(), false), fmt.Sprint(x.GetFiles()), sizeText(x.GetBytes()), fmt.Sprint(x.GetUses()), since(x.GetUsedAt()),
			since(x.GetCreatedAt()), x.GetExpiresAt().AsTime().Local().Format(time.DateOnly))
	}
}

func (a *app) cacheRemoveCmd() *cobra.Command {
	req := &executionv1.ListCachesRequest{PageSize: pageSize}
	c := &cobra.Command{
		Use: "rm [ID…]", Short: "Delete caches by id, or those of a job type or a key",
		Long:    "Deletes caches. The next task with the key of one stores it anew: so a cache that is broken is mended.",
		Example: "  formicary cache rm 01980b1e-…\n  formicary cache rm --job-type ci-cache\n  formicary cache rm --key deps-",
		RunE: func(c *cobra.Command, ids []string) error {
			filtered := req.GetJobType() != "" || req.GetKeyPrefix() != ""
			if filtered == (len(ids) > 0) {
				return usageError(errors.New("name the caches by their ids, or give --job-type or --key"))
			}
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				if filtered {
					all, err := listCaches(ctx, cl, req)
					if err != nil {
						return err
					}
					ids = cacheIDs(all)
				}
				for _, id := range ids {
					if _, err := cl.caches.DeleteCache(ctx, &executionv1.DeleteCacheRequest{Id: id}); err != nil {
						return err
					}
				}
				printf(a.Err, "deleted: %d\n", len(ids))
				return nil
			})
		},
	}
	cacheFilter(c, req)
	return c
}

// showCaches prints what the attempts of tasks had of their caches; nothing when none asked for one.
func (a *app) showCaches(tasks []*executionv1.Task) error {
	var rows [][]any
	for _, t := range tasks {
		for _, at := range t.GetAttempts() {
			c := at.GetCache()
			if c == nil {
				continue
			}
			from := ""
			if c.GetFoundKey() != "" {
				from = map[bool]string{true: "ant", false: "store"}[c.GetLocal()]
			}
			rows = append(rows, []any{
				t.GetName(), at.GetNumber(), strings.ToLower(c.GetOutcome().String()), inert(c.GetFoundKey(), false), bytesOf(c.GetBytes()), from, millis(c.GetRestoreMillis()),
				millis(c.GetSavedMillis()), bytesOf(c.GetStoredBytes()), inert(c.GetKey(), false),
			})
		}
	}
	if len(rows) == 0 {
		return nil
	}
	line(a.Out, "")
	return tabulate(a.Out, func(w io.Writer) {
		row(w, "TASK", "TRY", "CACHE", "RESTORED", "SIZE", "FROM", "TOOK", "SAVED", "STORED", "KEY")
		for _, r := range rows {
			row(w, r...)
		}
	})
}
