package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/formicary/formicary/libs/archive"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
)

func (a *app) artifactCmd() *cobra.Command {
	return group("artifact", "Artifacts: files that tasks keep and that users upload", "formicary artifact list --job-type ci-artifacts",
		a.artifactListCmd(), a.artifactFilesCmd(), a.artifactDownloadCmd(), a.artifactUploadCmd(), a.artifactRemoveCmd())
}

func (a *app) artifactListCmd() *cobra.Command {
	req := &executionv1.ListArtifactsRequest{PageSize: pageSize}
	c := &cobra.Command{
		Use: "list", Short: "List artifacts, the newest first", Args: cobra.NoArgs,
		Example: "  formicary artifact list --request @latest --task build\n  formicary artifact list --job-type ci-build-test -o json",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				if req.RequestId != "" {
					r, err := cl.request(ctx, req.RequestId)
					if err != nil {
						return err
					}
					req.RequestId = r.GetId()
				}
				all := &executionv1.ListArtifactsResponse{}
				err := pages(func(token string) (string, error) {
					req.PageToken = token
					res, err := cl.artifacts.ListArtifacts(ctx, req)
					all.Artifacts = append(all.Artifacts, res.GetArtifacts()...)
					return res.GetNextPageToken(), err
				})
				if err != nil {
					return err
				}
				return a.showArtifacts(all, all.GetArtifacts())
			})
		},
	}
	f := c.Flags()
	f.StringVar(&req.RequestId, "request", "", "of the request with this `id`, a unique beginning of it, @latest or @failed")
	f.Int32Var(&req.Run, "run", 0, "of this run of the request")
	f.StringVar(&req.JobType, "job-type", "", "of jobs of this `type`")
	f.StringVar(&req.Task, "task", "", "of this `task`, or of its items")
	f.StringVar(&req.Name, "name", "", "with this `name`")
	return c
}

func (a *app) showArtifacts(m proto.Message, all []*executionv1.Artifact) error {
	ids := make([]string, len(all))
	for i, x := range all {
		ids[i] = x.GetId()
	}
	return a.show(m, ids, func(w io.Writer) {
		row(w, "ID", "NAME", "JOB TYPE", "TASK", "RUN", "FILES", "SIZE", "AGE", "EXPIRES")
		for _, x := range all {
			row(w, x.GetId(), x.GetName(), x.GetJobType(), x.GetTask(), fmt.Sprint(x.GetRun()), fmt.Sprint(x.GetFiles()), sizeText(x.GetBytes()),
				since(x.GetCreatedAt()), x.GetExpiresAt().AsTime().Local().Format(time.DateOnly))
		}
	})
}

func (a *app) artifactFilesCmd() *cobra.Command {
	return &cobra.Command{
		Use: "files ID", Short: "List what is in an artifact", Args: cobra.ExactArgs(1),
		Example: "  formicary artifact files 01980b1e-…",
		RunE: func(c *cobra.Command, args []string) error {
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				all := &executionv1.ListArtifactFilesResponse{}
				err := pages(func(token string) (string, error) {
					res, err := cl.artifacts.ListArtifactFiles(ctx, &executionv1.ListArtifactFilesRequest{Id: args[0], PageToken: token})
					all.Files = append(all.Files, res.GetFiles()...)
					return res.GetNextPageToken(), err
				})
				if err != nil {
					return err
				}
				names := make([]string, len(all.GetFiles()))
				for i, f := range all.GetFiles() {
					names[i] = inert(f.GetName(), false)
				}
				return a.show(all, names, func(w io.Writer) {
					row(w, "MODE", "SIZE", "MODIFIED", "NAME")
					for i, f := range all.GetFiles() {
						name := names[i]
						if f.GetTarget() != "" {
							name += " -> " + inert(f.GetTarget(), false)
						}
						row(w, fmt.Sprintf("%s%04o", f.GetType()[:1], f.GetMode()), sizeText(f.GetBytes()), f.GetModifiedAt().AsTime().Local().Format(time.DateTime), name)
					}
				})
			})
		},
	}
}

