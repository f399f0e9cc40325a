package attempt

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/formicary/formicary/libs/archive"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/jobspec/plan"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	"github.com/formicary/formicary/services/ant/internal/executor"
	"github.com/formicary/formicary/services/ant/internal/transfer"
)

const (
	// transferPatience is how long the object store, or supervisor, may be away while files are moved.
	transferPatience = 2 * time.Minute
	// stoppedTime bounds the storing of the files of a task that was told to stop: supervisor waits for its end for a minute
	// beyond the grace.
	stoppedTime = 40 * time.Second
	// askTime bounds one question to supervisor about files.
	askTime = 30 * time.Second
	// filesName is the name of the artifact that a task's paths make, answerName that of an answer which is too long for a result.
	filesName, answerName = "files", "response"
)

// moved is what went in and out as files, and how long that took.
type moved struct {
	in, out          int64
	unpacked         int64
	download, upload time.Duration
}

// options of the task about its files.
func (a *attempt) options() (*plan.Options, error) {
	o := &plan.Options{}
	if raw := a.work.GetSpec().GetOptions(); len(raw) > 0 {
		if err := json.Unmarshal(raw, o); err != nil {
			return nil, fmt.Errorf("read options: %w", err)
		}
	}
	return o, nil
}

func (a *attempt) mover(s transfer.Store, patience time.Duration) *transfer.Mover {
	return &transfer.Mover{HTTP: a.m.deps.HTTP, Store: s, Patience: patience}
}

// stopping is a context that ends when the attempt is told to stop, with the reason.
func (a *attempt) stopping() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(a.m.life)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.reason != nil {
		cancel(errors.New(a.reason.message))
	}
	a.halt = cancel
	return ctx, func() { cancel(nil) }
}

// unpack puts the files of earlier tasks where the task will start; one that was adopted has them. It returns the end of the
// attempt when it cannot.
func (a *attempt) unpack(x executor.Execution, adopted bool) *executor.End {
	missing := a.work.GetMissing()
	if adopted || len(a.work.GetInputs()) == 0 && missing == "" {
		return nil
	}
	filer, ok := x.(executor.Filer)
	switch {
	case ok && missing != "":
		return new(executor.Refuse(missing))
	case !ok:
		a.log.Note("formicary: the files of earlier tasks are not unpacked: a task of the method " + a.work.GetSpec().GetMethod() + " has no directory")
		return nil
	}
	options, err := a.options()
	if err != nil {
		return new(executor.Break(err.Error()))
	}
	dir := path.Clean(options.ArtifactsDir) // of nothing it is "."
	began := time.Now()
	defer func() { a.moved.download += time.Since(began) }()
	ctx, done := a.stopping()
	defer done()
	for _, in := range a.work.GetInputs() {
		mover := a.mover(signer{a}, transferPatience)
		mover.Limits = a.room()
		err := mover.Download(ctx, transfer.Input{ID: in.GetId(), Bytes: in.GetBytes(), SHA256: in.GetSha256()}, func(r io.Reader) error {
			return filer.Put(ctx, dir, a.counted(r))
		})
		if err != nil {
			end := executor.Break(fmt.Sprintf("the artifact %s of %s could not be unpacked: %v", in.GetName(), origin(in), a.tight(err)))
			if errors.Is(err, archive.ErrLimit) || errors.Is(err, archive.ErrUnsafe) { // it stays so, whoever tries
				end.Class = executor.User
			}
			return &end
		}
		a.moved.in += in.GetBytes()
		a.log.Note(fmt.Sprintf("formicary: unpacked the artifact %s of %s (%s)", in.GetName(), origin(in), sized(in.GetBytes())))
	}
	return nil
}

// room is what may still be unpacked for the attempt.
func (a *attempt) room() archive.Limits {
	if a.m.opts.InputBytes == 0 {
		return archive.Limits{}
	}
	return archive.Limits{Bytes: max(1, a.m.opts.InputBytes-a.moved.unpacked)}
}

// counted counts what is unpacked.
func (a *attempt) counted(r io.Reader) io.Reader { return &counted{r, &a.moved.unpacked} }

type counted struct {
	r io.Reader
	n *int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	*c.n += int64(n)
	return n, err
}

// tight says which setting bounds what is unpacked.
func (a *attempt) tight(err error) error {
	if errors.Is(err, archive.ErrLimit) && a.m.opts.InputBytes > 0 {
		return fmt.Errorf("%w (for one task this ant unpacks %s in all, setting input-bytes)", err, sized(a.m.opts.InputBytes))
	}
	return err
}

func origin(in *antv1.Input) string {
	if in.GetTask() == "" {
		return "a user"
	}
	return "task " + in.GetTask()
}

