package attempt

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/formicary/formicary/libs/archive"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/jobspec/plan"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	"github.com/formicary/formicary/services/ant/internal/executor"
	"github.com/formicary/formicary/services/ant/internal/transfer"
)

const (
	// cachePatience is how long the object store, or supervisor, may be away: without its cache a task only takes longer.
	cachePatience = 20 * time.Second
	// mostCacheKey is what supervisor takes.
	mostCacheKey = 512
	// digestLen is how much of the digest of the key_paths is in a key.
	digestLen = 32
)

// cached is what an attempt has of its cache. Whatever fails of it, the task goes on as if there were none.
type cached struct {
	*plan.Cache
	filer executor.Filer
	use   *antv1.CacheUse
	most  int64 // bytes that supervisor takes; 0: it did not answer
	cold  int64 // milliseconds that the task runs which finds nothing; of what was restored
}

// cacheOf returns what the task asks for; nil when that is none.
func (a *attempt) cacheOf(x executor.Execution) *cached {
	options, err := a.options()
	if err != nil || options.Cache == nil {
		return nil // what cannot be read was refused before
	}
	filer, ok := x.(executor.Filer)
	if !ok {
		a.log.Note("formicary: no cache is used: a task of the method " + a.work.GetSpec().GetMethod() + " has no directory")
		return nil
	}
	return &cached{Cache: options.Cache, filer: filer, use: &antv1.CacheUse{}}
}

// restore puts the files that an earlier run has kept where the task will start.
func (a *attempt) restore(x executor.Execution) {
	if a.cache = a.cacheOf(x); a.cache == nil {
		return
	}
	ctx, done := a.stopping()
	defer done()
	began := time.Now()
	if err := a.find(ctx, a.cache); err != nil {
		a.cache.use.Outcome = antv1.CacheUse_FAILED
		a.log.Note("formicary: the cache is not restored: " + err.Error())
	}
	use := a.cache.use
	use.RestoreMillis = time.Since(began).Milliseconds()
	a.m.metrics.caches.Add(ctx, 1, metric.WithAttributes(attribute.String("outcome", strings.ToLower(use.GetOutcome().String())), attribute.Bool("local", use.GetLocal())))
	switch use.GetOutcome() {
	case antv1.CacheUse_MISS:
		a.log.Note("formicary: no cache is found for " + shown(use.GetKey(), a.cache.Cache))
	case antv1.CacheUse_HIT, antv1.CacheUse_PARTIAL:
		from := "downloaded"
		if use.GetLocal() {
			from = "from the ant's own copy"
		}
		a.log.Note(fmt.Sprintf("formicary: restored the cache %s (%s, packed %s, %s) in %s", use.GetFoundKey(), sized(use.GetRawBytes()), sized(use.GetBytes()), from,
			time.Since(began).Round(time.Millisecond)))
	case antv1.CacheUse_OUTCOME_UNSPECIFIED, antv1.CacheUse_FAILED:
	}
}

// shown is a key for people; that of files that are not there yet has none.
func shown(key string, c *plan.Cache) string {
	if key == "" {
		return "files like " + strings.Join(c.KeyPaths, ", ") + ", which are not there before the start"
	}
	return key
}

// ask makes the key and asks what is found; nil when that is nothing.
func (a *attempt) ask(ctx context.Context, c *cached) (*antv1.CachedFiles, error) {
	if err := a.makeKey(ctx, c); err != nil {
		return nil, err
	}
	if slices.ContainsFunc(c.RestoreKeys, a.masks.Holds) {
		return nil, errSecretKey
	}
	asking, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	res, err := a.m.deps.Caches.FindCache(asking, &antv1.FindCacheRequest{
		AntId: a.m.opts.Ant, Session: a.m.current(), Uid: a.uid, Key: c.use.GetKey(), RestoreKeys: c.RestoreKeys,
	})
	if err != nil {
		return nil, fmt.Errorf("ask for it: %w", err)
	}
	c.most = res.GetMostBytes()
	if res.GetFound() == nil {
		c.use.Outcome = antv1.CacheUse_MISS
	}
	return res.GetFound(), nil
}

