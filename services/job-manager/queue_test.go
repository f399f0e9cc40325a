package jobmanager_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

// fillTypes stores types with pending requests of that class.
func (c *colony) fillTypes(types, pending int, class string) {
	c.Helper()
	d := c.upload(job("j", ""))
	for _, sql := range []string{
		`INSERT INTO job_type (org_id, job_type) SELECT 'default', 'type' || to_char(g, 'FM0000') FROM generate_series(1, $1::int) g WHERE $2::int > 0 AND $3 <> '' AND $4 <> ''`,
		`INSERT INTO request (id, org_id, job_type, definition_id, definition_version, state, priority, age_at, queued, placement_class,
			params, description, idempotency_key, request_hash, created_by, created_at, updated_at, check_at)
		SELECT gen_random_uuid(), 'default', 'type' || to_char(g, 'FM0000'), $4::text::uuid, 1, 'PENDING', i % 3, now() + i * interval '1 millisecond', true, $3,
			'{}', '', '', '', 'u', now(), now(), now() + interval '1 hour' FROM generate_series(1, $1::int) g, generate_series(1, $2::int) i`,
	} {
		if _, err := c.pool.Exec(c.Context(), sql, types, pending, class, d.GetId()); err != nil {
			c.Fatal(err)
		}
	}
}

// unfill deletes what fillTypes stored, which is no sound colony.
func (c *colony) unfill() {
	c.Helper()
	for _, sql := range []string{`DELETE FROM request`, `DELETE FROM job_type WHERE job_type LIKE 'type%'`} {
		if _, err := c.pool.Exec(c.Context(), sql); err != nil {
			c.Error(err)
		}
	}
}

// pages reads the whole queue.
func (c *colony) pages(limit int32) (types map[string]*jobv1.QueuedType, pages int) {
	c.Helper()
	types = map[string]*jobv1.QueuedType{}
	for token := ""; ; {
		res, err := c.admission.ReadQueue(c.Context(), &jobv1.ReadQueueRequest{HeadLimit: limit, PageToken: token})
		if err != nil {
			c.Fatal(err)
		}
		if n := proto.Size(res); n > 16<<20 {
			c.Errorf("an answer has %d bytes", n)
		}
		heads := 0
		for _, q := range res.GetTypes() {
			types[q.GetJobType()] = q
			heads += len(q.GetHeads())
		}
		if heads > 22_000 {
			c.Errorf("an answer has %d heads", heads)
		}
		pages++
		if token = res.GetNextPageToken(); token == "" {
			return types, pages
		}
	}
}

// TestManyTypesShareAnAnswer: each has its heads, whatever is asked for, and each is admitted from.
func TestManyTypesShareAnAnswer(t *testing.T) {
	c := newColony(t)
	c.fillTypes(600, 100, "SHELL||1")
	defer c.unfill()
	c.lead()
	types, _ := c.pages(5000)
	if len(types) != 600 {
		t.Fatalf("%d types", len(types))
	}
	var ids []string
	for name, q := range types {
		if len(q.GetHeads()) < 30 || q.GetPending() <= int32(len(q.GetHeads())) {
			t.Fatalf("type %s has %d heads of %d", name, len(q.GetHeads()), q.GetPending())
		}
		for _, h := range q.GetHeads()[:2] {
			ids = append(ids, h.GetRequestId())
		}
	}
	res, err := c.admission.Admit(t.Context(), &jobv1.AdmitRequest{Epoch: c.epoch, LeaderId: "s1", RequestIds: ids})
	if err != nil || len(res.GetRequestIds()) != 1200 {
		t.Fatalf("%d of %d are admitted: %v", len(res.GetRequestIds()), len(ids), err)
	}
}

// TestTypesComeInPages: more types than an answer has are on the next pages, and classes of 4 KiB count.
func TestTypesComeInPages(t *testing.T) {
	c := newColony(t)
	c.fillTypes(2500, 8, fmt.Sprintf("SHELL|%04000d|1", 1))
	defer c.unfill()
	begin := time.Now()
	types, pages := c.pages(5000)
	t.Logf("%d pages after %s", pages, time.Since(begin))
	if len(types) != 2500 || pages != 2 {
		t.Fatalf("%d types on %d pages", len(types), pages)
	}
	for name, q := range types {
		if len(q.GetHeads()) == 0 {
			t.Errorf("type %s has no head", name)
		}
	}
}

// TestAQueueIsReadToItsEnd: what stands behind a place follows in order, part by part.
func TestAQueueIsReadToItsEnd(t *testing.T) {
	c := newColony(t)
	c.fillTypes(2, 300, "SHELL||1")
	defer c.unfill()
	place := &jobv1.QueuePlace{OrgId: "default", JobType: "type0001", Request: &jobv1.QueuedRequest{
		RequestId: uuid.Nil.String(), Priority: 100, AgeAt: timestamppb.New(time.Unix(0, 0)),
	}}
	seen := map[string]bool{}
	last := place.GetRequest()
	for range 10 {
		res, err := c.admission.ReadQueue(t.Context(), &jobv1.ReadQueueRequest{HeadLimit: 70, Behind: []*jobv1.QueuePlace{place}})
		if err != nil {
			t.Fatal(err)
		}
		if len(res.GetTypes()) == 0 {
			break
		}
		q := res.GetTypes()[0]
		for _, h := range q.GetHeads() {
			if h.GetPriority() > last.GetPriority() || h.GetPriority() == last.GetPriority() && h.GetAgeAt().AsTime().Before(last.GetAgeAt().AsTime()) {
				t.Fatalf("%v follows %v", h, last)
			}
			seen[h.GetRequestId()], last = true, h
		}
		if more := q.GetPending() > int32(len(q.GetHeads())); more != (len(seen) < 300) {
			t.Errorf("after %d: others behind them %v", len(seen), more)
		}
		place.Request = last
	}
	if len(seen) != 300 {
		t.Errorf("%d requests were seen", len(seen))
	}
}

// TestGatesThatStayAreNotWritten: a decision writes what is new or says something else, and deletes what opened.
func TestGatesThatStayAreNotWritten(t *testing.T) {
	c := newColony(t)
	c.lead()
	gate := func(name, reason string) *jobv1.ClosedGate {
		return &jobv1.ClosedGate{OrgId: "default", PlacementClass: name, Gate: jobv1.Gate_GATE_NO_ANT, Reason: reason, Holders: []string{"h"}}
	}
	admit := func(gates ...*jobv1.ClosedGate) map[string]string {
		t.Helper()
		if _, err := c.admission.Admit(t.Context(), &jobv1.AdmitRequest{Epoch: c.epoch, LeaderId: "s1", Gates: gates, GatesChanged: true}); err != nil {
			t.Fatal(err)
		}
		rows, err := c.pool.Query(t.Context(), `SELECT placement_class, xmin::text FROM gate`)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		written := map[string]string{}
		for rows.Next() {
			var class, by string
			if err := rows.Scan(&class, &by); err != nil {
				t.Fatal(err)
			}
			written[class] = by
		}
		return written
	}
	before := admit(gate("a", "x"), gate("b", "x"), gate("c", "x"))
	after := admit(gate("a", "x"), gate("b", "y"), gate("d", "x"))
	if len(after) != 3 || after["a"] != before["a"] || after["b"] == before["b"] || after["d"] == "" {
		t.Errorf("first %v, then %v", before, after)
	}
}
