package attempt

import (
	"archive/tar"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.opentelemetry.io/otel/metric/noop"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/formicary/formicary/libs/testkit"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	"github.com/formicary/formicary/services/ant/internal/executor"
	"github.com/formicary/formicary/services/ant/internal/localcopy"
	"github.com/formicary/formicary/services/ant/internal/spool"
)

// adopter goes on with tasks that have ended meanwhile and left a file.
type adopter struct{ clumsy }

func (adopter) Find(context.Context, map[string]string) []string { return nil }
func (adopter) List(context.Context) ([]executor.Running, error) { return nil, nil }
func (adopter) Remove(context.Context, string) error             { return nil }

func (adopter) Adopt(executor.Task, executor.Output) executor.Execution { return left{} }

type left struct{ clumsy }

func (left) Put(context.Context, string, io.Reader) error { return nil }

func (left) Get(_ context.Context, root string, keep func(string) bool, to io.Writer) error {
	w := tar.NewWriter(to)
	if name := root + "/a"; keep(name) {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o600, Size: 4}); err != nil {
			return err
		}
		if _, err := io.WriteString(w, "left"); err != nil {
			return err
		}
	}
	return w.Close()
}

// keeper is supervisor and the object store.
type keeper struct {
	antv1.AttemptServiceClient
	antv1.CacheServiceClient
	url      string
	found    *antv1.CachedFiles
	parts    map[string][]byte
	begun    []string // names of uploads
	complete []string
	kept     []*antv1.KeepCacheRequest
}

func (k *keeper) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.parts[r.URL.Path], _ = io.ReadAll(r.Body)
	w.Header().Set("ETag", "tag")
}

func (k *keeper) CreateLogUpload(_ context.Context, r *antv1.CreateLogUploadRequest, _ ...grpc.CallOption) (*antv1.CreateLogUploadResponse, error) {
	return &antv1.CreateLogUploadResponse{Url: k.url + "/log", Key: r.GetUid()}, nil
}

func (k *keeper) CreateArtifactUpload(_ context.Context, r *antv1.CreateArtifactUploadRequest, _ ...grpc.CallOption) (*antv1.CreateArtifactUploadResponse, error) {
	k.begun = append(k.begun, r.GetName())
	return &antv1.CreateArtifactUploadResponse{Upload: r.GetName(), PartBytes: 1 << 20}, nil
}

func (k *keeper) SignArtifactParts(_ context.Context, r *antv1.SignArtifactPartsRequest, _ ...grpc.CallOption) (*antv1.SignArtifactPartsResponse, error) {
	return &antv1.SignArtifactPartsResponse{Urls: []string{k.url + "/" + r.GetUpload()}}, nil
}

func (k *keeper) CompleteArtifactUpload(_ context.Context, r *antv1.CompleteArtifactUploadRequest, _ ...grpc.CallOption) (*antv1.CompleteArtifactUploadResponse, error) {
	k.complete = append(k.complete, r.GetUpload())
	return &antv1.CompleteArtifactUploadResponse{}, nil
}

func (k *keeper) FindCache(context.Context, *antv1.FindCacheRequest, ...grpc.CallOption) (*antv1.FindCacheResponse, error) {
	return &antv1.FindCacheResponse{Found: k.found, MostBytes: 1 << 20}, nil
}

func (k *keeper) CreateCacheUpload(_ context.Context, r *antv1.CreateCacheUploadRequest, _ ...grpc.CallOption) (*antv1.CreateCacheUploadResponse, error) {
	k.begun = append(k.begun, r.GetKey())
	return &antv1.CreateCacheUploadResponse{Upload: "cache", PartBytes: 1 << 20}, nil
}

func (k *keeper) KeepCache(_ context.Context, r *antv1.KeepCacheRequest, _ ...grpc.CallOption) (*antv1.KeepCacheResponse, error) {
	k.kept = append(k.kept, r)
	return &antv1.KeepCacheResponse{Kept: true}, nil
}

// What an earlier life of the ant began stores its artifacts and its cache as any other, unless its cache is kept by now.
func TestAdoptedKeepItsFiles(t *testing.T) {
	for name, tt := range map[string]struct {
		found   *antv1.CachedFiles
		outcome antv1.CacheUse_Outcome
		kept    int
	}{
		"nothing found": {nil, antv1.CacheUse_MISS, 1},
		"an older one":  {&antv1.CachedFiles{Key: "k-1", RunMillis: 1 << 40}, antv1.CacheUse_PARTIAL, 1},
		"kept by now":   {&antv1.CachedFiles{Key: "k-2"}, antv1.CacheUse_HIT, 0},
	} {
		t.Run(name, func(t *testing.T) {
			k := &keeper{found: tt.found, parts: map[string][]byte{}}
			server := httptest.NewServer(k)
			defer server.Close()
			defer server.Client().CloseIdleConnections()
			k.url = server.URL
			nc, js := testkit.NATS(t)
			journal, _, err := spool.Open(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = journal.Close() })
			copies, err := localcopy.Open(t.TempDir(), 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			m, err := New(Options{Ant: "a", LogDir: t.TempDir(), LogLimit: 1000, ResendAfter: time.Minute}, Deps{
				Executors: []executor.Executor{clumsy{}}, Spool: journal, Supervisor: k, Caches: k, Copies: copies, NATS: nc, JS: js, HTTP: server.Client(),
				Log: testkit.Logger(t), Meter: noop.Meter{},
			})
			if err != nil {
				t.Fatal(err)
			}
			testkit.Run(t, m.Run)
			m.Begin("session")
			m.SessionAccepted()
			m.Found(map[string]Found{"u": {By: adopter{}, Began: time.Now().Add(-time.Minute)}})
			m.accept(t.Context(), &antv1.Work{Uid: "u", Spec: &antv1.Spec{
				Method: "CLUMSY", Options: []byte(`{"artifacts": {"paths": ["out"]}, "cache": {"key": "k-2", "restore_keys": ["k-"], "paths": ["dep"]}}`),
			}})
			testkit.Eventually(t, 60*time.Second, "it has ended", func() bool { return len(m.Spooled()) == 1 && len(m.Running()) == 0 })
			due, err := journal.Due(time.Now().Add(time.Hour), 1)
			if err != nil {
				t.Fatal(err)
			}
			var r antv1.Result
			if err := proto.Unmarshal(due["u"], &r); err != nil {
				t.Fatal(err)
			}
			if r.GetOutcome() != antv1.Result_SUCCEEDED || len(r.GetArtifacts()) != 1 || r.GetCache().GetOutcome() != tt.outcome || (r.GetCache().GetStoredBytes() > 0) != (tt.kept == 1) {
				t.Errorf("%v", &r)
			}
			if len(k.kept) != tt.kept || len(k.complete) != 1+tt.kept {
				t.Fatalf("begun %v, complete %v, kept %v", k.begun, k.complete, k.kept)
			}
			if tt.kept == 0 {
				return
			}
			if got := k.kept[0]; got.GetKey() != "k-2" || got.GetRunMillis() < max(time.Minute.Milliseconds(), tt.found.GetRunMillis()) {
				t.Errorf("kept %v", got)
			}
			if len(k.parts["/cache"]) == 0 {
				t.Error("nothing is in it")
			}
		})
	}
}
