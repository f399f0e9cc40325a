package blobserver

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/rclone/gofakes3"
)

// Uploads in parts: a folder per upload beside the buckets, with the object as it grows. Clients cut an object into parts of one
// length but the last, so a part is written where it will stand if all have the length of the one that came first, and the end
// has nothing to copy. What does not fit (a part that comes while an earlier try of it is still written, one of another length)
// is a file of its own and is copied at the end. Uploads do not survive a restart of the server: whoever began one begins again,
// and what is left of it goes at the start.

const (
	partsDir  = ".parts"
	grownFile = "object"
	// mostPlace bounds where a part is written in its place, below what file systems can do.
	mostPlace = 1 << 40
	partBuf   = 256 << 10
	// startWriting is SYNC_FILE_RANGE_WRITE of Linux.
	startWriting = 2
)

// upload is one that is under way.
type upload struct {
	dir  string
	meta []byte
	head int64 // the length of the header

	mu     sync.Mutex
	slot   int64          // the length of parts that are written in their place
	placed map[int]string // the tags of those; empty while one is being written
	busy   int            // how many are being written
	parts  map[partID]part
	done   bool
}

// partID is how the end names a part.
type partID struct {
	number int
	tag    string
}

// part is a whole one.
type part struct {
	size int64
	file string // its own; empty of one in its place
}

func (f *files) upload(id gofakes3.UploadID) (*upload, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if u := f.uploads[id]; u != nil {
		return u, nil
	}
	return nil, gofakes3.ErrNoSuchUpload
}

