package strictjson

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

// color decodes itself.
type color string

func (c *color) UnmarshalText(b []byte) error {
	if string(b) != "red" && string(b) != "blue" {
		return errors.New("want red or blue")
	}
	*c = color(b)
	return nil
}

type item struct {
	Addr  string `json:"addr"`
	Label uint16 `json:"label"`
	Paint color  `json:"paint"`
}

type sample struct {
	ListenUDP string  `json:"listen_udp"`
	Workers   int32   `json:"workers"`
	On        bool    `json:"on"`
	Ratio     float64 `json:"ratio"`
	Items     []item  `json:"items"`
	One       *item   `json:"one"`
	Count     int     `json:"count"`
	hidden    int
}

func TestUnmarshal(t *testing.T) {
	got := sample{Workers: 7, ListenUDP: "default", hidden: 1}
	pos, err := Unmarshal([]byte("{\n  \"on\": true, \"ratio\": 0.5,\n  \"items\": [{\"addr\":\"a\",\"label\":65535,\"paint\":\"red\"},\n    {}],\n  \"one\": {\"label\": 3}\n}"), &got)
	if err != nil {
		t.Fatal(err)
	}
	want := sample{"default", 7, true, 0.5, []item{{"a", 65535, "red"}, {}}, &item{Label: 3}, 0, 1}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for path, want := range map[string]Position{
		"on":             {2, 9},
		"items[1]":       {4, 5},
		"items[1].addr":  {4, 5}, // not in the text: the value around it
		"items[0].label": {3, 33},
		"workers":        {1, 1},
	} {
		if got := pos.Find(path); got != want {
			t.Errorf("Find(%q) = %v, want %v", path, got, want)
		}
	}
}

func TestFaults(t *testing.T) {
	tests := []struct {
		name, text string
		want       []string // "line:column: path: begin of text"
	}{
		{"empty", "", []string{"1:1: the text is empty"}},
		{"trailing comma", "{\n \"on\": true,\n}", []string{"3:1: not valid JSON: invalid character '}'"}},
		{"cut short", "{\"on\":", []string{"1:6: not valid JSON: unexpected end"}},
		{"no object", "[]", []string{"1:1: want an object, have a list"}},
		{"two values", "{} {}", []string{"1:4: not valid JSON"}},
		{"unknown", `{"listen-udp": {"a":[1]}, "on":true}`, []string{`1:2: unknown key "listen-udp"; did you mean "listen_udp"?`}},
		{"far from all", `{"zzzzzz": 1}`, []string{`1:2: unknown key "zzzzzz"; known are listen_udp, workers, on`}},
		{"nested unknown", `{"items":[{},{"adr":"x"}]}`, []string{`1:15: items[1]: unknown key "adr"; did you mean "addr"?`}},
		{"repeated", `{"on":true,"on":false}`, []string{"1:12: on: the key stands here a second time; first at 1:2"}},
		{"types", "{\"on\":1,\n\"workers\":\"4\",\n\"items\":{},\n\"listen_udp\":null}", []string{
			"1:7: on: want true or false, have a number",
			"2:11: workers: want a whole number from -2147483648 to 2147483647, have a string",
			"3:9: items: want a list, have an object",
			"4:14: listen_udp: want a string, have null",
		}},
		{"range", `{"items":[{"label":65536}], "workers":1.5}`, []string{
			"1:20: items[0].label: want a whole number from 0 to 65535, have 65536",
			"1:39: workers: want a whole number from -",
		}},
		{"no range worth telling", `{"count":"two"}`, []string{"1:10: count: want a whole number, have a string"}},
		{"own decoder", `{"one":{"paint":"green"}}`, []string{"1:17: one.paint: want red or blue"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Unmarshal([]byte(tt.text), &sample{})
			if err == nil {
				t.Fatal("no error")
			}
			lines := strings.Split(err.Error(), "\n")
			if len(lines) != len(tt.want) {
				t.Fatalf("got %d faults, want %d:\n%v", len(lines), len(tt.want), err)
			}
			for i, want := range tt.want {
				if !strings.HasPrefix(lines[i], want) {
					t.Errorf("got %q, want it to begin with %q", lines[i], want)
				}
			}
		})
	}
}

func TestManyFaults(t *testing.T) {
	text := "{" + strings.Repeat(`"x":1,`, 1000) + `"y":1}`
	_, err := Unmarshal([]byte(text), &sample{})
	if n := strings.Count(err.Error(), "\n") + 1; n != maxFaults {
		t.Errorf("got %d faults, want %d", n, maxFaults)
	}
}

// FuzzUnmarshal: no panic, and what it accepts encoding/json accepts alike.
func FuzzUnmarshal(f *testing.F) {
	for _, s := range []string{`{}`, `{"items":[{"paint":"red"}],"one":null}`, `{"on":tru`, "{\"workers\":1e3}", `{"ratio":-0.5e-2,"on":false}`, "[[[[", `{"x":[{"y":{}}],"items":[1,[]]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var got, want sample
		pos, err := Unmarshal(data, &got)
		for path, p := range pos {
			if p.Line < 1 || p.Column < 1 || p.Line > 1+strings.Count(string(data), "\n") {
				t.Fatalf("%q at %v", path, p)
			}
		}
		if err != nil {
			return
		}
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatalf("accepted what encoding/json refuses: %v", err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	})
}
