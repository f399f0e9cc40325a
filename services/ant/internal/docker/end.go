package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"

	"github.com/formicary/formicary/services/ant/internal/executor"
	"github.com/formicary/formicary/services/ant/internal/output"
)

// after runs after_script in a session of its own: the first one was killed, or the script replaced the exit trap or
// the shell itself. It is the same container once more, with the same files.
func (s *session) after(code int, oom bool) {
	s.mu.Lock()
	if s.timer != nil {
		s.timer.Stop()
	}
	if s.stopped {
		s.timer = time.AfterFunc(afterLimit, s.kill)
	}
	killed := s.killed
	s.mu.Unlock()
	if killed {
		return
	}
	err := s.again(code, oom)
	if err == nil {
		_, err = s.await()
	}
	if err != nil {
		s.out.Note("[after_script could not be run: " + err.Error() + "]")
	}
}

// again begins the second session.
func (s *session) again(code int, oom bool) error {
	if err := s.turnOver(code, oom); err != nil {
		return err
	}
	return s.begin()
}

// turnOver makes the script that of the second session. It notes itself what the first one ended with, where an adopting ant looks
// for it: noted earlier it would say that after_script had run.
func (s *session) turnOver(code int, oom bool) error {
	ctx, cancel := context.WithTimeout(s.life, s.e.call)
	defer cancel()
	noted := strconv.Itoa(code)
	if oom {
		noted += oomMark
	}
	text := s.prelude() + "printf %s '" + noted + "' >" + home + "/" + codeFile + "\n. " + home + "/" + afterFile + "\n"
	files, err := pack(s.spec, entry{scriptFile, text})
	if err != nil {
		return err
	}
	return s.e.engine().CopyToContainer(ctx, s.id, home, files, container.CopyToContainerOptions{})
}

// result makes the end of an exit code.
func (s *session) result(code int, oom bool, state *container.State) executor.End {
	end := executor.End{ExitCode: code, Usage: s.meter.end()}
	end.Usage.Pull = s.pulled
	err := errors.Join(s.stdout.Close(), s.stderr.Close())
	text, readErr := s.readFile(outputFile, outputFileLimit)
	switch err = errors.Join(err, readErr); {
	case err != nil:
	case len(text) > outputFileLimit:
		err = output.ErrTooLarge
	default:
		err = s.outputs.Parse(text)
	}
	end.Outputs = s.outputs.Values()
	switch {
	case oom && code != 0:
		end.Class, end.Message = executor.OOM, fmt.Sprintf("out of memory: the limit is %d bytes", s.spec.host.Memory)
	case state.Error != "" && code != 0:
		end.Class, end.Message = executor.Infra, "the engine: "+state.Error
	case s.endedByOthers(code, state):
		end.Class, end.Message = executor.Infra, fmt.Sprintf("the engine, or somebody through it, ended the container (exit code %d)", code)
	case code != 0:
		end.Class, end.Message = executor.User, fmt.Sprintf("exit code %d", code)
	case err != nil:
		end.Class, end.Message, end.Outputs = executor.User, err.Error(), nil
	}
	return end
}

// endedByOthers reports whether an exit code is that of a signal that neither the ant nor the task itself has sent: an engine that is
// stopped ends what it runs.
func (s *session) endedByOthers(code int, state *container.State) bool {
	if (code != 128+9 && code != 128+15 && code != 255) || s.told() {
		return false
	}
	if s.away {
		return true
	}
	until, err := time.Parse(time.RFC3339Nano, state.FinishedAt)
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(s.life, s.e.call)
	defer cancel()
	told, failed := s.e.engine().Events(ctx, events.ListOptions{
		Since: state.StartedAt, Until: until.Add(time.Second).Format(time.RFC3339Nano),
		Filters: filters.NewArgs(filters.Arg("container", s.id), filters.Arg("event", "kill")),
	})
	for {
		select {
		case e := <-told:
			if signal := e.Actor.Attributes["signal"]; signal == "9" || signal == "15" {
				return true
			}
		case err := <-failed:
			return !errors.Is(err, io.EOF) // else the engine is going away
		}
	}
}

// told reports whether the task was told to end.
func (s *session) told() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopped
}
