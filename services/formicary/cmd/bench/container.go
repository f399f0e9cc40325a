package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"

	"github.com/formicary/formicary/libs/testkit/enginetest"
)

const containerRounds = 30

const containerJob = `job_type: bench-container
tasks:
  - task_type: only
    method: DOCKER
    network_mode: none
    container: {image: "%s"}
    script:
      - "true"
`

// containers measures a job of one task in a container. The floor is a container of the same image that a bare client makes,
// starts, waits for and removes; the two take turns.
func containers(ctx context.Context, c *colony, rep report) error {
	host := os.Getenv("DOCKER_HOST")
	if host == "" {
		host = client.DefaultDockerHost
	}
	api, err := client.NewClientWithOpts(client.WithHost(host), client.WithAPIVersionNegotiation())
	if err != nil {
		return fmt.Errorf("engine at %s: %w", host, err)
	}
	defer func() { _ = api.Close() }()
	if _, err := api.Ping(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench: no Docker engine answers: left out; scripts/engine.sh make bench brings one")
		return nil
	}
	if err := (&enginetest.Engine{Host: host}).MakeBusybox(); err != nil {
		return err
	}
	if err := c.define(ctx, fmt.Sprintf(containerJob, enginetest.Busybox)); err != nil {
		return err
	}
	var bare, whole []time.Duration
	for i := range containerRounds + 2 {
		began := time.Now()
		if err := bareContainer(ctx, api); err != nil {
			return err
		}
		alone := time.Since(began)
		took, err := c.each(ctx, "bench-container", 1)
		if err != nil {
			return err
		}
		if i >= 2 { // the first ones warm up
			bare, whole = append(bare, alone), append(whole, took...)
		}
	}
	floor, job := quantile(bare, 0.5), quantile(whole, 0.5)
	rep.set("docker", "floor_ms", floor)
	rep.set("docker", "p50_ms", job)
	rep.set("docker", "over_ms", job-floor)
	return nil
}

func bareContainer(ctx context.Context, api *client.Client) error {
	made, err := api.ContainerCreate(ctx, &container.Config{Image: enginetest.Busybox, Cmd: []string{"/bin/true"}}, &container.HostConfig{NetworkMode: "none"}, nil, nil, "")
	if err != nil {
		return fmt.Errorf("make a container: %w", err)
	}
	ended, failed := api.ContainerWait(ctx, made.ID, container.WaitConditionNextExit)
	if err := api.ContainerStart(ctx, made.ID, container.StartOptions{}); err != nil {
		return fmt.Errorf("start a container: %w", err)
	}
	select {
	case <-ended:
	case err := <-failed:
		return fmt.Errorf("wait for a container: %w", err)
	}
	if err := api.ContainerRemove(ctx, made.ID, container.RemoveOptions{}); err != nil {
		return fmt.Errorf("remove a container: %w", err)
	}
	return nil
}