// CreateMultipartUpload begins an upload.
func (f *files) CreateMultipartUpload(ctx context.Context, bucket, _ string, meta map[string]string) (gofakes3.UploadID, error) {
	if ok, _ := f.BucketExists(ctx, bucket); !ok {
		return "", gofakes3.BucketNotFound(bucket)
	}
	raw, err := encodeMeta(meta)
	if err != nil {
		return "", err
	}
	id := gofakes3.UploadID(token(16))
	u := &upload{dir: filepath.Join(f.dir, partsDir, string(id)), meta: raw, head: int64(headLen + len(raw)), placed: map[int]string{}, parts: map[partID]part{}}
	if err := os.MkdirAll(u.dir, 0o700); err != nil {
		return "", fmt.Errorf("make folder of upload: %w", err)
	}
	if err := os.WriteFile(filepath.Join(u.dir, grownFile), nil, 0o600); err != nil {
		return "", fmt.Errorf("begin upload: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.uploads[id] = u
	return id, nil
}

// UploadPart stores a part; the end says which of those with the same number it wants.
func (f *files) UploadPart(_ context.Context, _, _ string, id gofakes3.UploadID, number int, size int64, body io.Reader) (string, error) {
	u, err := f.upload(id)
	if err != nil {
		return "", err
	}
	tag, err := u.store(number, size, body)
	if errors.Is(err, fs.ErrNotExist) { // ended or given up meanwhile
		return "", gofakes3.ErrNoSuchUpload
	}
	if err != nil {
		return "", fmt.Errorf("write part %d: %w", number, err)
	}
	return strconv.Quote(tag), nil
}

func (u *upload) store(number int, size int64, body io.Reader) (tag string, err error) {
	off, placed := u.place(number, size)
	var file *os.File
	if placed {
		file, err = os.OpenFile(filepath.Join(u.dir, grownFile), os.O_WRONLY, 0)
	} else {
		file, err = os.CreateTemp(u.dir, tempStart)
	}
	if err == nil {
		tag, err = receive(io.NewOffsetWriter(file, off), body, size)
		if placed && err == nil { // to the disk while others come: the end, which waits for it, has less to wait for
			_ = syscall.SyncFileRange(int(file.Fd()), off, size, startWriting)
		}
		err = errors.Join(err, file.Close())
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if placed {
		u.busy--
		if u.placed[number] = tag; err != nil {
			delete(u.placed, number) // for the next try
		}
	}
	own := ""
	if !placed && file != nil {
		own = file.Name()
	}
	if err != nil || u.placed[number] == tag && !placed {
		_ = os.Remove(own)
		return tag, err
	}
	u.parts[partID{number, tag}] = part{size, own}
	return tag, nil
}

// place decides where a part is written.
func (u *upload) place(number int, size int64) (off int64, placed bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.slot == 0 {
		u.slot = size
	}
	if _, taken := u.placed[number]; taken || size > u.slot || int64(number) > mostPlace/max(u.slot, 1) {
		return 0, false
	}
	u.placed[number] = ""
	u.busy++
	return u.head + int64(number-1)*u.slot, true
}

// receive copies the body of a part and returns its tag. That is no MD5, as S3 allows: processors hash with SHA-256 twice as fast.
func receive(to io.Writer, body io.Reader, size int64) (string, error) {
	sum := sha256.New()
	n, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(to, sum)}, body, make([]byte, partBuf))
	if err == nil && n != size {
		err = gofakes3.ErrIncompleteBody
	}
	return hex.EncodeToString(sum.Sum(nil)[:sumLen]), err
}

// CompleteMultipartUpload makes the object of its parts. After an error it may be tried again.
func (f *files) CompleteMultipartUpload(_ context.Context, bucket, key string, id gofakes3.UploadID, in *gofakes3.CompleteMultipartUploadRequest) (gofakes3.VersionID, string, error) {
	u, err := f.upload(id)
	if err != nil {
		return "", "", err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.done {
		return "", "", gofakes3.ErrNoSuchUpload
	}
	ids, sum, err := u.named(in.Parts)
	if err != nil {
		return "", "", err
	}
	grown, err := u.join(ids, sum)
	if err == nil {
		err = f.move(grown, bucket, key)
	}
	if err != nil {
		return "", "", fmt.Errorf("join the parts of %s: %w", key, err)
	}
	return "", strconv.Quote(fmt.Sprintf("%x-%d", sum, len(ids))), f.forget(id, u)
}

// named looks for the parts that the end names, and makes the tag of the object: the sum of their sums, as S3 has it.
func (u *upload) named(parts []gofakes3.CompletedPart) ([]partID, []byte, error) {
	all := sha256.New()
	ids := make([]partID, len(parts))
	for i, p := range parts {
		sum, err := hex.DecodeString(strings.Trim(p.ETag, `"`))
		if err != nil || len(sum) != sumLen {
			return nil, nil, gofakes3.ErrInvalidPart
		}
		if i > 0 && p.PartNumber <= parts[i-1].PartNumber {
			return nil, nil, gofakes3.ErrInvalidPartOrder
		}
		_, _ = all.Write(sum)
		ids[i] = partID{p.PartNumber, hex.EncodeToString(sum)}
		if _, ok := u.parts[ids[i]]; !ok {
			return nil, nil, gofakes3.ErrInvalidPart
		}
	}
	return ids, all.Sum(nil)[:sumLen], nil
}

// join returns the name of a file that is the object.
func (u *upload) join(ids []partID, sum []byte) (name string, err error) {
	grown, err := os.OpenFile(filepath.Join(u.dir, grownFile), os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, grown.Close()) }()
	to := grown
	if !u.inPlace(ids) {
		if to, err = os.CreateTemp(u.dir, tempStart); err != nil {
			return "", err
		}
		defer func() {
			if err = errors.Join(err, to.Close()); err != nil {
				_ = os.Remove(to.Name())
			}
		}()
	}
	end := u.head
	for _, id := range ids {
		if err := u.copyPart(to, end, grown, id); err != nil {
			return "", err
		}
		end += u.parts[id].size
	}
	if _, err := to.WriteAt(header(u.meta, sum), 0); err != nil {
		return "", err
	}
	return to.Name(), errors.Join(to.Truncate(end), to.Sync())
}

// inPlace says that the object is what has grown, but for parts that can be copied to places where nothing is: none stands
// elsewhere than where it has to, and none is written any more.
func (u *upload) inPlace(ids []partID) bool {
	for i, id := range ids {
		size := u.parts[id].size
		if id.number != i+1 || size > u.slot || size < u.slot && i < len(ids)-1 {
			return false
		}
		if tag, ok := u.placed[id.number]; ok && tag != id.tag {
			return false
		}
	}
	return u.busy == 0
}

// copyPart writes a part at a place of a file, unless it is there.
func (u *upload) copyPart(to *os.File, at int64, grown *os.File, id partID) error {
	p := u.parts[id]
	from, off := grown, u.head+int64(id.number-1)*u.slot
	if p.file == "" && to == grown {
		return nil
	}
	if p.file != "" {
		own, err := os.Open(p.file)
		if err != nil {
			return err
		}
		defer func() { _ = own.Close() }()
		from, off = own, 0
	}
	if _, err := from.Seek(off, io.SeekStart); err != nil {
		return err
	}
	if _, err := to.Seek(at, io.SeekStart); err != nil {
		return err
	}
	_, err := io.CopyN(to, from, p.size) // which the kernel does without the bytes passing by here
	return err
}

// AbortMultipartUpload forgets an upload.
func (f *files) AbortMultipartUpload(_ context.Context, _, _ string, id gofakes3.UploadID) error {
	u, err := f.upload(id)
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return f.forget(id, u)
}

// forget removes what is left of an upload, which is held.
func (f *files) forget(id gofakes3.UploadID, u *upload) error {
	u.done = true
	f.mu.Lock()
	delete(f.uploads, id)
	f.mu.Unlock()
	return os.RemoveAll(u.dir)
}