func (a *app) artifactDownloadCmd() *cobra.Command {
	var to, format string
	var limits archive.Limits
	c := &cobra.Command{
		Use: "download ID [FILE]", Short: "Download an artifact, or one file of it", Args: cobra.RangeArgs(1, 2),
		Long: `Unpacks an artifact into a directory, or writes it as one file: as it is stored (raw: a tar of zstd frames), as a tar or
as a zip file. Of one file that is named nothing but that file is transferred.`,
		Example: `  formicary artifact download 01980b1e-… --to build/
  formicary artifact download 01980b1e-… reports/unit.xml --to -
  formicary artifact download 01980b1e-… --format zip --to build.zip`,
		RunE: func(c *cobra.Command, args []string) error {
			if !slices.Contains([]string{"dir", "raw", "tar", "zip"}, format) {
				return usageError(fmt.Errorf("--format is %q, want dir, raw, tar or zip", format))
			}
			d := &downloading{app: a, id: args[0], to: to, format: format, limits: limits}
			if len(args) > 1 {
				d.file = args[1]
			}
			return a.patiently(c.Context(), d.run)
		},
	}
	c.Flags().StringVar(&to, "to", "", "`path` to write to: a directory for an artifact, a file otherwise, - for stdout; by default here, under its own name")
	c.Flags().StringVar(&format, "format", "dir", "dir, raw, tar or zip")
	c.Flags().Int64Var(&limits.Bytes, "most-bytes", mostUnpacked, "`BYTES` that are unpacked at most")
	return c
}

// mostUnpacked bounds what a download fills a disk with that was not asked for more.
const mostUnpacked = 64 << 30

// downloading is one download.
type downloading struct {
	*app
	id, file, to, format string
	limits               archive.Limits // of what is unpacked
}

func (d *downloading) run(ctx context.Context, cl *client) error {
	got, err := cl.artifacts.GetArtifact(ctx, &executionv1.GetArtifactRequest{Id: d.id})
	if err != nil {
		return err
	}
	req := &executionv1.ReadArtifactRequest{Id: d.id, File: d.file}
	switch {
	case d.file != "":
	case d.format == "tar":
		req.Format = executionv1.ReadArtifactRequest_FORMAT_TAR
	case d.format == "zip":
		req.Format = executionv1.ReadArtifactRequest_FORMAT_ZIP
	}
	stream, err := cl.artifacts.ReadArtifact(ctx, req)
	if err != nil {
		return err
	}
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	bar := d.bar(got.GetArtifact().GetName(), first.GetTotal())
	defer bar.end()
	sum := sha256.New()
	in := io.TeeReader(&pieces{next: stream.Recv, rest: first.GetData(), bar: bar}, sum)
	if d.file != "" || d.format != "dir" {
		err = d.write(in, filepath.Base(first.GetName()))
	} else {
		err = d.unpack(in)
	}
	if raw := d.file == "" && req.GetFormat() == executionv1.ReadArtifactRequest_FORMAT_UNSPECIFIED; err == nil && raw {
		if got, want := hex.EncodeToString(sum.Sum(nil)), got.GetArtifact().GetSha256(); got != want {
			err = fmt.Errorf("what was downloaded is damaged: its SHA-256 is %s, not %s; download it again", got, want)
		}
	}
	return err
}

// write writes to a file that appears when it is whole.
func (d *downloading) write(in io.Reader, name string) error {
	to := d.to
	switch info, err := os.Stat(to); {
	case to == "-":
		_, err := io.Copy(d.Out, in)
		return err
	case to == "":
		to = name
	case err == nil && info.IsDir():
		to = filepath.Join(to, name)
	}
	f, err := os.CreateTemp(filepath.Dir(to), ".download-")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = io.Copy(f, in)
	if err := errors.Join(err, f.Chmod(0o644), f.Close()); err != nil { // #nosec G302 -- as any file that a user saves
		return err
	}
	return os.Rename(f.Name(), to)
}

func (d *downloading) unpack(in io.Reader) error {
	to := d.to
	if to == "" {
		to = "."
	}
	if err := os.MkdirAll(to, 0o755); err != nil { // #nosec G301 -- as any directory that a user makes
		return err
	}
	root, err := os.OpenRoot(to)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	raw, err := archive.Decompress(in, d.limits)
	if err != nil {
		return err
	}
	defer func() { _ = raw.Close() }()
	if err := archive.Extract(root, raw, d.limits); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, raw) // the index, for the digest
	return err
}

// pieces reads the data of a stream.
type pieces struct {
	next func() (*executionv1.ReadArtifactResponse, error)
	rest []byte
	bar  *bar
}