// find looks for the cache and unpacks what is found.
func (a *attempt) find(ctx context.Context, c *cached) error {
	found, err := a.ask(ctx, c)
	if err != nil || found == nil {
		return err
	}
	err = a.unpackCache(ctx, c, found)
	if reason := errs.Reason(err); reason == "CACHE_NOT_FOUND" || reason == "OBJECT_NOT_FOUND" {
		c.use.Outcome = antv1.CacheUse_MISS
		return nil
	}
	if err != nil {
		return fmt.Errorf("restore %s: %w", found.GetKey(), err)
	}
	c.use.Bytes, c.use.RawBytes = found.GetBytes(), found.GetRawBytes()
	c.found(found)
	return nil
}

// found notes what there is.
func (c *cached) found(f *antv1.CachedFiles) {
	c.cold, c.use.FoundKey, c.use.Outcome = f.GetRunMillis(), f.GetKey(), antv1.CacheUse_PARTIAL
	if f.GetKey() == c.use.GetKey() {
		c.use.Outcome = antv1.CacheUse_HIT
	}
}

// late looks only now, after the end, for the cache of a task that an earlier life of the ant began: what was found before the
// start was known to that life alone. What is found is what there is under its keys by now.
func (a *attempt) late(ctx context.Context, c *cached) error {
	found, err := a.ask(ctx, c)
	switch {
	case err != nil:
		c.use.Outcome = antv1.CacheUse_FAILED
	case found != nil:
		c.found(found)
	}
	return err
}

var errSecretKey = errors.New("its key holds a secret, and keys are shown; take a digest of what may be seen")

// makeKey makes the key in full; none where the key_paths name no file.
func (a *attempt) makeKey(ctx context.Context, c *cached) error {
	key := c.Key
	if len(c.KeyPaths) > 0 {
		digest, err := digestOf(ctx, c.filer, c.KeyPaths)
		if err != nil {
			return fmt.Errorf("key_paths: %w", err)
		}
		if digest == "" {
			return nil
		}
		if key != "" {
			key += "-"
		}
		key += digest
	}
	switch {
	case len(key) > mostCacheKey:
		return fmt.Errorf("its key has %d bytes, at most %d can be taken", len(key), mostCacheKey)
	case a.masks.Holds(key):
		return errSecretKey
	}
	c.use.Key = key
	return nil
}

// digestOf is one of the names and contents of files; empty when there are none.
func digestOf(ctx context.Context, filer executor.Filer, paths []string) (string, error) {
	patterns, err := archive.Compile(paths)
	if err != nil {
		return "", err
	}
	var lines []string
	for _, root := range patterns.Roots() {
		err := files(ctx, filer, root, patterns.Match, func(h *tar.Header, content io.Reader) error {
			sum := sha256.New()
			switch h.Typeflag {
			case tar.TypeReg:
				if _, err := io.Copy(sum, content); err != nil {
					return fmt.Errorf("read %s: %w", h.Name, err)
				}
			case tar.TypeSymlink:
				_, _ = io.WriteString(sum, h.Linkname)
			default:
				return nil
			}
			lines = append(lines, fmt.Sprintf("%s\x00%c%x\n", h.Name, h.Typeflag, sum.Sum(nil)))
			return nil
		})
		if err != nil {
			return "", err
		}
	}
	if len(lines) == 0 {
		return "", nil
	}
	slices.Sort(lines)
	sum := sha256.Sum256([]byte(strings.Join(lines, "")))
	return hex.EncodeToString(sum[:])[:digestLen], nil
}

