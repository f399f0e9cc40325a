package secret_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/formicary/formicary/services/supervisor/internal/secret"
)

func TestValuesAreNotPrinted(t *testing.T) {
	a := secret.Answer{Values: map[string]secret.Value{"TOKEN": "canary-8472"}}
	var log bytes.Buffer
	l := slog.New(slog.NewJSONHandler(&log, nil))
	l.Info("got", "value", a.Values["TOKEN"], "answer", a)
	slog.New(slog.NewTextHandler(&log, nil)).Info("got", "value", a.Values["TOKEN"], "answer", a)
	raw, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	all := log.String() + string(raw) + fmt.Sprintf("%v %+v %#v", a, a, a)
	if strings.Contains(all, "canary") || !strings.Contains(all, "****") {
		t.Error(all)
	}
	if a.Values["TOKEN"].Clear() != "canary-8472" {
		t.Error("it is lost")
	}
}
