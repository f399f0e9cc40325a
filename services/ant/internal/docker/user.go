package docker

import (
	"archive/tar"
	"bufio"
	"context"
	"fmt"
	"strconv"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
)

// checkUser refuses a user who has a name and the number of root, which only the image knows, where tasks must not be root.
func (e *Executor) checkUser(ctx context.Context, id string, s *spec) error {
	if s.known || s.conf.AllowRoot {
		return nil
	}
	const users = "/etc/passwd"
	stream, _, err := e.engine().CopyFromContainer(ctx, id, users)
	if cerrdefs.IsNotFound(err) {
		return nil // then the engine finds no such user
	}
	if err != nil {
		return fmt.Errorf("read %s of the image: %w", users, err)
	}
	defer func() { _ = stream.Close() }()
	r := tar.NewReader(stream)
	switch h, err := r.Next(); {
	case err != nil:
		return fmt.Errorf("read %s of the image: %w", users, err)
	case h.Typeflag != tar.TypeReg:
		return refuse("user %s: %s of the image is no file, so nobody can tell whether that is root", s.config.User, users)
	}
	name, _, _ := strings.Cut(s.config.User, ":")
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Split(strings.TrimSpace(lines.Text()), ":")
		if len(fields) < 3 || fields[0] != name {
			continue
		}
		if uid, err := strconv.Atoi(fields[2]); err != nil || uid == 0 {
			return closed("user "+name+", which is root in this image", "docker-allow-root")
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read %s of the image: %w", users, err)
	}
	return nil
}
