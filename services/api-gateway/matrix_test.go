package apigateway_test

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/passport"
	"github.com/formicary/formicary/libs/passport/passporttest"
	"github.com/formicary/formicary/libs/testkit/routetest"
)

var update = flag.Bool("update", false, "write testdata/matrix.txt and the tables of README.md anew") //nolint:gochecknoglobals // a flag

const matrixFile = "testdata/matrix.txt"

// TestEveryMethodSaysWhoMayCallIt: one that says nothing, or what cannot be, is nobody's.
func TestEveryMethodSaysWhoMayCallIt(t *testing.T) {
	services := []string{"api-gateway", "job-manager", "resource-manager", "scheduler", "supervisor"}
	for _, m := range routetest.Methods() {
		r := m.Rule
		said := 0
		for _, yes := range []bool{r.Permission != "", r.Public, r.Internal, r.Ant} {
			if yes {
				said++
			}
		}
		switch {
		case said != 1:
			t.Errorf("%s: want one of permission, public, internal and ant in the option formicary.identity.v1.access", m.Name)
		case r.Permission != "" && !slices.Contains(access.Permissions(), r.Permission):
			t.Errorf("%s: no role holds the permission %s by name: it is not in libs/access/roles.go", m.Name, r.Permission)
		case r.Internal && len(r.Services) == 0:
			t.Errorf("%s: internal, and names no service that may call it", m.Name)
		}
		for _, s := range r.Services {
			if !slices.Contains(services, s) {
				t.Errorf("%s: there is no service %s", m.Name, s)
			}
		}
		if reads := strings.HasSuffix(r.Permission, ".read") || r.Permission == "org.list"; reads && !r.Reads {
			t.Errorf("%s: changes something (its idempotency_level is not NO_SIDE_EFFECTS), and needs no more than %s", m.Name, r.Permission)
		}
	}
}

// callers are the columns of the matrix.
func callers() []string { return append(access.Roles(), "group", "nobody", "service", "ant") }

func as(column string) access.Caller {
	switch column {
	case "nobody":
		return access.Caller{}
	case "service":
		return access.Caller{Kind: access.Service, User: "job-manager"}
	case "ant":
		return access.Caller{Kind: access.Ant, User: "ant-1"}
	case "group":
		return access.Caller{Kind: access.Person, Org: "default", User: "ann", Roles: []string{"release-managers"}}
	}
	return access.Caller{Kind: access.Person, Org: "default", User: "ann", Roles: []string{column}}
}

// TestMatrix compares what each role may do with the table of testdata/matrix.txt, which people have read, and calls every
// method, over gRPC and over each of its paths, as each role: what the table refuses is refused, and nothing else is.
func TestMatrix(t *testing.T) {
	rules := access.ReadRules(protoregistry.GlobalFiles)
	var table strings.Builder
	fmt.Fprintf(&table, "%-70s %-20s %s\n", "method", "permission", strings.Join(callers(), " "))
	for _, m := range routetest.Methods() {
		cells := make([]string, len(callers()))
		for i, column := range callers() {
			cell := "yes"
			if own, err := rules.Check(m.Name, as(column)); err != nil {
				cell = "-"
			} else if own {
				cell = "own"
			}
			cells[i] = fmt.Sprintf("%-*s", len(column), cell)
		}
		who := m.Rule.Permission
		switch {
		case m.Rule.Public:
			who = "(public)"
		case m.Rule.Internal:
			who = "(internal)"
		case m.Rule.Ant:
			who = "(ant)"
		}
		fmt.Fprintf(&table, "%-70s %-20s %s\n", m.Name[1:], who, strings.TrimRight(strings.Join(cells, " "), " "))
	}
	if *update {
		if err := os.WriteFile(matrixFile, []byte(table.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(matrixFile)
	if err != nil || string(want) != table.String() {
		t.Fatalf("who may call what is not what %s says (read the difference; -update writes it): %v\n%s", matrixFile, err, table.String())
	}
	w := start(t)
	for _, m := range routetest.Methods() {
		for _, role := range access.Roles() {
			_, refused := rules.Check(m.Name, as(role))
			if err := callAs(t, w.grpc, m, role); (errs.CodeOf(err) == errs.CodeDenied) != (refused != nil) {
				t.Errorf("%s as %s over gRPC: %v, the table refuses it: %v", m.Name, role, err, refused)
			}
			for _, b := range m.Routes {
				if code := restAs(t, w, b, role); (code == http.StatusForbidden) != (refused != nil) {
					t.Errorf("%s %s as %s: %d, the table refuses it: %v", b.Verb, b.Path, role, code, refused)
				}
			}
		}
	}
}

// callAs makes a call with an empty message and returns its error; a stream is left after its first message.
func callAs(t *testing.T, conn *grpc.ClientConn, m routetest.Method, role string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), "x-formicary-roles", role), 30*time.Second)
	defer cancel()
	in, out, err := types(m.Name)
	if err != nil {
		t.Fatal(err)
	}
	if !m.Rule.Stream {
		return conn.Invoke(ctx, m.Name, in, out)
	}
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: m.Desc.IsStreamingServer(), ClientStreams: m.Desc.IsStreamingClient()}, m.Name)
	if err != nil {
		return err
	}
	if err := s.SendMsg(in); err != nil && err != io.EOF { //nolint:errorlint // the stream ended already
		return err
	}
	if err := s.CloseSend(); err != nil {
		return err
	}
	return s.RecvMsg(out)
}

func restAs(t *testing.T, w *world, b routetest.Route, role string) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	path := b.Fill(func(_, form string) string {
		if form == "" {
			return "1"
		}
		return strings.ReplaceAll(form, "*", "1")
	})
	var body io.Reader
	if b.Verb != "GET" && b.Verb != "DELETE" {
		body = strings.NewReader("{}")
	}
	res := w.open(ctx, b.Verb, path, body, "Content-Type: application/json", "X-Formicary-Roles: "+role)
	defer func() { _ = res.Body.Close() }()
	return res.StatusCode
}

// TestPeersCheckForThemselves: a service asks who calls also when the call comes from the gateway's network and not through
// its gate: without a token, with a role that may not, and by a service that is not named.
func TestPeersCheckForThemselves(t *testing.T) {
	checker := passporttest.Checker()
	rules := access.ReadRules(protoregistry.GlobalFiles)
	for _, m := range routetest.Methods() {
		if _, err := checker.Admit(t.Context(), m.Name); m.Rule.Public != (err == nil) {
			t.Errorf("%s without a caller: %v", m.Name, err)
		}
		for _, column := range callers() {
			c := as(column)
			if c.Kind != access.Person {
				continue
			}
			_, refused := rules.Check(m.Name, c)
			token := passporttest.Token(t, passport.Gateway, c, "/not/internal")
			_, err := checker.Admit(metadata.NewIncomingContext(t.Context(), metadata.Pairs(passport.Header, token)), m.Name)
			if errs.Reason(err) != errs.Reason(refused) || (err == nil) != (refused == nil) {
				t.Errorf("%s as %s: %v, want %v", m.Name, column, err, refused)
			}
		}
	}
}
