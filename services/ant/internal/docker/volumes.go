package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"path"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
)

// An engine makes the directory of a new volume as one that only root may write to, and tasks are not root.

const (
	madeMode = 0o755
	openMode = 0o1777 // that of a tmpfs
)

// openVolumes lets everybody write to the volumes of a container whose directories are as an engine makes them; what an image or
// a task has made of one stays as it is. The archive API sets the mode of a directory by the one above, which is closed where the
// image is read-only: so that is done in a container that is never started and has the same volumes.
func (e *Executor) openVolumes(ctx context.Context, id string, s *spec) error {
	if s.known && s.uid == 0 {
		return nil
	}
	var closed []string
	for _, m := range s.host.Mounts {
		if m.Type != mount.TypeVolume || m.Target == home || m.ReadOnly {
			continue
		}
		made, err := e.asMade(ctx, id, m.Target)
		if err != nil {
			return fmt.Errorf("look at the volume at %s: %w", m.Target, err)
		}
		if made {
			closed = append(closed, m.Target)
		}
	}
	if len(closed) == 0 {
		return nil
	}
	helper := &spec{
		config: &container.Config{Image: s.config.Image, Cmd: []string{"/bin/sh"}, Labels: s.config.Labels},
		host:   &container.HostConfig{VolumesFrom: []string{id}, NetworkMode: "none"},
	}
	made, err := e.create(ctx, helper, "")
	if err != nil {
		return fmt.Errorf("open volumes: %w", err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTime)
		defer cancel()
		if gone(e.engine().ContainerRemove(ctx, made.ID, container.RemoveOptions{Force: true, RemoveVolumes: true})) != nil {
			e.leave(s.config.Labels[labelUID])
		}
	}()
	for _, target := range closed {
		var dir bytes.Buffer
		err := tar.NewWriter(&dir).WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: path.Base(target) + "/", Mode: openMode})
		if err == nil {
			err = e.engine().CopyToContainer(ctx, made.ID, path.Dir(target), &dir, container.CopyToContainerOptions{})
		}
		if err != nil {
			return fmt.Errorf("open the volume at %s: %w", target, err)
		}
	}
	return nil
}

// asMade reports whether the directory of a volume is as an engine makes it.
func (e *Executor) asMade(ctx context.Context, id, target string) (bool, error) {
	stream, _, err := e.engine().CopyFromContainer(ctx, id, target)
	if err != nil {
		return false, err
	}
	defer func() { _ = stream.Close() }()
	h, err := tar.NewReader(stream).Next()
	if err != nil {
		return false, err
	}
	return h.Typeflag == tar.TypeDir && h.Uid == 0 && h.Gid == 0 && h.Mode&0o7777 == madeMode, nil
}
