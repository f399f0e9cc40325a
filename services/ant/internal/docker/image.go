package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
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
		switch info, err := e.engine().ImageInspect(ctx, name); {
		case err == nil:
			return info, nil
		case unnameable(err):
			return info, refuse("%q names no image: %v", name, err)
		case !cerrdefs.IsNotFound(err):
			return info, fmt.Errorf("look for the image %s: %w", name, err)
		case policy == PullNever && wanted == PullNever:
			return info, refuse("the engine has no image %s, and none is pulled (pull_policy %s)", name, PullNever)
		case policy == PullNever: // another ant may have it
			return info, fmt.Errorf("the engine has no image %s, and none is pulled (pull policy %s)", name, PullNever)
		}
	}
	s.out.Note("[pulling " + name + "]")
	began := time.Now()
	err := e.pull(ctx, name)
	s.pulled += time.Since(began)
	switch {
	case err == nil:
	case unnameable(err):
		return image.InspectResponse{}, refuse("%q names no image: %v", name, err)
	case missing(err):
		return image.InspectResponse{}, refuse("the registry does not give out %s: %v", name, err)
	default:
		return image.InspectResponse{}, fmt.Errorf("pull %s: %w", name, err)
	}
	s.out.Note(fmt.Sprintf("[pulled %s in %s]", name, time.Since(began).Round(time.Millisecond)))
	info, err := e.engine().ImageInspect(ctx, name)
	if err != nil {
		return info, fmt.Errorf("look for the image %s: %w", name, err)
	}
	return info, nil
}

// unnameable reports whether an engine says that a name can be that of no image; some say that there is none of that name.
func unnameable(err error) bool {
	return cerrdefs.IsInvalidArgument(err) || strings.Contains(err.Error(), "invalid reference format")
}

// missing reports whether a registry was reached and says that it has no such image, or none for whom the ant is.
func missing(err error) bool {
	text := strings.ToLower(err.Error())
	return cerrdefs.IsNotFound(err) || strings.Contains(text, "manifest unknown") || strings.Contains(text, "name unknown")
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
	progress, err := e.engine().ImagePull(ctx, name, o)
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
