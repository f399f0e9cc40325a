// Package executor is the contract between an ant and the ways in which it can execute a task.
package executor

import (
	"context"
	"io"
	"time"

	"github.com/formicary/formicary/libs/mask"
)

// Task is what an executor needs to know of an attempt.
type Task struct {
	// UID of the attempt: it marks everything that the executor starts.
	UID string
	// Org is the organisation of the job.
	Org string
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
	// Secrets are values for files.
	Secrets []Secret
	// Masks hides values. What is cut is masked before: nobody finds the beginning of a value afterwards.
	Masks *mask.Masker
}

// Secret is a value for a file that only the task reads, which is no part of its working directory, so that nothing keeps it
// with the task's files, and which is gone when the attempt has ended.
type Secret struct {
	// File is a relative path.
	File  string
	Value string
	// Variable gets the path of the file.
	Variable string
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

// End is how an execution ended. Its texts are not masked yet, but for those that were cut.
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
	// Usage is what it used.
	Usage Usage
}

// Usage of an execution; what is not known is 0.
type Usage struct {
	// CPU is the time of processors that all its processes used together.
	CPU time.Duration
	// PeakMemory is the most memory that one of its processes, or all of them where they are counted together, had, in
	// bytes.
	PeakMemory int64
	// Pull is how long an image took to come.
	Pull time.Duration
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
	// Prepare takes a task; what it prints goes to out. Nothing is made yet.
	Prepare(t Task, out Output) Execution
	// Recover kills what an earlier life of the ant left running, but for what Adopter.Find has found; traces are what
	// Start returned then, by uid. It returns when nothing of it runs any more.
	Recover(ctx context.Context, traces map[string]string) error
	// Run does the housekeeping until ctx ends.
	Run(ctx context.Context) error
}

// Adopter is an Executor whose executions go on when the ant is killed.
type Adopter interface {
	Lister
	// Find returns the uids of those traces whose execution goes on, or has ended in a way that can still be told. It comes
	// before Recover, which spares them; each of them is adopted then, or removed.
	Find(ctx context.Context, traces map[string]string) (uids []string)
	// Adopt takes over, instead of Prepare, what Find has found. Start goes on and Create is not called. Everything that the
	// task has printed since its beginning goes to out again; when out is a Replayer, with the times of then, and said to be
	// so from the return of Adopt until everything is repeated.
	Adopt(t Task, out Output) Execution
}

// Replayer is an Output that somebody may have seen a part of when it is told again to another one: who tells the same, in
// the same pieces and with the same times, makes the same of it.
type Replayer interface {
	// At says that what comes next was printed at t; the zero time ends that.
	At(t time.Time)
	// Again says whether what comes next was told before.
	Again(yes bool)
	// Place returns where what comes next will be, and Skip goes on there when what was told in between is not known any
	// more. A line does not go on over a place.
	Place() (offset, line int64)
	Skip(offset, line int64)
}

// Lister is an Executor that can tell what of its own runs on the host, whoever knows of it.
type Lister interface {
	// List returns what runs.
	List(ctx context.Context) ([]Running, error)
	// Remove kills what runs of an attempt, and removes what was made for it. It is no error when there is nothing.
	Remove(ctx context.Context, uid string) error
}

// Running is what runs of one attempt.
type Running struct {
	// UID of the attempt.
	UID string
	// ID is what the host calls it: the number of a process, the name of a container.
	ID string
	// Since is when it was started.
	Since time.Time
}

// Execution is one task on its way. Create, Start, Wait and Close are called once, in this order, by one goroutine; Stop
// may be called by any goroutine at any time.
type Execution interface {
	// Create makes the place where the task will run: a directory, a container; nothing of the task runs. After an error
	// only Wait, which tells whose failure it is, and Close may follow.
	Create() error
	// Start begins the execution. The trace finds what was started after a restart of the ant; without one there is
	// nothing to find. When the start fails Wait tells why.
	Start() (trace string)
	// Wait returns when the task has ended and nothing that it started is left running.
	Wait() End
	// Stop asks the task to end and kills it after grace; it returns at once.
	Stop(grace time.Duration)
	// Close removes what Create made.
	Close()
}

// Filer is an Execution with files of its own. Its names are those of package io/fs, relative to the directory in which
// the task starts. Both sides of an exchange are tar streams of directories, regular files and symbolic links: those are
// what an engine of containers speaks. Who chooses, compresses and hashes is none of its business.
type Filer interface {
	// Put unpacks a tar stream into dir, which is made if it is missing. What leads out of the directory in which the task
	// starts, by a name or by a link, is refused. It is for the time between Create and Start.
	Put(ctx context.Context, dir string, tar io.Reader) error
	// Get writes a tar stream of root, a file or a directory, and of all that is below it and that keep accepts; keep is
	// asked by name, and whatever it refuses is not read, but what is below a refused directory may still be kept. A
	// root that does not exist yields an empty stream, and links are written as they are. It is for the time between Create
	// and Start, and for that between Wait and Close.
	Get(ctx context.Context, root string, keep func(name string) bool, tar io.Writer) error
}

// Answerer is an Execution whose answer may be too long for an End.
type Answerer interface {
	// Answer returns the whole of what Body is the beginning of, and its size; nil when Body is all of it. It is for the
	// time between Wait and Close.
	Answer() (answer io.Reader, size int64)
}

// Output takes what a task prints. Its methods, and those of its writers, are never called at the same time.
type Output interface {
	// Stdout and Stderr take the two streams of the task, in pieces of any size. Their writes do not fail.
	Stdout() io.Writer
	Stderr() io.Writer
	// Note takes a line of the ant's own, without line break: it is no output of the task.
	Note(line string)
}

// Merge returns an Output that writes everything to one writer.
func Merge(w io.Writer) Output { return merged{w} }

type merged struct{ w io.Writer }

func (m merged) Stdout() io.Writer { return m.w }
func (m merged) Stderr() io.Writer { return m.w }
func (m merged) Note(line string)  { _, _ = io.WriteString(m.w, line+"\n") }
