package api

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/archive"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/rpc"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	"github.com/formicary/formicary/services/supervisor/internal/artifact"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// ArtifactReader shows artifacts.
type ArtifactReader interface {
	Artifact(ctx context.Context, org string, id uuid.UUID) (artifact.Artifact, error)
	Artifacts(ctx context.Context, f artifact.Filter) ([]artifact.Artifact, error)
}

// ArtifactBlobs reads and writes their objects.
type ArtifactBlobs interface {
	Range(ctx context.Context, key string, off, n int64) (io.ReadCloser, error)
	Put(ctx context.Context, key string, r io.Reader) error
	Remove(ctx context.Context, keys []string) error
}

// Artifacts serves people.
type Artifacts struct {
	executionv1.UnimplementedArtifactServiceServer
	Reader ArtifactReader
	Store  artifact.Store
	Blobs  ArtifactBlobs
	most   int64 // bytes of the files of one
	// zips and indexes bound what is on the disk and in the memory at once, whoever sends it.
	zips, indexes chan struct{}
}

const (
	artifactPage = 100
	mostZips     = 4 // each may have mostZip bytes
	mostIndexes  = 4
)

// NewArtifacts returns a server that takes artifacts of so many bytes.
func NewArtifacts(reader ArtifactReader, store artifact.Store, blobs ArtifactBlobs, most int64) *Artifacts {
	return &Artifacts{
		Reader: reader, Store: store, Blobs: blobs, most: most, zips: make(chan struct{}, mostZips), indexes: make(chan struct{}, mostIndexes),
	}
}

