package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"

	"github.com/formicary/formicary/services/ant/internal/executor"
)

// To unpack files into a container costs an engine a process, a quarter of a start. So an image that is used again is prepared
// once: one layer more holds the directories and empty files of an attempt, which the engine itself copies into the volume.
// What makes one attempt another than the next, its script, goes over standard input then.

const (
	// mostSaid bounds what goes over standard input: shells read it byte by byte.
	mostSaid     = 16 << 10
	mostPrepared = 32
	prepareTime  = time.Minute
	removeTime   = 10 * time.Second

	labelImage = "formicary.image"
)

// listen is what a shell does before it is the script's: it writes down what it is told, with nothing but what is built in. Its
// name is the line that ends a file. When it runs once more the script is there.
const listen = `[ -s ` + home + `/` + scriptFile + ` ] || {
__formicary_take() { while IFS= read -r __formicary_line; do [ "$__formicary_line" != "$0" ] || return 0; printf '%s\n' "$__formicary_line"; done; exit 125; }
__formicary_take >` + home + `/` + envFile + `; __formicary_take >` + home + `/` + afterFile + `; __formicary_take >` + home + `/` + scriptFile + `
}
exec /bin/sh ` + home + `/` + scriptFile + ` </dev/null`

// preparation is an image for tasks of one user.
type preparation struct {
	base     string // id of the image
	uid, gid int
	known    bool
}

// prepared is what is known of one.
type prepared struct {
	preparation
	asked bool
	id    string // of the image with the files; empty when there is none
}

// preparedFor returns the prepared image for a spec; empty when there is none. One that is asked for again is prepared.
func (e *Executor) preparedFor(base string, s *spec) string {
	p := preparation{base, s.uid, s.gid, s.known}
	e.mu.Lock()
	defer e.mu.Unlock()
	i := slices.IndexFunc(e.prepared, func(o prepared) bool { return o.preparation == p })
	if i < 0 {
		e.prepared = append(e.prepared, prepared{preparation: p})
		e.prepared = e.prepared[max(0, len(e.prepared)-mostPrepared):]
		return ""
	}
	used := e.prepared[i]
	if used.id == "" && !used.asked {
		select {
		case e.toPrepare <- p:
			used.asked = true
		default:
		}
	}
	e.prepared = append(slices.Delete(e.prepared, i, i+1), used)
	return used.id
}

// unprepare forgets an image that somebody has removed.
func (e *Executor) unprepare(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.prepared = slices.DeleteFunc(e.prepared, func(p prepared) bool { return p.id == id })
}

// prepareImages prepares what is asked for until ctx ends.
func (e *Executor) prepareImages(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case p := <-e.toPrepare:
			if err := e.prepareImage(ctx, p); err != nil && ctx.Err() == nil && e.opts.Log != nil {
				e.opts.Log.Info("tasks of an image begin slower than they could", "image", p.base, "error", err)
			}
		}
	}
}

// prepareImage makes the image, and removes those that are not used any more.
func (e *Executor) prepareImage(ctx context.Context, p preparation) error {
	ctx, cancel := context.WithTimeout(ctx, prepareTime)
	defer cancel()
	labels := map[string]string{labelOwner: e.owner, labelImage: p.base}
	made, err := e.engine().ContainerCreate(ctx, &container.Config{Image: p.base, Cmd: []string{"/bin/sh"}, Labels: labels}, nil, nil, nil, "")
	if err != nil {
		return fmt.Errorf("make a container: %w", err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTime)
		defer cancel()
		_ = e.engine().ContainerRemove(ctx, made.ID, container.RemoveOptions{RemoveVolumes: true})
	}()
	if _, err := e.engine().ContainerStatPath(ctx, made.ID, home); !cerrdefs.IsNotFound(err) {
		return errors.Join(fmt.Errorf("it has a %s of its own", home), err)
	}
	if err := e.engine().CopyToContainer(ctx, made.ID, "/", p.skeleton(), container.CopyToContainerOptions{}); err != nil {
		return fmt.Errorf("put files into the container: %w", err)
	}
	done, err := e.engine().ContainerCommit(ctx, made.ID, container.CommitOptions{})
	if err != nil {
		return fmt.Errorf("make an image of the container: %w", err)
	}
	e.mu.Lock()
	for i := range e.prepared {
		if e.prepared[i].preparation == p {
			e.prepared[i].id = done.ID
		}
	}
	e.mu.Unlock()
	return e.removeImages(ctx)
}