// unpackCache unpacks what is kept. Nothing of it is unpacked before all of it is here and is known to be what it should be.
func (a *attempt) unpackCache(ctx context.Context, c *cached, found *antv1.CachedFiles) error {
	done, err := a.m.deps.Copies.Alone(ctx, found.GetSha256()) // the others find a copy then
	if err != nil {
		return err
	}
	f, local := a.m.deps.Copies.Get(found.GetSha256())
	if !local {
		f, err = a.fetchCache(ctx, found)
	}
	done()
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	c.use.Local = local
	raw, err := archive.Decompress(f, a.room())
	if err != nil {
		return err
	}
	defer func() { _ = raw.Close() }()
	return a.tight(c.filer.Put(ctx, ".", a.counted(raw)))
}

// fetchCache downloads what is kept, checks it and keeps a copy of it.
func (a *attempt) fetchCache(ctx context.Context, found *antv1.CachedFiles) (*os.File, error) {
	draft, err := a.m.deps.Copies.Draft()
	if err != nil {
		return nil, err
	}
	in := transfer.Input{ID: found.GetId(), Bytes: found.GetBytes(), SHA256: found.GetSha256()}
	began := time.Now()
	err = a.mover(cacheSigner{signer{a}}, cachePatience).Fetch(ctx, in, draft)
	if err == nil {
		err = transfer.Check(io.NewSectionReader(draft, 0, in.Bytes), in, a.room())
	}
	if err != nil {
		draft.Discard()
		return nil, a.tight(err)
	}
	a.moved.in += in.Bytes
	a.moved.download += time.Since(began)
	if err := draft.Keep(in.SHA256); err != nil {
		a.m.deps.Log.Warn("no copy of a cache is kept", "attempt", a.uid, "error", err)
	}
	return draft.File, nil
}

// save keeps the files of a task that succeeded for later runs, unless it had them from there. The outcome of the attempt is
// known already: nothing changes it any more.
func (a *attempt) save(x executor.Execution, end executor.End, adopted bool) {
	if end.Class != executor.None {
		return
	}
	if adopted {
		a.cache = a.cacheOf(x)
	}
	c := a.cache
	if c == nil || !adopted && (c.most == 0 || c.use.GetOutcome() == antv1.CacheUse_HIT) {
		return
	}
	ctx, done := a.stopping()
	defer done()
	if d := a.work.GetTimeout(); d != nil { // supervisor waits no longer
		left, cancel := context.WithDeadline(ctx, a.began.Add(d.AsDuration()+min(a.grace(), defaultGrace)))
		defer cancel()
		ctx = left
	}
	began := time.Now()
	var err error
	if adopted {
		err = a.late(ctx, c)
	}
	if err == nil && c.use.GetOutcome() != antv1.CacheUse_HIT {
		err = a.saveCache(ctx, c)
	}
	if err != nil {
		a.log.Note("formicary: the cache is not stored: " + err.Error())
	}
	c.use.StoreMillis = time.Since(began).Milliseconds()
}

// tellSaved says how much the cache has saved.
func (a *attempt) tellSaved(end executor.End) {
	c := a.cache
	if c == nil || c.cold == 0 || end.Class != executor.None {
		return
	}
	if saved := c.cold - a.ran.Milliseconds() - c.use.GetRestoreMillis(); saved > 0 {
		c.use.SavedMillis = saved
		a.log.Note(fmt.Sprintf("formicary: the cache has saved about %s", (time.Duration(saved) * time.Millisecond).Round(time.Millisecond)))
	}
}

var (
	errNoKey    = errors.New("no file is there that key_paths name")
	errTooLarge = errors.New("it is larger than all caches of the organisation may be together")
)

