package enginetest

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"testing"
)

// Containers are the ids of those with a label, running or not.
func (e *Engine) Containers(t testing.TB, label string) []string {
	t.Helper()
	filter, err := json.Marshal(map[string][]string{"label": {label}})
	if err != nil {
		t.Fatal(err)
	}
	res, err := e.call(http.MethodGet, "/containers/json?"+url.Values{"all": {"1"}, "filters": {string(filter)}}.Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var all []struct {
		ID string `json:"Id"`
	}
	if err := json.NewDecoder(res.Body).Decode(&all); err != nil {
		t.Fatalf("list containers: %v", err)
	}
	ids := make([]string, len(all))
	for i, c := range all {
		ids[i] = c.ID
	}
	return ids
}

// Inspect is all that the engine tells of a container, empty when there is none of the id any more.
func (e *Engine) Inspect(id string) string {
	res, err := e.call(http.MethodGet, "/containers/"+id+"/json", nil)
	if err != nil {
		return ""
	}
	defer func() { _ = res.Body.Close() }()
	text, _ := io.ReadAll(res.Body)
	return string(text)
}
