package ant_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/formicary/formicary/libs/archive"
	"github.com/formicary/formicary/libs/errs"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
)

const cacheID = "0198a1e0-0000-7000-8000-000000000001"

// caches is supervisor and the object store as far as caches go.
type caches struct {
	antv1.UnimplementedCacheServiceServer
	mu      sync.Mutex
	url     string
	object  []byte
	found   *antv1.CachedFiles
	most    int64
	reads   int
	asked   []*antv1.FindCacheRequest
	parts   map[string][]byte
	kept    []*antv1.KeepCacheRequest
	fail    map[string]error // by RPC
	another bool             // a faster task has stored it
	lost    int              // answers of KeepCache that do not arrive, though it is done
	dropped bool             // one has not arrived
}

func newCaches(t testing.TB) *caches {
	t.Helper()
	h := &caches{parts: map[string][]byte{}, fail: map[string]error{}, most: 1 << 30}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	h.url = server.URL
	return h
}

func (h *caches) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.Method == http.MethodPut {
		h.parts[r.URL.Path], _ = io.ReadAll(r.Body)
		w.Header().Set("ETag", "tag")
		return
	}
	h.reads++
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(h.object))
}

// holds makes an archive that is found under a key.
func (h *caches) holds(key string, object []byte) {
	sum := sha256.Sum256(object)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.object, h.found = object, &antv1.CachedFiles{Id: cacheID, Key: key, Bytes: int64(len(object)), Sha256: hex.EncodeToString(sum[:]), RunMillis: 1e9}
}

func (h *caches) FindCache(_ context.Context, r *antv1.FindCacheRequest) (*antv1.FindCacheResponse, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked = append(h.asked, r)
	return &antv1.FindCacheResponse{Found: h.found, MostBytes: h.most}, h.fail["find"]
}

func (h *caches) SignCacheRead(context.Context, *antv1.SignCacheReadRequest) (*antv1.SignCacheReadResponse, error) {
	return &antv1.SignCacheReadResponse{Url: h.url + "/object"}, h.fail["read"]
}

func (h *caches) CreateCacheUpload(context.Context, *antv1.CreateCacheUploadRequest) (*antv1.CreateCacheUploadResponse, error) {
	if h.another {
		return &antv1.CreateCacheUploadResponse{}, nil
	}
	return &antv1.CreateCacheUploadResponse{Upload: cacheID, PartBytes: 1 << 20}, h.fail["begin"]
}

func (h *caches) KeepCache(_ context.Context, r *antv1.KeepCacheRequest) (*antv1.KeepCacheResponse, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fail["keep"] == nil {
		h.kept = append(h.kept, r)
	}
	if h.lost--; h.lost >= 0 {
		h.dropped = true
		return nil, errs.Unavailable("AWAY", "try again")
	}
	return &antv1.KeepCacheResponse{Kept: true}, h.fail["keep"]
}

func (c *colony) SignArtifactParts(_ context.Context, r *antv1.SignArtifactPartsRequest) (*antv1.SignArtifactPartsResponse, error) {
	return &antv1.SignArtifactPartsResponse{Urls: []string{fmt.Sprint(c.caches.url, "/", r.GetUpload(), "/", r.GetParts()[0])}}, nil
}

func (c *colony) CompleteArtifactUpload(context.Context, *antv1.CompleteArtifactUploadRequest) (*antv1.CompleteArtifactUploadResponse, error) {
	c.caches.mu.Lock()
	defer c.caches.mu.Unlock()
	if c.caches.dropped {
		return nil, errs.NotFound("UPLOAD_NOT_FOUND", "it is a cache by now")
	}
	return &antv1.CompleteArtifactUploadResponse{}, c.caches.fail["complete"]
}

// cachedWork is a script with a cache that says what it finds and leaves something of its own.
func cachedWork(options string) *antv1.Work {
	w := script(`echo "::set-output name=had::$(cat dep/a || echo nothing)"`, "mkdir -p dep", "echo new > dep/a")
	w.Spec.Options = []byte(options)
	return w
}