func sized(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d bytes", n)
}

// keep stores the files that the task names, and an answer that is too long for a result. It returns how the attempt ends
// after that: a task that succeeded fails when a path names nothing or when the files cannot be stored; one that failed keeps
// its failure.
func (a *attempt) keep(x executor.Execution, end executor.End) executor.End {
	options, err := a.options()
	if err != nil {
		return end // what cannot be read was refused before the start
	}
	a.mu.Lock()
	why := a.reason
	a.mu.Unlock()
	succeeded, what := why == nil && end.Class == executor.None, options.Artifacts
	if end.Lost || why != nil && why.outcome == antv1.Result_LOST || what != nil && !wanted(what.When, succeeded) {
		return end
	}
	if what == nil {
		what = &plan.Artifacts{}
	}
	ctx, done := a.stopping()
	if why != nil {
		done()
		ctx, done = context.WithTimeout(a.m.life, stoppedTime)
	}
	defer done()
	if x, ok := x.(executor.Answerer); ok {
		a.keepAnswer(ctx, x, what.ExpiresAfter)
	}
	if len(what.Paths) == 0 {
		return end
	}
	filer, ok := x.(executor.Filer)
	if !ok {
		a.log.Note("formicary: no artifacts are kept: a task of the method " + a.work.GetSpec().GetMethod() + " has no directory")
		return end
	}
	failure := a.store(ctx, filer, what)
	switch {
	case failure == nil:
	case succeeded:
		end.ExitCode, end.Class, end.Message = max(end.ExitCode, 1), failure.Class, failure.Message
	default:
		a.log.Note("formicary: " + failure.Message)
	}
	return end
}

// keepAnswer stores an answer. That it cannot does not undo what was asked for.
func (a *attempt) keepAnswer(ctx context.Context, x executor.Answerer, age time.Duration) {
	answer, size := x.Answer()
	if answer == nil {
		return
	}
	_, err := a.put(ctx, answerName, age, func(w *archive.Writer) error {
		return w.Add(&tar.Header{Typeflag: tar.TypeReg, Name: answerName, Size: size, Mode: 0o644, ModTime: time.Now()}, answer)
	})
	if err != nil {
		a.log.Note("formicary: the answer could not be stored: " + err.Error())
		return
	}
	a.log.Note(fmt.Sprintf("formicary: kept the whole answer (%s) as the artifact %s", sized(size), answerName))
}

// put stores an artifact.
func (a *attempt) put(ctx context.Context, name string, age time.Duration, fill func(w *archive.Writer) error) (archive.Summary, error) {
	began := time.Now()
	upload, sum, err := a.mover(signer{a}, transferPatience).Upload(ctx, name, fill)
	a.moved.upload += time.Since(began)
	if err == nil {
		a.moved.out += sum.Bytes
		a.artifacts = append(a.artifacts, &antv1.StoredArtifact{Upload: upload, ExpiresAfter: durationpb.New(age)})
	}
	return sum, err
}

func wanted(when string, succeeded bool) bool {
	switch when {
	case plan.Always:
		return true
	case plan.Never:
		return false
	case plan.OnFailure:
		return !succeeded
	default:
		return succeeded
	}
}

// store uploads what the paths name; it returns why it could not.
func (a *attempt) store(ctx context.Context, filer executor.Filer, what *plan.Artifacts) *executor.End {
	patterns, err := archive.Compile(what.Paths)
	if err != nil {
		return &executor.End{Class: executor.User, Message: "artifacts: " + err.Error()}
	}
	sum, err := a.put(ctx, filesName, what.ExpiresAfter, func(w *archive.Writer) error { return a.collect(ctx, filer, patterns, w, what.Optional) })
	missing, isMissing := errors.AsType[missing](err)
	switch {
	case isMissing:
		return &executor.End{Class: executor.User, Message: missing.Error()}
	case errors.Is(err, errNothing):
		return nil
	case errors.Is(err, archive.ErrLimit), errors.Is(err, archive.ErrUnsafe):
		return &executor.End{Class: executor.User, Message: "artifacts: " + err.Error()}
	case err != nil:
		return &executor.End{Class: executor.Infra, Message: "the artifacts could not be stored: " + err.Error()}
	}
	a.log.Note(fmt.Sprintf("formicary: kept %d files (%s, packed %s)", sum.Files, sized(sum.Raw), sized(sum.Bytes)))
	return nil
}

// errNothing says that no path named anything and that this is no fault.
var errNothing = errors.New("nothing to keep")

// unkept is what no artifact holds.
const unkept = "pipes, sockets, devices or links that lead out"

// missing are paths that name nothing.
type missing []string

func (m missing) Error() string {
	return "artifacts: nothing in the working directory matches " + strings.Join(m, ", ") + "; write `optional: true` beside the paths where that is no fault"
}