// skeleton is an archive of what every attempt has.
func (p preparation) skeleton() io.Reader {
	s := &spec{uid: p.uid, gid: p.gid, known: p.known}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	_ = w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: home[1:] + "/", Mode: 0o755}) // to memory, as all that follows
	for _, name := range []string{workDir, homeDir, filesDir} {
		h := s.header(path.Join(home[1:], name)+"/", 0o700)
		h.Typeflag = tar.TypeDir
		_ = w.WriteHeader(&h)
	}
	for _, name := range []string{outputFile, codeFile, afterFile, envFile, scriptFile} {
		h := s.header(path.Join(home[1:], name), 0o600)
		_ = w.WriteHeader(&h)
	}
	_ = w.Close()
	return &out
}

// removeImages removes prepared images that are not in use.
func (e *Executor) removeImages(ctx context.Context) error {
	all, err := e.engine().ImageList(ctx, image.ListOptions{Filters: filters.NewArgs(filters.Arg("label", labelOwner+"="+e.owner))})
	if err != nil {
		return fmt.Errorf("list prepared images: %w", err)
	}
	var faults []error
	for _, i := range all {
		e.mu.Lock()
		used := slices.ContainsFunc(e.prepared, func(p prepared) bool { return p.id == i.ID })
		e.mu.Unlock()
		if !used {
			_, err := e.engine().ImageRemove(ctx, i.ID, image.RemoveOptions{})
			faults = append(faults, gone(err)) // Conflict: a container has it
		}
	}
	return errors.Join(faults...)
}

// forgetImages removes all prepared images.
func (e *Executor) forgetImages(ctx context.Context) {
	if e.Healthy() != nil {
		return // a later life does
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTime)
	defer cancel()
	e.mu.Lock()
	e.prepared = nil
	e.mu.Unlock()
	_ = e.removeImages(ctx)
}

// said is what a shell that listens is told; nothing when the task needs more than a prepared image has, or says too much.
func (s *session) said(env, after, text string) string {
	t, end := s.task, endMark(s.task)
	if len(t.Files) > 0 || len(t.Secrets) > 0 || t.WorkingDir != "" || !scripted(t) || len(s.options.Container.Entrypoint) > 0 || s.options.Container.BindDir != "" {
		return ""
	}
	said := env + end + "\n" + after + end + "\n" + text + end + "\n"
	if len(said) > mostSaid || strings.Contains(said, "\x00") || strings.Count(said, end) != 3 {
		return ""
	}
	return said
}

func endMark(t executor.Task) string { return "# end of a file of " + t.UID }

// listening returns the spec of a container whose shell is told what to do; nil when there is no image for it yet.
func (e *Executor) listening(s *spec, t executor.Task, base string) *spec {
	id := e.preparedFor(base, s)
	if id == "" {
		return nil
	}
	out, c, h := *s, *s.config, *s.host
	c.Labels = maps.Clone(c.Labels)
	c.Labels[labelImage] = c.Image
	c.Image, c.Entrypoint = id, []string{"/bin/sh", "-c", listen, endMark(t)}
	c.OpenStdin, c.StdinOnce, c.AttachStdin = true, true, true
	h.Mounts = slices.Clone(h.Mounts)
	volume := *h.Mounts[0].VolumeOptions
	volume.NoCopy = false
	h.Mounts[0].VolumeOptions = &volume
	out.config, out.host = &c, &h
	return &out
}
