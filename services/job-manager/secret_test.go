package jobmanager_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/passport/passporttest"
	"github.com/formicary/formicary/libs/testkit"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

const canary = "canary-3f9a1c"

// as calls as a user of an organisation.
func (c *colony) as(org, user string, roles ...string) context.Context {
	return access.With(c.Context(), passporttest.Person(org, user, roles...))
}

func (c *colony) setSecret(ctx context.Context, scope, name, value string) *jobv1.Secret {
	c.Helper()
	res, err := c.secrets.SetSecret(ctx, &jobv1.SetSecretRequest{Scope: scope, Name: name, Value: value})
	if err != nil {
		c.Fatal(err)
	}
	return res.GetSecret()
}

func (c *colony) setConfig(ctx context.Context, scope, name, kind, value string) *jobv1.Config {
	c.Helper()
	res, err := c.configs.SetConfig(ctx, &jobv1.SetConfigRequest{Scope: scope, Name: name, Type: kind, Value: value})
	if err != nil {
		c.Fatal(err)
	}
	return res.GetConfig()
}

func (c *colony) reveal(ctx context.Context, scope, name string, version int32) string {
	c.Helper()
	res, err := c.secrets.RevealSecret(ctx, &jobv1.RevealSecretRequest{Scope: scope, Name: name, Version: version})
	if err != nil {
		c.Fatal(err)
	}
	return res.GetValue()
}

// resolve returns the values, or the reasons why there are none, in the order of the names.
func (c *colony) resolve(q *jobv1.SecretQuery) (got []string) {
	c.Helper()
	res, err := c.secrets.ResolveSecrets(c.Context(), &jobv1.ResolveSecretsRequest{Queries: []*jobv1.SecretQuery{{OrgId: "else", JobType: "x", Names: []string{"NONE"}}, q}})
	if err != nil {
		c.Fatal(err)
	}
	if first := res.GetAnswers()[0]; len(first.GetFaults()) != 1 || len(first.GetValues()) != 0 {
		c.Errorf("%v", first)
	}
	byName := map[string]string{}
	for _, v := range res.GetAnswers()[1].GetValues() {
		byName[v.GetName()] = v.GetValue()
	}
	for _, f := range res.GetAnswers()[1].GetFaults() {
		byName[f.GetName()] = f.GetReason()
	}
	for _, name := range q.GetNames() {
		got = append(got, byName[name])
	}
	return got
}

// leaks says how many rows of the schema hold a text, as it is or in hex, as bytes are shown.
func (c *colony) leaks(text string) (found []string) {
	c.Helper()
	rows, err := c.pool.Query(c.Context(), `SELECT table_name::text FROM information_schema.tables WHERE table_schema = current_schema() AND table_type = 'BASE TABLE'`)
	if err != nil {
		c.Fatal(err)
	}
	var tables []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			c.Fatal(err)
		}
		tables = append(tables, name)
	}
	for _, table := range tables {
		n := c.count(fmt.Sprintf(`SELECT count(*) FROM %q t WHERE t::text LIKE '%%' || $1 || '%%' OR t::text LIKE '%%' || encode($1::bytea, 'hex') || '%%'
			OR t::text LIKE '%%' || rtrim(encode($1::bytea, 'base64'), '=') || '%%'`, table), text)
		if n > 0 {
			found = append(found, fmt.Sprintf("%s: %d rows", table, n))
		}
	}
	if len(tables) < 10 {
		c.Fatalf("only %v were searched", tables)
	}
	return found
}

