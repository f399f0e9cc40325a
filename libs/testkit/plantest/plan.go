package plantest

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Database is a pool with the settings of production, filled and analysed.
type Database = *pgxpool.Pool

// node of a plan, as EXPLAIN writes it.
type node struct {
	Type      string  `json:"Node Type"`
	Parent    string  `json:"Parent Relationship"`
	Join      string  `json:"Join Type"`
	Relation  string  `json:"Relation Name"`
	Index     string  `json:"Index Name"`
	IndexCond string  `json:"Index Cond"`
	Filter    string  `json:"Filter"`
	JoinCond  string  `json:"Join Filter"`
	Cost      float64 `json:"Total Cost"`
	Plans     []node  `json:"Plans"`
}

// explain returns the generic plan of a statement.
func explain(ctx context.Context, pool *pgxpool.Pool, sql string) (node, error) {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return node{}, err
	}
	defer conn.Release()
	if _, err := conn.Exec(ctx, "PREPARE judged AS "+sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		return node{}, fmt.Errorf("prepare: %w", err)
	}
	defer func() { _, _ = conn.Exec(ctx, "DEALLOCATE judged", pgx.QueryExecModeSimpleProtocol) }()
	var params int
	if err := conn.QueryRow(ctx, "SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = 'judged'").Scan(&params); err != nil {
		return node{}, err
	}
	call := "EXPLAIN (FORMAT JSON) EXECUTE judged"
	if params > 0 {
		call += "(" + strings.TrimSuffix(strings.Repeat("NULL,", params), ",") + ")"
	}
	var raw []byte
	if err := conn.QueryRow(ctx, call, pgx.QueryExecModeSimpleProtocol).Scan(&raw); err != nil {
		return node{}, fmt.Errorf("explain: %w", err)
	}
	var plans []struct{ Plan node }
	if err := json.Unmarshal(raw, &plans); err != nil {
		return node{}, err
	}
	return plans[0].Plan, nil
}

// schema is what the catalogue says.
type schema struct {
	rows  map[string]float64 // tables
	index map[string]string  // index → its table
	live  map[string]bool    // partial indexes that hold next to nothing of a table with a history
	where map[string]string  // the predicates of partial indexes
	grows []string
}

func readSchema(ctx context.Context, pool *pgxpool.Pool) (*schema, error) {
	s := &schema{rows: map[string]float64{}, index: map[string]string{}, live: map[string]bool{}, where: map[string]string{}}
	rows, err := pool.Query(ctx, `SELECT relname, reltuples FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')
		AND relname <> 'goose_db_version'`)
	if err != nil {
		return nil, err
	}
	var name, table string
	var n float64
	if _, err := pgx.ForEachRow(rows, []any{&name, &n}, func() error { s.rows[name] = n; return nil }); err != nil {
		return nil, err
	}
	rows, err = pool.Query(ctx, `SELECT i.relname, t.relname, i.reltuples, coalesce(pg_get_expr(x.indpred, x.indrelid), '') FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
		WHERE t.relnamespace = current_schema()::regnamespace`)
	if err != nil {
		return nil, err
	}
	var where string
	_, err = pgx.ForEachRow(rows, []any{&name, &table, &n, &where}, func() error {
		s.index[name], s.live[name], s.where[name] = table, n < s.rows[table]/100, where
		return nil
	})
	return s, err
}

// classify says which tables nobody has thought about, and which have no history to judge by.
func (s *schema) classify(c Case) []string {
	var faults []string
	s.grows = c.Grows
	for name, n := range s.rows {
		_, bounded := c.Bounded[name]
		switch grows := slices.Contains(c.Grows, name); {
		case grows == bounded:
			faults = append(faults, fmt.Sprintf("table %s must be either in Grows or in Bounded: does anything delete its rows?", name))
		case grows && n < leastRows:
			faults = append(faults, fmt.Sprintf("table %s grows, but the fill gives it only %.0f rows", name, n))
		}
	}
	for _, name := range c.Grows {
		if _, ok := s.rows[name]; !ok {
			faults = append(faults, fmt.Sprintf("table %s is in Grows and does not exist", name))
		}
	}
	return faults
}

// judge says which parts of a plan read more when the history is longer.
func (s *schema) judge(p node) []string {
	var why []string
	s.look(p, false, &why)
	return why
}

