package forward

import (
	"testing"

	"google.golang.org/protobuf/proto"

	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

func TestFramesSayWhetherTheyCarryAKey(t *testing.T) {
	submit := jobv1.File_formicary_job_v1_request_proto.Services().ByName("JobRequestService").Methods().ByName("SubmitJob")
	for name, c := range map[string]struct {
		msg  *jobv1.SubmitJobRequest
		want bool
	}{
		"none":  {&jobv1.SubmitJobRequest{JobType: "a", Priority: proto.Int32(3)}, false},
		"a key": {&jobv1.SubmitJobRequest{JobType: "a", IdempotencyKey: "k"}, true},
	} {
		data, err := proto.Marshal(c.msg)
		if err != nil {
			t.Fatal(err)
		}
		if got := (&frame{data: data, key: keyOf(submit)}).IdempotencyKey(); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
		if (&frame{data: data}).IdempotencyKey() {
			t.Errorf("%s: a message without such a field has a key", name)
		}
	}
	if (&frame{data: []byte{0xff}, key: keyOf(submit)}).IdempotencyKey() {
		t.Error("nonsense has a key")
	}
}