func TestSecretsAreKeptEncryptedAndShownToNobody(t *testing.T) {
	c := newColony(t)
	ctx := c.as("acme", "ann")
	s := c.setSecret(ctx, "orgs/acme", "TOKEN", canary)
	if s.GetVersion() != 1 || s.GetEtag() == "" || s.GetScope() != "orgs/acme" || s.GetUpdatedBy() != "ann" {
		t.Errorf("%v", s)
	}
	list, err := c.secrets.ListSecrets(ctx, &jobv1.ListSecretsRequest{Scope: "orgs/acme"})
	if err != nil || len(list.GetSecrets()) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	got, err := c.secrets.GetSecret(ctx, &jobv1.GetSecretRequest{Scope: "orgs/acme", Name: "TOKEN"})
	if err != nil || len(got.GetVersions()) != 1 || got.GetVersions()[0].GetKeyId() != c.ring.Primary() {
		t.Fatalf("%v, %v", got, err)
	}
	configs, err := c.configs.ListConfigs(ctx, &jobv1.ListConfigsRequest{Scope: "orgs/acme"})
	if err != nil || len(configs.GetConfigs()) != 1 || configs.GetConfigs()[0].GetValue() != "****" || !configs.GetConfigs()[0].GetSecret() {
		t.Fatalf("%v, %v", configs, err)
	}
	for _, m := range []fmt.Stringer{s, list, got, configs} {
		if strings.Contains(m.String(), canary) {
			t.Errorf("%T shows the value", m)
		}
	}
	if found := c.leaks(canary); found != nil {
		t.Errorf("the database holds the value: %v", found)
	}
	if got := c.reveal(ctx, "orgs/acme", "TOKEN", 0); got != canary {
		t.Error(got)
	}
	_, err = c.configs.GetConfig(ctx, &jobv1.GetConfigRequest{Scope: "orgs/acme", Name: "TOKEN"})
	wantReason(t, err, "CONFIG_IS_SECRET")
	_, err = c.configs.SetConfig(ctx, &jobv1.SetConfigRequest{Scope: "orgs/acme", Name: "TOKEN", Value: "clear"})
	wantReason(t, err, "CONFIG_IS_SECRET")
	_, err = c.configs.SetConfig(ctx, &jobv1.SetConfigRequest{Scope: "orgs/acme", Name: "OTHER", Value: "clear", Secret: true})
	wantReason(t, err, "CONFIG_IS_SECRET")
	_, err = c.configs.DeleteConfig(ctx, &jobv1.DeleteConfigRequest{Scope: "orgs/acme", Name: "TOKEN"})
	wantReason(t, err, "CONFIG_IS_SECRET")
}

func TestSecretsHaveVersions(t *testing.T) {
	c := newColony(t)
	ctx := c.as("acme", "ann")
	first := c.setSecret(ctx, "users", "PASS", "value-0")
	for i := 1; i < 13; i++ {
		c.setSecret(ctx, "users/ann", "PASS", fmt.Sprintf("value-%d", i))
	}
	res, err := c.secrets.GetSecret(ctx, &jobv1.GetSecretRequest{Scope: "users", Name: "PASS"})
	if err != nil || len(res.GetVersions()) != 10 || res.GetVersions()[0].GetVersion() != 13 || res.GetVersions()[9].GetVersion() != 4 {
		t.Fatalf("%v, %v", res, err)
	}
	if got := c.reveal(ctx, "users", "PASS", 4) + c.reveal(ctx, "users", "PASS", 0); got != "value-3value-12" {
		t.Error(got)
	}
	_, err = c.secrets.RevealSecret(ctx, &jobv1.RevealSecretRequest{Scope: "users", Name: "PASS", Version: 3})
	wantReason(t, err, "SECRET_NOT_FOUND")

	// What comes back masked keeps the value; the description changes.
	kept, err := c.secrets.SetSecret(ctx, &jobv1.SetSecretRequest{Scope: "users", Name: "PASS", Value: "****", Description: "d", Etag: res.GetSecret().GetEtag()})
	if err != nil || kept.GetSecret().GetVersion() != 13 || kept.GetSecret().GetDescription() != "d" || kept.GetSecret().GetEtag() == res.GetSecret().GetEtag() {
		t.Fatalf("%v, %v", kept, err)
	}
	if got := c.reveal(ctx, "users", "PASS", 0); got != "value-12" {
		t.Error(got)
	}
	_, err = c.secrets.SetSecret(ctx, &jobv1.SetSecretRequest{Scope: "users", Name: "PASS", Value: canary, Etag: first.GetEtag()})
	wantReason(t, err, "SECRET_CHANGED")
	_, err = c.secrets.DeleteSecret(ctx, &jobv1.DeleteSecretRequest{Scope: "users", Name: "PASS", Etag: first.GetEtag()})
	wantReason(t, err, "SECRET_CHANGED")
	_, err = c.secrets.SetSecret(ctx, &jobv1.SetSecretRequest{Scope: "users", Name: "FRESH", Value: "****"})
	wantReason(t, err, "SECRET_NOT_FOUND")
	if _, err := c.secrets.DeleteSecret(ctx, &jobv1.DeleteSecretRequest{Scope: "users", Name: "PASS"}); err != nil {
		t.Fatal(err)
	}
	if n := c.count("SELECT count(*) FROM sealed"); n != 0 {
		t.Errorf("%d versions are left", n)
	}
	// Stored again it begins anew, and what was read of the old one does not fit it.
	again := c.setSecret(ctx, "users", "PASS", canary)
	_, err = c.secrets.DeleteSecret(ctx, &jobv1.DeleteSecretRequest{Scope: "users", Name: "PASS", Etag: first.GetEtag()})
	if wantReason(t, err, "SECRET_CHANGED"); again.GetVersion() != 1 {
		t.Errorf("%v", again)
	}
}