func (p *pieces) Read(b []byte) (int, error) {
	for len(p.rest) == 0 {
		m, err := p.next()
		if err != nil {
			return 0, err // io.EOF is the end
		}
		p.rest = m.GetData()
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	p.bar.add(n)
	return n, nil
}

func (a *app) artifactUploadCmd() *cobra.Command {
	var name string
	var age time.Duration
	c := &cobra.Command{
		Use: "upload PATH", Short: "Upload a directory, a file, or a tar or zip file as what is in it", Args: cobra.ExactArgs(1),
		Long: `Uploads an artifact, for tasks that name its id in artifact_ids. Of a tar (plain, .gz, .zst) or zip file the artifact is
what is in it; a directory is packed, any other file is the only one of the artifact. Pipes, devices and links that lead out of the directory
are left out, and named on stderr.`,
		Example: "  formicary artifact upload testdata/ --name fixtures\n  formicary artifact upload model.zip --expires-after 720h -o name",
		RunE: func(c *cobra.Command, args []string) error {
			if age < 0 {
				return usageError(errors.New("--expires-after is negative"))
			}
			if name == "" {
				name = filepath.Base(filepath.Clean(args[0]))
			}
			if !utf8.ValidString(name) {
				return usageError(fmt.Errorf("the name %q is not UTF-8; give the artifact another one with --name", name))
			}
			first := &executionv1.UploadArtifactRequest{Name: name, ExpiresAfterSeconds: int64(age / time.Second)}
			return a.patiently(c.Context(), func(ctx context.Context, cl *client) error { return a.uploadArtifact(ctx, cl, args[0], first) })
		},
	}
	c.Flags().StringVar(&name, "name", "", "`name` of the artifact; that of the path unless given")
	c.Flags().DurationVar(&age, "expires-after", 0, "delete it after this `duration`; 30 days unless given")
	return c
}

func (a *app) uploadArtifact(ctx context.Context, cl *client, path string, first *executionv1.UploadArtifactRequest) error {
	var left []string
	body, total, err := artifactSource(ctx, path, &left)
	if err != nil {
		return usageError(err)
	}
	defer func() { _ = body.Close() }()
	stream, err := cl.artifacts.UploadArtifact(ctx)
	if err != nil {
		return err
	}
	bar := a.bar(first.GetName(), total)
	for m := first; ; {
		if err := stream.Send(m); err != nil {
			break // the answer says why
		}
		bar.add(len(m.GetData()))
		piece := make([]byte, 256<<10) // the stream may keep it
		n, err := io.ReadFull(body, piece)
		if n == 0 && errors.Is(err, io.EOF) {
			break
		}
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			bar.end()
			return fmt.Errorf("read %s: %w", path, err)
		}
		m = &executionv1.UploadArtifactRequest{Data: piece[:n]}
	}
	res, err := stream.CloseAndRecv()
	bar.end()
	if err != nil {
		return err
	}
	for _, note := range left { // which is complete since the body has ended
		_, _ = fmt.Fprintln(a.Err, "left out: "+inert(note, false))
	}
	return a.showArtifacts(res.GetArtifact(), []*executionv1.Artifact{res.GetArtifact()})
}

// artifactSource is what is sent of a path, and its length; -1 when it is not known before its end. When that has come, left
// says what is not sent.
func artifactSource(ctx context.Context, path string, left *[]string) (io.ReadCloser, int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, 0, err
	}
	if !info.IsDir() && !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s is no file and no directory", path)
	}
	name := strings.ToLower(info.Name())
	if !info.IsDir() && slices.ContainsFunc([]string{".tar", ".tar.gz", ".tgz", ".tar.zst", ".zip"}, func(end string) bool { return strings.HasSuffix(name, end) }) {
		f, err := os.Open(path) // #nosec G304 -- the user names it
		return f, info.Size(), err
	}
	dir, what := path, "."
	if !info.IsDir() {
		dir, what = filepath.Dir(path), filepath.Base(path)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, 0, err
	}
	patterns, err := archive.Compile([]string{archive.Escaped(what)})
	if err != nil {
		_ = root.Close()
		return nil, 0, err
	}
	r, w := io.Pipe()
	go func() {
		defer func() { _ = root.Close() }()
		notes, err := archive.Pack(ctx, w, root, patterns, archive.Limits{})
		*left = notes
		_ = w.CloseWithError(err)
	}()
	return r, -1, nil
}

func (a *app) artifactRemoveCmd() *cobra.Command {
	return &cobra.Command{
		Use: "rm ID...", Short: "Delete artifacts", Args: cobra.MinimumNArgs(1),
		Example: "  formicary artifact rm $(formicary artifact list --name fixtures -o name)",
		RunE: func(c *cobra.Command, args []string) error {
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				for _, id := range args {
					if _, err := cl.artifacts.DeleteArtifact(ctx, &executionv1.DeleteArtifactRequest{Id: id}); err != nil {
						return fmt.Errorf("delete %s: %w", id, err)
					}
				}
				return nil
			})
		},
	}
}
