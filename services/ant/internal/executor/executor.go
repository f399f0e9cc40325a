// Package executor is the contract between an ant and the ways in which it can execute a task.
package executor

import (
	"context"
	"io"
	"time"
)

// Task is what an executor needs to know of an attempt.
type Task struct {
	// UID of the attempt: it marks everything that the executor starts.
	UID string
	// JobID, JobType, Run, Name and Attempt say which attempt of which task it is.
	JobID, JobType string
	Run            int
	Name           string
	Attempt        int
	// Timeout after which the attempt is stopped; 0 means none.
	Timeout time.Duration
	// Method that executes it.
	Method string
	// Before, Script and After are the lines of a script.
	Before, Script, After []string
	// Environment of the process, the engine's own variables included.
	Environment map[string]string
	// Files are values too long for it, by name: a script gets each as a file whose path is NAME_FILE.
	Files map[string]string
	// WorkingDir is relative to the attempt's own directory.
	WorkingDir string
	// URL, Headers, Query and Variables make an HTTP request.
	URL       string
	Headers   map[string]string
	Query     map[string]string
	Variables map[string]any
	// IdempotencyKey is the same for all attempts of the task in its run.
	IdempotencyKey string
	// CPUMillis and MemoryBytes are limits; 0 means none.
	CPUMillis, MemoryBytes int64
	// RequestQueue and ReplyQueue are the NATS subjects of a task for workers.
	RequestQueue, ReplyQueue string
	// Options of containers and pods: JSON of plan.Options; empty when there are none.
	Options []byte
}

// Class says whose failure it is.
type Class string

// The failure classes that an executor can tell.
const (
	None     Class = ""         // it succeeded
	User     Class = "user"     // the task itself failed
	OOM      Class = "oom"      // the task used more memory than it may
	Infra    Class = "infra"    // the ant could not execute it
	Rejected Class = "rejected" // it asks for what no ant can do
)

// End is how an execution ended. Its texts are not masked yet.
type End struct {
	// ExitCode of the process, or the HTTP status.
	ExitCode int
	// Class is None exactly when it succeeded.
	Class Class
	// Lost says that nobody knows whether it still runs somewhere, or how it ended.
	Lost bool
	// Message says in a line why it failed.
	Message string
	// Outputs by name, within the limits of package output.
	Outputs map[string]string
	// Body is the result of HTTP methods.
	Body string
	// BodyCut says that Body is the beginning of a longer one.
	BodyCut bool
}

// Refuse is the end of a task that asks for what no ant can do.
func Refuse(message string) End { return End{ExitCode: -1, Class: Rejected, Message: message} }

// Break is the end of a task that the ant could not execute.
func Break(message string) End { return End{ExitCode: -1, Class: Infra, Message: message} }

// Lose is the end of a task of which nothing is heard any more.
func Lose(message string) End {
	return End{ExitCode: -1, Class: Infra, Lost: true, Message: message}
}

// Executor executes the tasks of some methods.
type Executor interface {
	// Methods that it executes.
	Methods() []string
	// Healthy returns why it cannot execute anything now.
	Healthy() error
	// Prepare takes a task; what it prints goes to out.
	Prepare(t Task, out io.Writer) Execution
	// Recover kills what an earlier life of the ant left running; traces are what Start returned then, by uid. It
	// returns when nothing of it runs any more.
	Recover(ctx context.Context, traces map[string]string) error
	// Run does the housekeeping until ctx ends.
	Run(ctx context.Context) error
}

// Execution is one task on its way. Start, Wait and Close are called once, in this order, by one goroutine; Stop may
// be called by any goroutine at any time.
type Execution interface {
	// Start begins the execution. The trace finds what was started after a restart of the ant; without one there is
	// nothing to find. When the start fails Wait tells why.
	Start() (trace string)
	// Wait returns when the task has ended and nothing that it started is left running.
	Wait() End
	// Stop asks the task to end and kills it after grace; it returns at once.
	Stop(grace time.Duration)
	// Close removes what Start made.
	Close()
}

// Note writes a line of the ant's own into what a task prints. A log tells it from the output of the task.
func Note(out io.Writer, line string) {
	if log, ok := out.(interface{ Note(line string) }); ok {
		log.Note(line)
		return
	}
	_, _ = io.WriteString(out, line+"\n")
}
