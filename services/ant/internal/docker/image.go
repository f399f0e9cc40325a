package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/registry"
)

// image returns an image of the engine, pulled as the ant says or, where the ant leaves it open, the task.
func (s *session) image(ctx context.Context, name, wanted string) (image.InspectResponse, error) {
	e, policy := s.e, s.e.opts.Pull
	switch {
	case wanted == "" || wanted == policy:
	case policy == PullMissing || policy == "":
		policy = wanted
	default:
		s.out.Note("[pull_policy " + wanted + ": this ant says " + policy + "]")
	}
	if policy != PullAlways {
		switch info, err := e.api.ImageInspect(ctx, name); {
		case err == nil:
			return info, nil
		case !cerrdefs.IsNotFound(err):
			return info, fmt.Errorf("look for the image %s: %w", name, err)
		case policy == PullNever:
			return info, fmt.Errorf("the engine has no image %s, and none is pulled (pull policy %s)", name, PullNever)
		}
	}
	s.out.Note("[pulling " + name + "]")
	began := time.Now()
	err := e.pull(ctx, name)
	s.pulled += time.Since(began)
	if err != nil {
		return image.InspectResponse{}, fmt.Errorf("pull %s: %w", name, err)
	}
	s.out.Note(fmt.Sprintf("[pulled %s in %s]", name, time.Since(began).Round(time.Millisecond)))
	info, err := e.api.ImageInspect(ctx, name)
	if err != nil {
		return info, fmt.Errorf("look for the image %s: %w", name, err)
	}
	return info, nil
}

// pull returns when the engine has the image.
func (e *Executor) pull(ctx context.Context, name string) error {
	var o image.PullOptions
	if login, ok := e.opts.Logins[registryOf(name)]; ok {
		var err error
		if o.RegistryAuth, err = registry.EncodeAuthConfig(registry.AuthConfig{Username: login.Username, Password: login.Password}); err != nil {
			return err
		}
	}
	progress, err := e.api.ImagePull(ctx, name, o)
	if err != nil {
		return err
	}
	defer func() { _ = progress.Close() }()
	for words := json.NewDecoder(progress); ; { // the pull ends with the stream
		var word struct{ Error string }
		switch err := words.Decode(&word); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("the engine's answer ended early: %w", err)
		case word.Error != "":
			return errors.New(word.Error)
		}
	}
}