func (a *attempt) saveCache(ctx context.Context, c *cached) error {
	if c.use.GetKey() == "" { // its files may have come since
		if err := a.makeKey(ctx, c); err != nil {
			return err
		}
		if c.use.GetKey() == "" {
			return errNoKey
		}
	}
	if c.use.GetKey() == c.use.GetFoundKey() { // that is known only now
		c.use.Outcome = antv1.CacheUse_HIT
		return nil
	}
	patterns, err := archive.Compile(c.Paths)
	if err != nil {
		return fmt.Errorf("paths: %w", err)
	}
	draft, err := a.m.deps.Copies.Draft()
	if err != nil {
		return err
	}
	defer draft.Discard()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	tee := &teed{to: draft, most: c.most, full: func() { cancel(errTooLarge) }}
	signer := &cacheKeeper{cacheSigner: cacheSigner{signer{a}}, cached: c, runMillis: max(a.ran.Milliseconds(), c.cold)}
	mover := a.mover(signer, cachePatience)
	mover.Tee = tee
	began := time.Now()
	_, sum, err := mover.Upload(ctx, c.use.GetKey(), func(w *archive.Writer) error { return a.collect(ctx, c.filer, patterns, w, true) })
	switch {
	case errs.Reason(err) == exists: // another task was faster
		return nil
	case errors.Is(err, errNothing):
		return errors.New("nothing is there that paths name")
	case err != nil:
		return err
	case !signer.kept:
		return nil
	}
	c.use.StoredBytes = sum.Bytes
	a.moved.out += sum.Bytes
	a.moved.upload += time.Since(began)
	a.log.Note(fmt.Sprintf("formicary: stored the cache %s (%d files, %s, packed %s)", c.use.GetKey(), sum.Files, sized(sum.Raw), sized(sum.Bytes)))
	if tee.err == nil {
		tee.err = draft.Keep(sum.SHA256)
	}
	if tee.err != nil {
		a.m.deps.Log.Warn("no copy of a cache is kept", "attempt", a.uid, "error", tee.err)
	}
	return nil
}

// teed copies what is uploaded to a file; what fails of that is noted. It says when there is too much.
type teed struct {
	to      io.Writer
	n, most int64
	full    func()
	err     error
}

func (t *teed) Write(p []byte) (int, error) {
	if t.n += int64(len(p)); t.most > 0 && t.n > t.most {
		t.full()
	} else if t.err == nil {
		_, t.err = t.to.Write(p)
	}
	return len(p), nil
}

// exists is the reason why nothing is uploaded for a key.
const exists = "CACHE_EXISTS"

// cacheSigner asks supervisor about the cache of an attempt; parts are those of any upload.
type cacheSigner struct{ signer }

func (s cacheSigner) SignRead(ctx context.Context, id string) (string, error) {
	res, err := s.a.m.deps.Caches.SignCacheRead(ctx, &antv1.SignCacheReadRequest{AntId: s.a.m.opts.Ant, Session: s.a.m.current(), Uid: s.a.uid, Id: id})
	return res.GetUrl(), err
}

func (s cacheSigner) Begin(ctx context.Context, key string) (string, int64, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	res, err := s.a.m.deps.Caches.CreateCacheUpload(ctx, &antv1.CreateCacheUploadRequest{AntId: s.a.m.opts.Ant, Session: s.a.m.current(), Uid: s.a.uid, Key: key})
	switch size := res.GetPartBytes(); {
	case err != nil:
		return "", 0, err
	case res.GetUpload() == "":
		return "", 0, errs.Precondition(exists, "something is kept under the key already")
	default:
		return res.GetUpload(), size, badPart(size)
	}
}

// cacheKeeper keeps what is complete under its key.
type cacheKeeper struct {
	cacheSigner
	cached    *cached
	runMillis int64
	joined    bool // the parts are an object: what is asked again is only that it be kept
	kept      bool
}

func (s *cacheKeeper) Complete(ctx context.Context, upload string, etags []string, sum archive.Summary) error {
	if !s.joined {
		if err := s.cacheSigner.Complete(ctx, upload, etags, sum); err != nil {
			return err
		}
		s.joined = true
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	req := &antv1.KeepCacheRequest{
		AntId: s.a.m.opts.Ant, Session: s.a.m.current(), Uid: s.a.uid, Upload: upload, Key: s.cached.use.GetKey(), RawBytes: sum.Raw, RunMillis: s.runMillis,
	}
	if s.cached.ExpiresAfter > 0 {
		req.ExpiresAfter = durationpb.New(s.cached.ExpiresAfter)
	}
	res, err := s.a.m.deps.Caches.KeepCache(ctx, req)
	s.kept = res.GetKept()
	return err
}
