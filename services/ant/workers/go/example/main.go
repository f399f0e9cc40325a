// Command example is a worker that greets whom the task names: example [URL [QUEUE]]. The environment may give WORKER_ID,
// WORKER_TAGS and WORKER_TOKEN.
package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/formicary/formicary/libs/run"
	worker "github.com/formicary/formicary/services/ant/workers/go"
)

func main() {
	ctx, stop := run.Interruptible(context.Background())
	defer stop()
	conf := worker.Config{
		ID: cmp.Or(os.Getenv("WORKER_ID"), "go-1"), URL: "ws://127.0.0.1:7777/ws/ants", Token: os.Getenv("WORKER_TOKEN"), Slots: 4,
		Handler: greet, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}
	if len(os.Args) > 1 {
		conf.URL = os.Args[1]
	}
	if len(os.Args) > 2 {
		conf.Queue = os.Args[2]
	}
	if tags := os.Getenv("WORKER_TAGS"); tags != "" {
		conf.Tags = strings.Split(tags, ",")
	}
	if err := worker.Run(ctx, conf); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:gocritic // nothing is left to be ended
	}
}

func greet(ctx context.Context, t worker.Task) (worker.Result, error) {
	whom, _ := t.Variables["whom"].(string)
	whom = cmp.Or(whom, "world")
	t.Log("greeting %s", whom)
	seconds, _ := t.Variables["seconds"].(float64)
	select {
	case <-ctx.Done():
		return worker.Result{}, ctx.Err()
	case <-time.After(time.Duration(seconds * float64(time.Second))):
	}
	if why, ok := t.Variables["fail"].(string); ok {
		return worker.Result{}, &worker.Failure{ExitCode: 3, Code: "ERR_GREETING", Message: why}
	}
	return worker.Result{Outputs: map[string]any{"greeting": "hello " + whom, "length": len(whom)}, Value: map[string]any{"key": t.IdempotencyKey}}, nil
}
