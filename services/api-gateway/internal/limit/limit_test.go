package limit

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func small() Config {
	return Config{Address: Rate{1, 3}, Credential: Rate{1, 3}, Org: Rate{10, 5}, Streams: 2, Buckets: 10}
}

// drain calls until it is refused and returns how often it was not.
func drain(t *testing.T, call func() error) int {
	t.Helper()
	for n := range 1000 {
		err := call()
		if err == nil {
			continue
		}
		var e *errs.Error
		if !errors.As(err, &e) || e.Code != errs.CodeExhausted || e.Reason != "RATE_LIMITED" || e.RetryAfter <= 0 {
			t.Fatalf("refused by %#v", err)
		}
		return n
	}
	return 1000
}

// TestQuotasOfOrganisations: what an organisation may call counts over its credentials, is raised and taken away while calls
// come, and keeps what was taken when it is set again.
func TestQuotasOfOrganisations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{Buckets: 10})
		by := func(credential, org string) error { return l.By(credential, org) }
		count := func(org string) (n int) {
			for ; n < 100; n++ {
				if err := by(fmt.Sprint("c", n), org); err != nil {
					var e *errs.Error
					if !errors.As(err, &e) || e.Code != errs.CodeExhausted || e.Reason != "QUOTA_EXCEEDED" || e.RetryAfter <= 0 {
						t.Fatalf("refused by %#v", err)
					}
					return n
				}
			}
			return n
		}
		for _, c := range []struct {
			set  map[string]int64
			wait time.Duration
			want int
		}{
			{nil, 0, 100},
			{map[string]int64{"o": 5}, 0, 10},
			{map[string]int64{"o": 5}, 0, 0},
			{map[string]int64{"o": 5}, time.Second, 5},
			{map[string]int64{"o": 10}, time.Second, 10},
			{map[string]int64{"other": 1}, 0, 100},
		} {
			l.Bound(c.set)
			time.Sleep(c.wait)
			if got := count("o"); got != c.want {
				t.Errorf("%v: %d calls, want %d", c.set, got, c.want)
			}
		}
	})
}

func TestEachHasABucketOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(small())
		from := func(a string) func() error { return func() error { return l.From(a) } }
		for _, c := range []struct {
			address string
			want    int
		}{
			{"192.0.2.1", 3},
			{"192.0.2.1", 0},
			{"::ffff:192.0.2.1", 0},
			{"192.0.2.2", 3},
			{"2001:db8:0:1::1", 3},
			{"2001:db8:0:1:ffff::9", 0},
			{"2001:db8:0:2::1", 3},
			{"127.0.0.1", 1000},
			{"::1", 1000},
			{"bufconn", 1000},
			{"", 1000},
		} {
			if got := drain(t, from(c.address)); got != c.want {
				t.Errorf("%q: %d calls, want %d", c.address, got, c.want)
			}
		}
		by := func(credential, org string) func() error { return func() error { return l.By(credential, org) } }
		for _, c := range []struct {
			credential, org string
			want            int
		}{{"a", "o", 3}, {"a", "o", 0}, {"a", "p", 0}, {"b", "o", 2}, {"c", "p", 3}, {"", "o", 1000}} {
			if got := drain(t, by(c.credential, c.org)); got != c.want {
				t.Errorf("%s in %s: %d calls, want %d", c.credential, c.org, got, c.want)
			}
		}
	})
}

// TestRetryAfterIsTrue waits for what a refusal says.
func TestRetryAfterIsTrue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(small())
		drain(t, func() error { return l.By("a", "o") })
		var e *errs.Error
		if !errors.As(l.By("a", "o"), &e) || e.RetryAfter > time.Second {
			t.Fatalf("%#v", e)
		}
		time.Sleep(e.RetryAfter)
		if err := l.By("a", "o"); err != nil {
			t.Error(err)
		}
		if err := l.By("a", "o"); err == nil {
			t.Error("two calls for one token")
		}
	})
}

// TestBucketsAreBounded floods from ever new addresses.
func TestBucketsAreBounded(t *testing.T) {
	l := New(small())
	for i := range 10_000 {
		_ = l.From(fmt.Sprintf("198.51.%d.%d", i>>8&255, i&255))
		_ = l.By(fmt.Sprint("credential", i), fmt.Sprint("org", i))
	}
	for name, b := range map[string]*buckets{"address": l.address, "credential": l.credential, "org": l.org} {
		if n := b.kept.Len(); n != 10 {
			t.Errorf("%d buckets of %s", n, name)
		}
	}
}

func TestStreams(t *testing.T) {
	l := New(small())
	var ends []func()
	for range 2 {
		end, err := l.Open("a", "o", "u")
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, end)
	}
	if _, err := l.Open("another token", "o", "u"); errs.Reason(err) != "TOO_MANY_STREAMS" {
		t.Errorf("the third: %v", err)
	}
	for _, other := range [][3]string{{"a", "o", "v"}, {"a", "p", "u"}, {"", "o", "u"}} {
		end, err := l.Open(other[0], other[1], other[2])
		if err != nil {
			t.Errorf("%v: %v", other, err)
			continue
		}
		end()
	}
	ends[0]()
	ends[0]() // counts once
	if end, err := l.Open("a", "o", "u"); err != nil {
		t.Error(err)
	} else {
		end()
	}
	ends[1]()
	if len(l.open) != 0 {
		t.Errorf("left: %v", l.open)
	}
}

func TestValidate(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	none := New(Config{Buckets: 1})
	if n := drain(t, func() error { return none.By("a", "o") }); n != 1000 {
		t.Errorf("without rates %d calls are let in", n)
	}
	for _, c := range []Config{{}, {Buckets: 1, Org: Rate{-1, 1}}, {Buckets: 1, Org: Rate{1, 0}}, {Buckets: 1, Streams: -1}} {
		if c.Validate() == nil {
			t.Errorf("%+v is valid", c)
		}
	}
}

func TestRateAsText(t *testing.T) {
	for text, want := range map[string]Rate{"0": {}, "200/1000": {200, 1000}, "0.5/1": {0.5, 1}} {
		var got Rate
		if err := got.Set(text); err != nil || got != want || got.String() != text {
			t.Errorf("%s: %+v %s, %v", text, got, got.String(), err)
		}
	}
	for _, text := range []string{"", "x", "1", "1/", "/1", "1/0", "-1/1", "0/1", "NaN/1", "Inf/1", "1/1/1"} {
		if err := new(Rate).Set(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}