func TestBadSecretsAreRefusedAndNotQuoted(t *testing.T) {
	c := newColony(t)
	ctx := c.as("acme", "ann")
	for _, bad := range []struct{ name, value, reason string }{
		{"A", "cana", "SECRET_TOO_SHORT"},
		{"A", canary + strings.Repeat("x", 64<<10), "SECRET_TOO_LONG"},
		{"1A", canary, "SECRET_INVALID"},
		{"params.A", canary, "SECRET_INVALID"},
		{"JobID", canary, "SECRET_INVALID"},
		{"A", canary + "\x00", "REQUEST_INVALID"},
	} {
		_, err := c.secrets.SetSecret(ctx, &jobv1.SetSecretRequest{Scope: "orgs/acme", Name: bad.name, Value: bad.value})
		wantReason(t, err, bad.reason)
		var typed *errs.Error
		if strings.Contains(fmt.Sprintf("%v", err), "canary") || asTyped(err, &typed) && strings.Contains(fmt.Sprint(typed.Violations), "canary") {
			t.Errorf("the error holds the value: %v", err)
		}
	}
}

func TestScopesOfOthersDoNotExist(t *testing.T) {
	c := newColony(t)
	for scope := range map[string]bool{"orgs/acme": true, "users": true, "jobs/build": true} {
		c.setSecret(c.as("acme", "ann"), scope, "TOKEN", canary)
		c.setConfig(c.as("acme", "ann"), scope, "CONF", "", "v")
	}
	c.setSecret(c.as("acme", "root", "platform-admin"), "system", "TOKEN", canary)
	for _, of := range []struct {
		org, user, scope, list, write, reveal string
	}{
		{"evil", "ann", "orgs/acme", "SCOPE_NOT_FOUND", "SCOPE_NOT_FOUND", "SCOPE_NOT_FOUND"},
		{"evil", "ann", "orgs/evil", "", "", "SECRET_NOT_FOUND"},
		{"evil", "ann", "users", "", "", "SECRET_NOT_FOUND"},
		{"evil", "ann", "jobs/build", "", "", "SECRET_NOT_FOUND"},
		{"acme", "bob", "users/ann", "SCOPE_NOT_FOUND", "SCOPE_NOT_FOUND", "SCOPE_NOT_FOUND"},
		{"acme", "bob", "users", "", "", "SECRET_NOT_FOUND"},
		{"acme", "bob", "system", "", "PERMISSION_MISSING", "PERMISSION_MISSING"},
		{"acme", "bob", "", "", "PERMISSION_MISSING", "PERMISSION_MISSING"},
		{"acme", "bob", "system/x", "SCOPE_NOT_FOUND", "SCOPE_NOT_FOUND", "SCOPE_NOT_FOUND"},
		{"acme", "bob", "jobs/", "SCOPE_NOT_FOUND", "SCOPE_NOT_FOUND", "SCOPE_NOT_FOUND"},
		{"acme", "bob", "orgs", "", "", ""},
		{"acme", "bob", "request/1", "SCOPE_NOT_FOUND", "SCOPE_NOT_FOUND", "SCOPE_NOT_FOUND"},
	} {
		ctx := c.as(of.org, of.user, "org-admin")
		name := fmt.Sprintf("%s as %s of %s", of.scope, of.user, of.org)
		check := func(what string, err error, want string) {
			t.Helper()
			if errs.Reason(err) != want || (err == nil) != (want == "") {
				t.Errorf("%s %s: %v, want %q", what, name, err, want)
			}
		}
		list, err := c.secrets.ListSecrets(ctx, &jobv1.ListSecretsRequest{Scope: of.scope})
		check("list", err, of.list)
		if of.org == "evil" && len(list.GetSecrets()) > 0 {
			t.Errorf("%s: %v", name, list)
		}
		_, err = c.configs.ListConfigs(ctx, &jobv1.ListConfigsRequest{Scope: of.scope})
		check("list configs", err, of.list)
		_, err = c.secrets.RevealSecret(ctx, &jobv1.RevealSecretRequest{Scope: of.scope, Name: "TOKEN"})
		check("reveal", err, of.reveal)
		_, err = c.secrets.SetSecret(ctx, &jobv1.SetSecretRequest{Scope: of.scope, Name: "MINE", Value: canary})
		check("set", err, of.write)
		_, err = c.configs.SetConfig(ctx, &jobv1.SetConfigRequest{Scope: of.scope, Name: "MINE2", Value: "v"})
		check("set config", err, of.write)
		if of.write != "" {
			_, err = c.secrets.DeleteSecret(ctx, &jobv1.DeleteSecretRequest{Scope: of.scope, Name: "TOKEN"})
			check("delete", err, of.write)
		}
	}
}