// archived is an archive of files.
func archived(t testing.TB, content map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := archive.NewWriter(&b, archive.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range content {
		if err := w.Add(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o600, Size: int64(len(text))}, strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// forged is an archive that nobody who packs one would make.
func forged(t testing.TB, h *tar.Header) []byte {
	t.Helper()
	var raw bytes.Buffer
	w := tar.NewWriter(&raw)
	for _, h := range []*tar.Header{{Typeflag: tar.TypeReg, Name: "dep/a", Mode: 0o600}, h} { // something good before it
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	n := raw.Len() // one frame of zstd with one raw block
	frame := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x60, byte(n - 256), byte((n - 256) >> 8), byte(n<<3 | 1), byte(n >> 5), byte(n >> 13)}
	return append(frame, raw.Bytes()...)
}

const plainCache = `{"cache": {"key": "k", "paths": ["dep"]}}`

// Whatever fails of a cache, the task goes on without it and succeeds, and nothing of what is refused is unpacked.
func TestACacheFailsNoTask(t *testing.T) {
	c := newColony(t)
	conf := c.config()
	c.start(conf)
	h := c.caches
	unavailable := errs.Precondition("STALE_ATTEMPT", "not live")
	for name, tt := range map[string]struct {
		options string
		prepare func()
		want    string // in the log
		stores  bool
	}{
		"not asked":  {plainCache, func() { h.fail["find"] = unavailable }, "the cache is not restored", false},
		"not signed": {plainCache, func() { h.holds("k", archived(t, nil)); h.fail["read"] = unavailable }, "the cache is not restored", true},
		"lost":       {plainCache, func() { h.holds("k", archived(t, nil)); h.fail["read"] = errs.NotFound("CACHE_NOT_FOUND", "lost") }, "no cache is found", true},
		"damaged":    {plainCache, func() { h.holds("k", archived(t, map[string]string{"dep/a": "old"})); h.object[20] ^= 1 }, "the cache is not restored", true},
		"another one": {plainCache, func() {
			h.holds("k", archived(t, map[string]string{"dep/a": "old"}))
			h.found.Sha256 = strings.Repeat("0", 64)
		}, "the archive is damaged", true},
		"leads out":         {plainCache, func() { h.holds("k", forged(t, &tar.Header{Typeflag: tar.TypeReg, Name: "../../escape"})) }, "the archive is refused", true},
		"absolute":          {plainCache, func() { h.holds("k", forged(t, &tar.Header{Typeflag: tar.TypeReg, Name: "/tmp/escape"})) }, "the archive is refused", true},
		"a link out":        {plainCache, func() { h.holds("k", forged(t, &tar.Header{Typeflag: tar.TypeSymlink, Name: "l", Linkname: "/etc"})) }, "the archive is refused", true},
		"a device":          {plainCache, func() { h.holds("k", forged(t, &tar.Header{Typeflag: tar.TypeChar, Name: "d"})) }, "the archive is refused", true},
		"not begun":         {plainCache, func() { h.fail["begin"] = unavailable }, "the cache is not stored", false},
		"not complete":      {plainCache, func() { h.fail["complete"] = unavailable }, "the cache is not stored", false},
		"not kept":          {plainCache, func() { h.fail["keep"] = unavailable }, "the cache is not stored", false},
		"too large":         {plainCache, func() { h.most = 10 }, "larger than all caches", false},
		"stored by another": {plainCache, func() { h.another = true }, "no cache is found", false},
		"a secret key":      {`{"cache": {"key": "k-hidden", "paths": ["dep"]}}`, func() {}, "holds a secret", false},
		"no path":           {`{"cache": {"key": "k", "paths": ["nothing"]}}`, func() {}, "nothing is there that paths name", false},
		"an absolute path":  {`{"cache": {"key": "k", "paths": ["/root/.m2"]}}`, func() {}, "is not below the working directory", false},
		"no key":            {`{"cache": {"key_paths": ["none.*"], "paths": ["dep"]}}`, func() {}, "no file is there that key_paths name", false},
	} {
		t.Run(name, func(t *testing.T) {
			h.mu.Lock()
			h.fail, h.found, h.most, h.another, h.kept = map[string]error{}, nil, 1<<30, false, nil
			h.mu.Unlock()
			tt.prepare()
			w := cachedWork(tt.options)
			w.Masks = []string{"hidden"}
			uid := c.dispatch(w)
			r := c.result(uid)
			if r.GetOutcome() != antv1.Result_SUCCEEDED || r.GetOutputs()["had"] != "nothing" {
				t.Errorf("%s with %q", r.GetOutcome(), r.GetOutputs())
			}
			c.do(func() {
				if log := c.logs[uid]; !strings.Contains(log, tt.want) || strings.Contains(log, h.url) {
					t.Errorf("log %s", log)
				}
			})
			if (r.GetCache().GetStoredBytes() > 0) != tt.stores || (len(h.kept) > 0) != tt.stores {
				t.Errorf("cache %v, kept %v", r.GetCache(), h.kept)
			}
		})
	}
}

// An answer that does not arrive makes no cache that is kept one that is not.
func TestACacheIsKeptOnce(t *testing.T) {
	c := newColony(t)
	c.start(c.config())
	c.caches.lost = 1
	if r := c.result(c.dispatch(cachedWork(plainCache))); r.GetCache().GetStoredBytes() == 0 || len(c.caches.kept) != 2 {
		t.Errorf("%v, asked %d times", r.GetCache(), len(c.caches.kept))
	}
}

// What an ant has moved it has a copy of: found again it is not transferred, up to the bytes that it may keep.
func TestCachesAreCopied(t *testing.T) {
	c := newColony(t)
	conf := c.config()
	conf.CacheBytes = 1 << 20
	life := c.start(conf)
	h := c.caches
	h.holds("k", archived(t, map[string]string{"dep/a": "old"}))
	expect := func(local bool, reads int, had string) *antv1.CacheUse {
		t.Helper()
		r := c.result(c.dispatch(cachedWork(plainCache)))
		h.mu.Lock()
		defer h.mu.Unlock()
		if u := r.GetCache(); r.GetOutputs()["had"] != had || u.GetLocal() != local || h.reads != reads || u.GetOutcome() != antv1.CacheUse_HIT || u.GetSavedMillis() == 0 || len(h.kept) > 0 {
			t.Errorf("%q, %v, %d reads", r.GetOutputs(), u, h.reads)
		}
		return r.GetCache()
	}
	expect(false, 1, "old")
	expect(true, 1, "old")
	c.settled()
	life.end()
	if err := life.wait(t); err != nil {
		t.Fatal(err)
	}
	c.start(conf)
	expect(true, 1, "old")
	h.holds("k", archived(t, map[string]string{"dep/a": "other"})) // it was deleted and stored anew: another digest
	expect(false, 2, "other")
}

// What is stored is what a task left, under its key and for its time, and the ant has a copy of it.
func TestCachesAreStored(t *testing.T) {
	c := newColony(t)
	c.start(c.config())
	h := c.caches
	options := `{"cache": {"key": "k", "key_paths": ["*.lock"], "restore_keys": ["k-", "j"], "paths": ["dep"], "expires_after": 3600000000000}}`
	store := func(content string) string {
		t.Helper()
		h.kept = nil
		w := cachedWork(options)
		w.Spec.Script = append([]string{"printf '" + content + "' > a.lock"}, w.Spec.Script...)
		if r := c.result(c.dispatch(w)); r.GetOutcome() != antv1.Result_SUCCEEDED || r.GetCache().GetOutcome() != antv1.CacheUse_MISS || len(h.kept) != 1 {
			t.Fatalf("%v, kept %v", r, h.kept)
		}
		if k := h.kept[0]; k.GetExpiresAfter().AsDuration() != time.Hour || k.GetRawBytes() != 4 || k.GetUpload() != cacheID {
			t.Errorf("kept %v", k)
		}
		return h.kept[0].GetKey()
	}
	a, b, again := store("a"), store("b"), store("a")
	if !strings.HasPrefix(a, "k-") || len(a) != 34 || a == b || a != again {
		t.Errorf("keys %s, %s, %s", a, b, again)
	}
	if q := h.asked[0]; q.GetKey() != "" || strings.Join(q.GetRestoreKeys(), " ") != "k- j" {
		t.Errorf("asked for %v", q)
	}
	raw := h.parts["/"+cacheID+"/1"]
	h.holds(a, raw)
	r := c.result(c.dispatch(cachedWork(`{"cache": {"key": "x", "restore_keys": ["k-"], "paths": ["dep"]}}`)))
	if u := r.GetCache(); u.GetOutcome() != antv1.CacheUse_PARTIAL || !u.GetLocal() || u.GetStoredBytes() == 0 || r.GetOutputs()["had"] != "new" {
		t.Errorf("%v, %q", u, r.GetOutputs())
	}
}

// A task that is done is not timed out by the storing of its cache, nor stopped in it; one that failed stores nothing.
func TestTheOutcomeIsKnownBeforeTheCacheIsStored(t *testing.T) {
	c := newColony(t)
	c.start(c.config())
	h := c.caches
	w := cachedWork(plainCache)
	w.Spec.Script = []string{"exit 3"}
	if r := c.result(c.dispatch(w)); r.GetExitCode() != 3 || len(h.kept) != 0 || r.GetCache().GetOutcome() != antv1.CacheUse_MISS {
		t.Errorf("%v, kept %v", r, h.kept)
	}
	h.fail["begin"] = errs.Unavailable("AWAY", "try again") // for longer than the task may take
	w = cachedWork(plainCache)
	w.Timeout, w.Grace = durationpb.New(time.Second), durationpb.New(100*time.Millisecond)
	if r := c.result(c.dispatch(w)); r.GetOutcome() != antv1.Result_SUCCEEDED {
		t.Errorf("%v", r)
	}
}