// collect adds what the patterns name.
func (a *attempt) collect(ctx context.Context, filer executor.Filer, patterns *archive.Patterns, w *archive.Writer, optional bool) error {
	found, named := 0, patterns.Again() // patterns have named what is kept
	for _, root := range patterns.Roots() {
		err := files(ctx, filer, root, named.Match, func(h *tar.Header, content io.Reader) error {
			if name := strings.TrimSuffix(path.Clean(h.Name), "/"); h.Typeflag == tar.TypeSymlink && !archive.Inside(name, h.Linkname) {
				a.log.Note(fmt.Sprintf("formicary: not kept: %s, a link that leads out, to %s", name, h.Linkname))
				return nil
			}
			patterns.Match(path.Clean(h.Name))
			found++
			return w.Add(h, content)
		})
		if err != nil {
			return err
		}
	}
	left, nothing := patterns.Unmatched(), named.Unmatched()
	for i, p := range left {
		if !slices.Contains(nothing, p) {
			a.log.Note("formicary: not kept: " + p + ", which names only " + unkept)
			left[i] += " but " + unkept
		}
	}
	if len(left) > 0 && !optional {
		return missing(left)
	}
	if found == 0 {
		return errNothing
	}
	return nil
}

// files calls f for what keep accepts of root.
func files(ctx context.Context, filer executor.Filer, root string, keep func(name string) bool, f func(h *tar.Header, content io.Reader) error) error {
	r, w := io.Pipe()
	got := make(chan error, 1)
	go func() {
		err := filer.Get(ctx, root, keep, w)
		_ = w.CloseWithError(err)
		got <- err
	}()
	err := each(r, f)
	if err == nil {
		_, err = io.Copy(io.Discard, r) // what pads the end
	}
	_ = r.CloseWithError(err)
	if failed := <-got; err == nil {
		err = failed
	}
	return err
}

func each(r io.Reader, f func(h *tar.Header, content io.Reader) error) error {
	in := tar.NewReader(r)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the files of the task: %w", err)
		}
		if err := f(h, in); err != nil {
			return err
		}
	}
}

// signer asks supervisor about the files of an attempt.
type signer struct{ a *attempt }

func (s signer) Begin(ctx context.Context, name string) (string, int64, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	res, err := s.a.m.deps.Supervisor.CreateArtifactUpload(ctx, &antv1.CreateArtifactUploadRequest{
		AntId: s.a.m.opts.Ant, Session: s.a.m.current(), Uid: s.a.uid, Name: name,
	})
	if err == nil {
		err = badPart(res.GetPartBytes())
	}
	return res.GetUpload(), res.GetPartBytes(), err
}

func badPart(size int64) error {
	if size < 1<<10 || size > 64<<20 {
		return errs.Precondition("UPLOAD_INVALID", "supervisor asks for parts of %d bytes", size)
	}
	return nil
}

func (s signer) SignPart(ctx context.Context, upload string, number int) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	res, err := s.a.m.deps.Supervisor.SignArtifactParts(ctx, &antv1.SignArtifactPartsRequest{
		AntId: s.a.m.opts.Ant, Session: s.a.m.current(), Uid: s.a.uid, Upload: upload, Parts: []int32{int32(number)}, // #nosec G115 -- at most 10,000
	})
	return one(res.GetUrls(), err)
}

func (s signer) Complete(ctx context.Context, upload string, etags []string, sum archive.Summary) error {
	ctx, cancel := context.WithTimeout(ctx, askTime+time.Duration(sum.Bytes/(32<<20))*time.Second) // parts are joined
	defer cancel()
	_, err := s.a.m.deps.Supervisor.CompleteArtifactUpload(ctx, &antv1.CompleteArtifactUploadRequest{
		AntId: s.a.m.opts.Ant, Session: s.a.m.current(), Uid: s.a.uid, Upload: upload, Etags: etags,
		Bytes: sum.Bytes, Sha256: sum.SHA256, Files: int32(sum.Files), // #nosec G115 -- at most a million
	})
	return err
}

func (s signer) SignRead(ctx context.Context, id string) (string, error) {
	res, err := s.a.m.deps.Supervisor.SignArtifactReads(ctx, &antv1.SignArtifactReadsRequest{
		AntId: s.a.m.opts.Ant, Session: s.a.m.current(), Uid: s.a.uid, Ids: []string{id},
	})
	return one(res.GetUrls(), err)
}

func one(urls []string, err error) (string, error) {
	if err == nil && len(urls) != 1 {
		err = errors.New("supervisor signed nothing")
	}
	if err != nil {
		return "", err
	}
	return urls[0], nil
}