// TestMovedSecretsDoNotOpen: who can write to the database cannot make a secret his own.
func TestMovedSecretsDoNotOpen(t *testing.T) {
	c := newColony(t)
	c.setSecret(c.as("acme", "ann"), "orgs/acme", "TOKEN", canary)
	c.setSecret(c.as("evil", "eve"), "orgs/evil", "TOKEN", "another-value")
	for name, sql := range map[string]string{
		"value and key of another organisation": `UPDATE sealed e SET value = a.value, data_key = a.data_key FROM sealed a WHERE e.org_id = 'evil' AND a.org_id = 'acme'`,
		"its value":                             `UPDATE sealed e SET value = a.value FROM sealed a WHERE e.org_id = 'evil' AND a.org_id = 'acme'`,
		"a cut text":                            `UPDATE sealed SET value = substr(value, 1, 5) WHERE org_id = 'evil'`,
		"no text":                               `UPDATE sealed SET value = '', data_key = '' WHERE org_id = 'evil'`,
		"a lost key":                            `UPDATE sealed SET key_id = 'lost' WHERE org_id = 'evil'`,
	} {
		if _, err := c.pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
		_, err := c.secrets.RevealSecret(c.as("evil", "eve"), &jobv1.RevealSecretRequest{Scope: "orgs/evil", Name: "TOKEN"})
		wantReason(t, err, "SECRET_UNREADABLE")
		if got := c.resolve(&jobv1.SecretQuery{OrgId: "evil", JobType: "j", Names: []string{"TOKEN"}}); got[0] != "SECRET_UNREADABLE" {
			t.Errorf("%s: %v", name, got)
		}
	}
	ring, err := c.secrets.GetKeyRing(c.as("evil", "root", "platform-admin"), &jobv1.GetKeyRingRequest{})
	if err != nil || len(ring.GetKeys()) != 2 || !ring.GetKeys()[1].GetMissing() || ring.GetRewrapsLeft() != 1 {
		t.Errorf("%v, %v", ring, err)
	}
	if _, err := c.pool.Exec(t.Context(), `DELETE FROM sealed WHERE org_id = 'evil'`); err != nil { // so that the audit finds nothing
		t.Fatal(err)
	}
}