// one takes one of a few places and returns how to leave it.
func one(ctx context.Context, places chan struct{}) (leave func(), err error) {
	select {
	case places <- struct{}{}:
		return func() { <-places }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// ListArtifacts lists artifacts.
func (s *Artifacts) ListArtifacts(ctx context.Context, req *executionv1.ListArtifactsRequest) (*executionv1.ListArtifactsResponse, error) {
	f := artifact.Filter{
		Org: access.From(ctx).Org, Run: int(req.GetRun()), JobType: req.GetJobType(), Task: req.GetTask(), Name: req.GetName(), Limit: int(req.GetPageSize()),
		Before: time.Unix(1<<40, 0), BeforeID: uuid.Max,
	}
	if req.GetRequestId() != "" {
		var err error
		if f.Request, err = uuid.Parse(req.GetRequestId()); err != nil {
			return nil, badID("request_id", err)
		}
	}
	if f.Limit == 0 {
		f.Limit = artifactPage
	}
	list := rpc.PartOf("artifacts", req.GetRequestId(), f.Run, f.JobType, f.Task, f.Name)
	place, err := rpc.PagePlace(list, req.GetPageToken())
	if err != nil {
		return nil, err
	}
	if place != "" {
		var micros int64
		var id string
		if _, err := fmt.Sscanf(place, "%d %s", &micros, &id); err != nil {
			return nil, rpc.BadPageToken()
		}
		if f.BeforeID, err = uuid.Parse(id); err != nil {
			return nil, rpc.BadPageToken()
		}
		f.Before = time.UnixMicro(micros)
	}
	size := f.Limit
	f.Limit++ // one more tells whether there is a next page
	all, err := s.Reader.Artifacts(ctx, f)
	if err != nil {
		return nil, err
	}
	res := &executionv1.ListArtifactsResponse{}
	if len(all) > size {
		all = all[:size]
		last := &all[size-1]
		res.NextPageToken = rpc.PageToken(list, fmt.Sprintf("%d %s", last.CreatedAt.UnixMicro(), last.ID))
	}
	for i := range all {
		res.Artifacts = append(res.Artifacts, artifactOf(&all[i]))
	}
	return res, nil
}

func artifactOf(a *artifact.Artifact) *executionv1.Artifact {
	out := &executionv1.Artifact{
		Id: a.ID.String(), Name: a.Name, Kind: a.Kind, Run: int32(a.Run), JobType: a.JobType, Task: a.Task, Attempt: int32(a.Attempt), Bytes: a.Bytes,
		Files: int32(a.Files), Sha256: a.SHA256, CreatedAt: timestamppb.New(a.CreatedAt), ExpiresAt: timestamppb.New(a.ExpiresAt),
	}
	if a.Request != uuid.Nil {
		out.RequestId = a.Request.String()
	}
	return out
}

func (s *Artifacts) find(ctx context.Context, id string) (artifact.Artifact, error) {
	parsed, err := uuid.Parse(id)
	if err != nil {
		return artifact.Artifact{}, badID("id", err)
	}
	return s.Reader.Artifact(ctx, access.From(ctx).Org, parsed)
}

// GetArtifact returns one.
func (s *Artifacts) GetArtifact(ctx context.Context, req *executionv1.GetArtifactRequest) (*executionv1.GetArtifactResponse, error) {
	a, err := s.find(ctx, req.GetId())
	if err != nil {
		return nil, err
	}
	return &executionv1.GetArtifactResponse{Artifact: artifactOf(&a)}, nil
}

// DeleteArtifact deletes the object, then what names it, so that none is left that nothing names.
func (s *Artifacts) DeleteArtifact(ctx context.Context, req *executionv1.DeleteArtifactRequest) (*executionv1.DeleteArtifactResponse, error) {
	a, err := s.find(ctx, req.GetId())
	if err != nil {
		return nil, err
	}
	if err := s.Blobs.Remove(ctx, []string{a.Key}); err != nil {
		return nil, err
	}
	return &executionv1.DeleteArtifactResponse{}, s.Store.ForgetArtifacts(ctx, []uuid.UUID{a.ID})
}

func (s *Artifacts) open(ctx context.Context, a *artifact.Artifact) (*archive.Archive, error) {
	x, err := archive.Open(ctx, func(ctx context.Context, off, n int64) (io.ReadCloser, error) {
		return s.Blobs.Range(ctx, a.Key, off, n)
	}, a.Bytes, archive.Limits{})
	return x, archiveFault(err)
}

// archiveFault tells people what is wrong with an archive.
func archiveFault(err error) error {
	switch {
	case errors.Is(err, archive.ErrNotFound):
		return errs.NotFound("ARTIFACT_FILE_NOT_FOUND", "%v", err)
	case errors.Is(err, archive.ErrDamaged), errors.Is(err, archive.ErrUnsafe), errors.Is(err, archive.ErrLimit):
		return errs.Precondition("ARTIFACT_DAMAGED", "%v", err)
	}
	return err
}

// ListArtifactFiles lists what is in one.
func (s *Artifacts) ListArtifactFiles(ctx context.Context, req *executionv1.ListArtifactFilesRequest) (*executionv1.ListArtifactFilesResponse, error) {
	a, err := s.find(ctx, req.GetId())
	if err != nil {
		return nil, err
	}
	list, from := "files/"+a.ID.String(), 0
	place, err := rpc.PagePlace(list, req.GetPageToken())
	if err != nil {
		return nil, err
	}
	if place != "" {
		if _, err := fmt.Sscan(place, &from); err != nil {
			return nil, rpc.BadPageToken()
		}
	}
	leave, err := one(ctx, s.indexes)
	if err != nil {
		return nil, err
	}
	defer leave()
	x, err := s.open(ctx, &a)
	if err != nil {
		return nil, err
	}
	size := int(req.GetPageSize())
	if size == 0 {
		size = maxPage
	}
	res, i := &executionv1.ListArtifactFilesResponse{}, -1
	for e := range x.Entries() {
		if i++; i < from {
			continue
		}
		if len(res.Files) == size {
			res.NextPageToken = rpc.PageToken(list, fmt.Sprint(i))
			break
		}
		res.Files = append(res.Files, &executionv1.ArtifactFile{
			Name: e.Name, Type: typeOf(e.Type), Mode: e.Mode, Bytes: e.Size, ModifiedAt: timestamppb.New(e.ModTime), Target: e.Target,
		})
	}
	return res, nil
}

func typeOf(t archive.Type) string {
	switch t {
	case archive.Directory:
		return "directory"
	case archive.Link:
		return "link"
	case archive.File:
	}
	return "file"
}

// ReadArtifact sends the bytes of one.
func (s *Artifacts) ReadArtifact(req *executionv1.ReadArtifactRequest, stream grpc.ServerStreamingServer[executionv1.ReadArtifactResponse]) error {
	ctx := stream.Context()
	a, err := s.find(ctx, req.GetId())
	if err != nil {
		return err
	}
	raw := req.GetFormat() == executionv1.ReadArtifactRequest_FORMAT_UNSPECIFIED
	if !raw && (req.GetFile() != "" || req.GetOffset() > 0 || req.GetLength() > 0) {
		return errs.Invalid("REQUEST_INVALID", "of a file, and of a range, no format can be chosen")
	}
	switch {
	case req.GetFile() != "":
		return s.sendFile(req, &a, stream)
	case raw:
		off := min(req.GetOffset(), a.Bytes)
		n := rest(req, a.Bytes-off)
		body, err := s.Blobs.Range(ctx, a.Key, off, n)
		if err != nil {
			return err
		}
		return send(stream, body, &executionv1.ReadArtifactResponse{Total: a.Bytes, Name: a.Name + ".tar.zst"})
	}
	return s.convert(req.GetFormat(), &a, stream)
}

// rest is how much is wanted of what is left.
func rest(req *executionv1.ReadArtifactRequest, left int64) int64 {
	if n := req.GetLength(); n > 0 {
		return min(n, left)
	}
	return left
}

// mostLinks bounds how many links are followed to a file.
const mostLinks = 10

func (s *Artifacts) sendFile(req *executionv1.ReadArtifactRequest, a *artifact.Artifact, stream grpc.ServerStreamingServer[executionv1.ReadArtifactResponse]) error {
	x, e, err := s.findFile(stream.Context(), a, req.GetFile())
	if err != nil {
		return archiveFault(err)
	}
	off := min(req.GetOffset(), e.Size)
	body, err := x.OpenFile(stream.Context(), e, off, rest(req, e.Size-off))
	if err != nil {
		return archiveFault(err)
	}
	return send(stream, body, &executionv1.ReadArtifactResponse{Total: e.Size, Name: path.Base(req.GetFile())})
}

// findFile looks for a file in the index, which is not in memory any longer than that.
func (s *Artifacts) findFile(ctx context.Context, a *artifact.Artifact, name string) (*archive.Archive, archive.Entry, error) {
	leave, err := one(ctx, s.indexes)
	if err != nil {
		return nil, archive.Entry{}, err
	}
	defer leave()
	x, err := s.open(ctx, a)
	if err != nil {
		return nil, archive.Entry{}, err
	}
	e, err := x.Find(name)
	for range mostLinks {
		if err != nil || e.Type != archive.Link {
			break
		}
		e, err = x.Find(path.Join(path.Dir(e.Name), e.Target))
	}
	if err == nil && e.Type != archive.File {
		err = errs.Invalid("REQUEST_INVALID", "%.200q is no file", name)
	}
	return x, e, err
}

func (s *Artifacts) convert(format executionv1.ReadArtifactRequest_Format, a *artifact.Artifact, stream grpc.ServerStreamingServer[executionv1.ReadArtifactResponse]) error {
	body, err := s.Blobs.Range(stream.Context(), a.Key, 0, a.Bytes)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	unpacked, err := archive.Decompress(body, archive.Limits{})
	if err != nil {
		return err
	}
	defer func() { _ = unpacked.Close() }()
	make, name := archive.Clean, a.Name+".tar"
	if format == executionv1.ReadArtifactRequest_FORMAT_ZIP {
		make, name = archive.Zip, a.Name+".zip"
	}
	w := bufio.NewWriterSize(&sender{stream: stream, first: &executionv1.ReadArtifactResponse{Total: -1, Name: name}}, sendPiece)
	if err := make(w, unpacked, archive.Limits{}); err != nil {
		return archiveFault(err)
	}
	return w.Flush()
}

const sendPiece = 256 << 10

// sender sends what is written in pieces.
type sender struct {
	stream grpc.ServerStreamingServer[executionv1.ReadArtifactResponse]
	first  *executionv1.ReadArtifactResponse
}

func (s *sender) Write(p []byte) (int, error) {
	for sent := 0; sent < len(p); {
		m := s.first
		if m == nil {
			m = &executionv1.ReadArtifactResponse{}
		}
		s.first = nil
		m.Data = bytes.Clone(p[sent:min(sent+sendPiece, len(p))]) // the stream may keep it
		if err := s.stream.Send(m); err != nil {
			return sent, err
		}
		sent += len(m.GetData())
	}
	return len(p), nil
}

// send sends a body; the first message is sent also when it is empty.
func send(stream grpc.ServerStreamingServer[executionv1.ReadArtifactResponse], body io.ReadCloser, first *executionv1.ReadArtifactResponse) error {
	defer func() { _ = body.Close() }()
	for {
		piece := make([]byte, sendPiece) // the stream may keep it
		n, err := io.ReadFull(body, piece)
		if n > 0 || first != nil {
			m := first
			if m == nil {
				m = &executionv1.ReadArtifactResponse{}
			}
			first, m.Data = nil, piece[:n]
			if err := stream.Send(m); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return archiveFault(err)
		}
	}
}

// UploadArtifact stores what a user sends.
func (s *Artifacts) UploadArtifact(stream grpc.ClientStreamingServer[executionv1.UploadArtifactRequest, executionv1.UploadArtifactResponse]) error {
	first, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		return errs.Invalid("REQUEST_INVALID", "the call says nothing")
	}
	if err != nil {
		return err // such as what is wrong with the name
	}
	if first.GetName() == "" {
		return errs.Invalid("REQUEST_INVALID", "the artifact has no name")
	}
	age := time.Duration(min(first.GetExpiresAfterSeconds(), int64(execution.MostArtifactAge/time.Second))) * time.Second
	if age <= 0 {
		age = execution.ArtifactAge
	}
	ctx := stream.Context()
	u := &artifact.Upload{ID: uuid.Must(uuid.NewV7()), Org: access.From(ctx).Org, Name: first.GetName()}
	u.Key = fmt.Sprintf("artifacts/%s/user/%s", url.PathEscape(u.Org), u.ID)
	if err := s.Store.BeginUpload(ctx, u); err != nil {
		return err
	}
	if err := s.store(ctx, u, &received{stream: stream, rest: first.GetData()}); err != nil {
		if errors.Is(err, archive.ErrDamaged) || errors.Is(err, archive.ErrUnsafe) || errors.Is(err, archive.ErrLimit) {
			return errs.Invalid("ARTIFACT_REFUSED", "%v", err)
		}
		return err
	}
	a, err := s.Store.KeepUpload(ctx, u, age)
	if err != nil {
		return err
	}
	return stream.SendAndClose(&executionv1.UploadArtifactResponse{Artifact: artifactOf(a)})
}

// store makes an archive of what comes in and stores it while it comes.
func (s *Artifacts) store(ctx context.Context, u *artifact.Upload, in io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, w := io.Pipe()
	stored := make(chan error, 1)
	go func() {
		err := s.Blobs.Put(ctx, u.Key, r)
		_ = r.CloseWithError(err)
		stored <- err
	}()
	sum, err := s.pack(ctx, w, in)
	_ = w.CloseWithError(err) // nothing is stored of what could not be made
	failed := <-stored        // for that reason too
	if err == nil {
		err = failed
	}
	if err != nil {
		return err
	}
	u.Bytes, u.Files, u.SHA256 = sum.Bytes, sum.Files, sum.SHA256
	return nil
}

// pack makes an archive of a tar, a tar of zstd or gzip, or a zip file.
func (s *Artifacts) pack(ctx context.Context, to io.Writer, from io.Reader) (archive.Summary, error) {
	w, err := archive.NewWriter(to, archive.Limits{Bytes: s.most})
	if err != nil {
		return archive.Summary{}, err
	}
	err = s.add(ctx, w, bufio.NewReaderSize(from, sendPiece))
	sum, closed := w.Close()
	if closed != nil { // it knows the cause
		err = closed
	}
	return sum, err
}

func (s *Artifacts) add(ctx context.Context, w *archive.Writer, in *bufio.Reader) error {
	switch magic, _ := in.Peek(4); {
	case bytes.HasPrefix(magic, []byte("PK")):
		return s.zipped(ctx, w, in)
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		unpacked, err := gzip.NewReader(in)
		if err != nil {
			return fmt.Errorf("%w: %w", archive.ErrDamaged, err)
		}
		return w.Tar(unpacked)
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}), len(magic) == 4 && magic[0]&0xf0 == 0x50 && bytes.Equal(magic[1:], []byte{0x2a, 0x4d, 0x18}):
		unpacked, err := archive.Decompress(in, archive.Limits{Bytes: s.most})
		if err != nil {
			return err
		}
		defer func() { _ = unpacked.Close() }()
		return w.Tar(unpacked)
	}
	return w.Tar(in)
}