// look goes down a plan. ordered: the rows of the node are taken one after the other until a LIMIT is reached.
func (s *schema) look(n node, ordered bool, why *[]string) {
	table := n.Relation
	if table == "" {
		table = s.index[n.Index]
	}
	if slices.Contains(s.grows, table) && strings.HasSuffix(n.Type, "Scan") {
		if fault := s.scan(n, table, ordered); fault != "" {
			*why = append(*why, fault)
		}
	}
	for i, child := range n.Plans {
		s.look(child, passes(n, i, ordered), why)
	}
}

// disabled is what enable_seqscan = off adds to the cost of a scan, here of a small table that the statement also reads.
const disabled = 1e10

// few is how a condition looks that names a part of an index which stays small; how much a mere range holds nobody knows
// before it runs.
var few = regexp.MustCompile(` = | IS NULL`)

// setting is how a plan names the value of app.org; policy is what row-level security adds to the filter of every access. It drops nothing: a service's own work sees all rows, and
// the statements of people name their organisation themselves.
const setting = `(?:\$\d+|\(InitPlan \d+\)\.col1)`

var policy = regexp.MustCompile(`\(\(` + setting + ` = '\*'::text\) OR \(` + setting + ` = (?:\w+\.)?org_id\)(?: OR \(\((?:\w+\.)?org_id = ''::text\) AND \(` + setting + ` <> ''::text\)\))?\)`)

func withoutPolicy(filter string) string {
	rest := policy.ReplaceAllString(filter, "")
	if rest == filter || rest == "" {
		return rest
	}
	rest = strings.Replace(strings.Replace(rest, "( AND ", "(", 1), " AND )", ")", 1)
	if inner := strings.TrimSuffix(strings.TrimPrefix(rest, "("), ")"); wrapped(inner) {
		return inner // there was one other condition
	}
	return rest
}

// wrapped says that the parenthesis which opens s is closed by its last one.
func wrapped(s string) bool {
	open := 0
	for i, c := range s {
		switch c {
		case '(':
			open++
		case ')':
			open--
		}
		if open == 0 {
			return i > 0 && i == len(s)-1
		}
	}
	return false
}

// scan judges one access to a table that grows.
func (s *schema) scan(n node, table string, ordered bool) string {
	cost := math.Mod(n.Cost, disabled)
	n.Filter = withoutPolicy(n.Filter)
	if n.Filter == s.where[n.Index] { // checked again because rows are locked
		n.Filter = ""
	}
	switch {
	case n.Type == "Seq Scan":
		return "reads all of " + table
	case n.Index != "" && s.live[n.Index]:
		return ""
	case ordered && n.Filter == "" && n.Index != "":
		return ""
	case n.Index != "" && n.IndexCond == "":
		return fmt.Sprintf("reads all of index %s (filter %s)", n.Index, n.Filter)
	case n.Index != "" && !few.MatchString(n.IndexCond):
		return fmt.Sprintf("reads a range of %s by %s and drops some of it: condition %s, filter %s", table, n.Index, n.IndexCond, n.Filter)
	case cost > limit:
		return fmt.Sprintf("reads much of %s by %s: cost %.0f with condition %s, filter %s", table, n.Index, cost, n.IndexCond, n.Filter)
	}
	return ""
}

// passes says whether a node asks its i-th child for one row after the other and drops none of them.
func passes(n node, i int, ordered bool) bool {
	switch n.Type {
	case "Limit":
		return true
	case "LockRows", "Result", "ProjectSet", "Append", "Merge Append":
		return ordered && withoutPolicy(n.Filter) == "" && n.Plans[i].Parent != "SubPlan" && n.Plans[i].Parent != "InitPlan"
	case "Subquery Scan":
		return ordered && withoutPolicy(n.Filter) == ""
	case "Nested Loop":
		inner := n.Plans[len(n.Plans)-1]
		return ordered && n.Plans[i].Parent == "Outer" && n.JoinCond == "" && (n.Join == "Left" || withoutPolicy(inner.Filter) == "")
	}
	return false
}

// allowed returns the entry that a statement is allowed by.
func allowed(list map[string]string, sql string) (string, bool) {
	for part := range list {
		if strings.Contains(sql, part) {
			return part, true
		}
	}
	return "", false
}