func TestResolveFindsTheInnermostSecret(t *testing.T) {
	c := newColony(t)
	names := []string{"A", "B", "C", "D", "PLAIN", "NONE", "params.P"}
	ann, root := c.as("acme", "ann"), c.as("acme", "root", "platform-admin")
	for scope, held := range map[string][]string{"system": {"A", "B", "C", "D"}, "orgs/acme": {"B", "C", "D"}, "users": {"C", "D"}, "jobs/build": {"D"}} {
		for _, name := range held {
			ctx := ann
			if scope == "system" {
				ctx = root
			}
			c.setSecret(ctx, scope, name, "value of "+scope)
		}
	}
	c.setConfig(ann, "orgs/acme", "PLAIN", "", "v")
	c.setSecret(c.as("evil", "ann"), "orgs/evil", "NONE", canary)
	c.setSecret(c.as("acme", "bob"), "users", "NONE", canary)
	c.setSecret(ann, "jobs/other", "NONE", canary)
	got := c.resolve(&jobv1.SecretQuery{OrgId: "acme", JobType: "build", User: "ann", Names: names})
	want := []string{"value of system", "value of orgs/acme", "value of users", "value of jobs/build", "SECRET_NOT_FOUND", "SECRET_NOT_FOUND", "SECRET_NOT_FOUND"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestWithoutARingNoSecretIsStored(t *testing.T) {
	c := newColony(t)
	c.setSecret(c.as("acme", "ann"), "orgs/acme", "TOKEN", canary)
	ring := c.ring
	c.ring = nil
	c.start("bare")
	c.ring = ring
	bare := jobv1.NewSecretServiceClient(c.dial("bare"))
	ctx := c.as("acme", "root", "platform-admin")
	_, err := bare.SetSecret(ctx, &jobv1.SetSecretRequest{Scope: "orgs/acme", Name: "B", Value: canary})
	wantReason(t, err, "KEYRING_MISSING")
	_, err = bare.RevealSecret(ctx, &jobv1.RevealSecretRequest{Scope: "orgs/acme", Name: "TOKEN"})
	wantReason(t, err, "KEYRING_MISSING")
	_, err = bare.GetKeyRing(ctx, &jobv1.GetKeyRingRequest{})
	wantReason(t, err, "KEYRING_MISSING")
	_, err = bare.RotateKeyRing(ctx, &jobv1.RotateKeyRingRequest{})
	wantReason(t, err, "KEYRING_MISSING")
	res, err := bare.ResolveSecrets(ctx, &jobv1.ResolveSecretsRequest{Queries: []*jobv1.SecretQuery{{OrgId: "acme", JobType: "j", Names: []string{"TOKEN"}}}})
	if err != nil || res.GetAnswers()[0].GetFaults()[0].GetReason() != "KEYRING_MISSING" {
		t.Errorf("%v, %v", res, err)
	}
}

// TestRotationLosesNothing: writers, readers and two rotations at once on two replicas.
func TestRotationLosesNothing(t *testing.T) {
	c := newColony(t)
	c.start("second")
	second := jobv1.NewSecretServiceClient(c.dial("second"))
	ctx := c.as("acme", "ann")
	const names, rounds = 12, 8
	var wg sync.WaitGroup
	var writing atomic.Bool
	writing.Store(true)
	for n := range names {
		name := fmt.Sprintf("S%d", n)
		c.setSecret(ctx, "orgs/acme", name, name+" value 0")
		wg.Go(func() {
			for r := 1; r <= rounds; r++ {
				client := []jobv1.SecretServiceClient{c.secrets, second}[(n+r)%2]
				if _, err := client.SetSecret(ctx, &jobv1.SetSecretRequest{Scope: "orgs/acme", Name: name, Value: fmt.Sprintf("%s value %d", name, r)}); err != nil {
					t.Errorf("write %s: %v", name, err)
				}
			}
		})
	}
	var readers sync.WaitGroup
	readers.Go(func() {
		for writing.Load() {
			for n := range names {
				name := fmt.Sprintf("S%d", n)
				if got := c.resolve(&jobv1.SecretQuery{OrgId: "acme", JobType: "j", Names: []string{name}}); !strings.HasPrefix(got[0], name+" value ") {
					t.Errorf("read %s: %v", name, got)
				}
			}
		}
	})
	for _, client := range []jobv1.SecretServiceClient{second, c.secrets} {
		if _, err := client.RotateKeyRing(c.as("acme", "root", "platform-admin"), &jobv1.RotateKeyRingRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	writing.Store(false)
	readers.Wait()
	testkit.Eventually(t, 30*time.Second, "everything is under the newest key", func() bool {
		res, err := c.secrets.GetKeyRing(c.as("acme", "root", "platform-admin"), &jobv1.GetKeyRingRequest{})
		return err == nil && res.GetRewrapsLeft() == 0 && len(res.GetKeys()) == 3
	})
	for n := range names {
		name := fmt.Sprintf("S%d", n)
		for v := int32(1); v <= rounds+1; v++ {
			if got, want := c.reveal(ctx, "orgs/acme", name, v), fmt.Sprintf("%s value %d", name, v-1); got != want {
				t.Errorf("version %d: %q", v, got)
			}
		}
	}
	if n := c.count("SELECT count(*) FROM sealed"); n != names*(rounds+1) {
		t.Errorf("%d versions", n)
	}
}

func TestConfigs(t *testing.T) {
	c := newColony(t)
	ctx := c.as("acme", "ann")
	for i := range 5 {
		c.setConfig(ctx, "jobs/build", fmt.Sprintf("C%d", i), "int", fmt.Sprint(i))
	}
	var names []string
	req := &jobv1.ListConfigsRequest{Scope: "jobs/build", PageSize: 2}
	for {
		res, err := c.configs.ListConfigs(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range res.GetConfigs() {
			names = append(names, e.GetName()+"="+e.GetValue())
		}
		if req.PageToken = res.GetNextPageToken(); req.PageToken == "" {
			break
		}
	}
	if fmt.Sprint(names) != "[C0=0 C1=1 C2=2 C3=3 C4=4]" {
		t.Error(names)
	}
	_, err := c.secrets.SetSecret(ctx, &jobv1.SetSecretRequest{Scope: "jobs/build", Name: "C0", Value: canary})
	wantReason(t, err, "SECRET_IS_CONFIG")
	got, err := c.configs.GetConfig(ctx, &jobv1.GetConfigRequest{Scope: "jobs/build", Name: "C0"})
	if err != nil {
		t.Fatal(err)
	}
	stale := got.GetConfig().GetEtag()
	c.setConfig(ctx, "jobs/build", "C0", "string", "x")
	_, err = c.configs.SetConfig(ctx, &jobv1.SetConfigRequest{Scope: "jobs/build", Name: "C0", Value: "y", Etag: stale})
	wantReason(t, err, "CONFIG_CHANGED")
	_, err = c.configs.SetConfig(ctx, &jobv1.SetConfigRequest{Scope: "jobs/build", Name: "C9", Value: "y", Etag: "1"})
	wantReason(t, err, "CONFIG_CHANGED")
	if _, err := c.configs.DeleteConfig(ctx, &jobv1.DeleteConfigRequest{Scope: "jobs/build", Name: "C0"}); err != nil {
		t.Fatal(err)
	}
	_, err = c.configs.GetConfig(ctx, &jobv1.GetConfigRequest{Scope: "jobs/build", Name: "C0"})
	wantReason(t, err, "CONFIG_NOT_FOUND")
	if _, err := c.pool.Exec(t.Context(), `INSERT INTO config SELECT gen_random_uuid(), 'acme', 'org', '', 'N' || i, 'string', '', false, 0, '', 1, now(), now(), 'u' FROM generate_series(1, 1000) i`); err != nil {
		t.Fatal(err)
	}
	_, err = c.configs.SetConfig(ctx, &jobv1.SetConfigRequest{Scope: "orgs/acme", Name: "MORE", Value: "y"})
	wantReason(t, err, "TOO_MANY_CONFIGS")
}