// mostZip bounds a zip file: its index is at its end, so it has to be on the disk before it can be read.
const mostZip = 4 << 30

func (s *Artifacts) zipped(ctx context.Context, w *archive.Writer, in io.Reader) error {
	leave, err := one(ctx, s.zips)
	if err != nil {
		return err
	}
	defer leave()
	f, err := os.CreateTemp("", "formicary-upload-")
	if err != nil {
		return fmt.Errorf("keep a zip file: %w", err)
	}
	defer func() { _ = f.Close() }()
	if err := os.Remove(f.Name()); err != nil { // its bytes go with the descriptor
		return fmt.Errorf("keep a zip file: %w", err)
	}
	n, err := io.Copy(f, io.LimitReader(in, mostZip+1))
	if err != nil {
		return err
	}
	if n > mostZip {
		return fmt.Errorf("%w: a zip file may have 4 GiB; send a tar", archive.ErrLimit)
	}
	return w.Zip(ctx, f, n)
}

// received reads the data of a stream.
type received struct {
	stream grpc.ClientStreamingServer[executionv1.UploadArtifactRequest, executionv1.UploadArtifactResponse]
	rest   []byte
}

func (r *received) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		m, err := r.stream.Recv()
		if err != nil {
			return 0, err // io.EOF is the end
		}
		r.rest = m.GetData()
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}
