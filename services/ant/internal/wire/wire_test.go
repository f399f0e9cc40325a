package wire

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestEncodeAndDecode(t *testing.T) {
	data, err := Encode(&Message{Type: TypeTask, UID: "u", Task: &Task{Name: "a<b", HeartbeatSeconds: 10}})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(data), `{"v":1,"type":"task","uid":"u","task":{`) || !strings.Contains(string(data), "a<b") {
		t.Errorf("%s", data)
	}
	m, err := Decode(data)
	if err != nil || m.Task.Name != "a<b" {
		t.Errorf("%+v, %v", m, err)
	}
	if _, err := Encode(&Message{Type: TypeLog, Lines: []string{strings.Repeat("x", MaxMessage)}}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("large: %v", err)
	}
	for text, want := range map[string]string{
		"":                                 "read message",
		"[]":                               "read message",
		`{"type":"task"}`:                  "version 0",
		`{"v":2,"type":"task"}`:            "version 2",
		`{"v":1,"exit_code":"x"}`:          "read message",
		strings.Repeat(" ", MaxMessage+1):  "larger",
		`{"v":1,"type":"new","later":[1]}`: "",
	} {
		_, err := Decode([]byte(text))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%.40q: %v", text, err)
		}
	}
}

func TestReplyOfTheWrongTypeIsAFailure(t *testing.T) {
	for text, want := range map[string]string{
		`{"v":1,"type":"reply","uid":"u","worker":"w","status":"COMPLETED","exit_code":"3"}`: "its exit_code is a JSON string",
		`{"outputs":[1],"v":1,"type":"reply","uid":"u","worker":"w","status":"COMPLETED"}`:   "its outputs is a JSON array",
	} {
		m, err := Decode([]byte(text))
		if err != nil || m.UID != "u" || m.Worker != "w" || m.Status != Failed || m.ExitCode != 1 || !strings.HasSuffix(m.Message, want) {
			t.Errorf("%s: %+v, %v", text, m, err)
		}
	}
	for _, text := range []string{
		`{"v":1,"type":"accept","uid":"u","worker":3}`, `{"v":1,"type":"reply","uid":7,"status":"FAILED"}`, `{"v":2,"type":"reply","uid":"u","exit_code":"3"}`,
	} {
		if m, err := Decode([]byte(text)); err == nil {
			t.Errorf("%s: %+v", text, m)
		}
	}
}

func TestText(t *testing.T) {
	for raw, want := range map[string]string{
		``: "", `null`: "", ` "a\nb" `: "a\nb", `1.50`: "1.50", `true`: "true", `{ "a": [1, "x"] }`: `{"a":[1,"x"]}`,
	} {
		if got := Text(json.RawMessage(raw)); got != want {
			t.Errorf("%q: %q", raw, got)
		}
	}
}

func TestCheckSubject(t *testing.T) {
	for _, ok := range []string{"orders", "orders.new", "form.formicary", "a-b_c", "x.$y", "formicaryx.a"} {
		if err := CheckSubject(ok); err != nil {
			t.Errorf("%q: %v", ok, err)
		}
	}
	for _, bad := range []string{
		"", ".", "a.", ".a", "a..b", "a b", "a\tb", "a\n", "a.*", "a.>", "a*", "formicary", "formicary.result.0", "Formicary.task.x",
		"$SYS.REQ", "$JS.API.INFO", "_INBOX.x", "_INBOXES", strings.Repeat("x", 256), "a\x00", "a\xff",
	} {
		if CheckSubject(bad) == nil {
			t.Errorf("%q is allowed", bad)
		}
	}
}

func TestCheckRegister(t *testing.T) {
	if err := CheckRegister(&Message{WorkerID: "w-1", Methods: []string{"WEBSOCKET"}, Tags: []string{"a"}, Slots: 2}); err != nil {
		t.Error(err)
	}
	err := CheckRegister(&Message{WorkerID: "-", Methods: []string{"SHELL"}, Tags: append(make([]string, 70), "a"), Slots: -1, Resume: make([]string, 5000)})
	for _, want := range []string{"worker_id", "SHELL", "71 tags", "tag \"\"", "slots -1", "resume"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %s", err, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"v":1,"type":"reply","uid":"u","status":"COMPLETED","outputs":{"a":1},"result":"x"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Decode(data)
		if err != nil {
			return
		}
		_ = Text(m.Result)
		again, err := Encode(m)
		if err != nil {
			return // it can grow beyond the bound
		}
		if _, err := Decode(again); err != nil {
			t.Fatalf("%s: %v", again, err)
		}
	})
}

// Numbers arrive with the digits that they were written with.
func TestVariablesKeepTheirDigits(t *testing.T) {
	const vars = `{"big":9007199254740993,"f":1.5,"huge":123456789012345678901234567890,"list":[9007199254740993,"x"],"n":3}`
	m, err := Decode([]byte(`{"v":1,"type":"task","uid":"u","task":{"variables":` + vars + `}}`))
	if err != nil {
		t.Fatal(err)
	}
	v := m.Task.Variables
	if v["n"] != 3.0 || v["f"] != 1.5 || v["big"] != json.Number("9007199254740993") || v["huge"] != json.Number("123456789012345678901234567890") {
		t.Errorf("%#v", v)
	}
	if again, err := json.Marshal(v); err != nil || string(again) != vars {
		t.Errorf("%s, %v", again, err)
	}
	for _, text := range []string{`null`, `[1]`} {
		m, err := Decode([]byte(`{"v":1,"type":"task","task":{"variables":` + text + `}}`))
		if (err == nil) != (text == `null`) {
			t.Errorf("%s: %+v, %v", text, m, err)
		}
	}
}
