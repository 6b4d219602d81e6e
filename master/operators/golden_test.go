package operators_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/stoa-project/stoa/master/ledger"
)

// object is a JSON object with its keys in their order.
type object struct {
	keys   []string
	values map[string]any
}

// ordered decodes JSON and keeps the order of keys and the text of numbers.
func ordered(t testing.TB, text []byte) any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	v, err := orderedValue(d)
	if err != nil {
		t.Fatalf("%v in %.200s", err, text)
	}
	return v
}

func orderedValue(d *json.Decoder) (any, error) {
	tok, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch tok {
	case json.Delim('{'):
		o := object{values: map[string]any{}}
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return nil, err
			}
			name := key.(string)
			if _, twice := o.values[name]; twice {
				return nil, fmt.Errorf("key %q twice", name)
			}
			o.keys = append(o.keys, name)
			if o.values[name], err = orderedValue(d); err != nil {
				return nil, err
			}
		}
		_, err = d.Token()
		return o, err
	case json.Delim('['):
		list := []any{}
		for d.More() {
			v, err := orderedValue(d)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err = d.Token()
		return list, err
	}
	return tok, nil
}

// canonical is a text by which elements of unordered arrays are matched.
func canonical(v any) string {
	switch v := v.(type) {
	case object:
		keys := slices.Sorted(slices.Values(v.keys))
		var b strings.Builder
		for _, k := range keys {
			fmt.Fprintf(&b, "%s:%s,", k, canonical(v.values[k]))
		}
		return "{" + b.String() + "}"
	case []any:
		parts := make([]string, len(v))
		for i, e := range v {
			parts[i] = canonical(e)
		}
		sort.Strings(parts)
		return "[" + strings.Join(parts, ",") + "]"
	case json.Number:
		f, _ := v.Float64()
		return fmt.Sprint(f)
	}
	return fmt.Sprintf("%q", fmt.Sprint(v))
}

// compare reports every difference: missing and extra keys, the order of keys, types,
// whether a number has a fraction, values. Elements of arrays may be in any order.
func compare(t *testing.T, path string, want, got any, ignore map[string]bool) {
	t.Helper()
	if ignore[path] {
		return
	}
	switch w := want.(type) {
	case object:
		g, ok := got.(object)
		if !ok {
			t.Errorf("%s: %T, want an object", path, got)
			return
		}
		var order []string
		for _, k := range w.keys {
			if ignore[path+"."+k] {
				continue
			}
			order = append(order, k)
			if _, there := g.values[k]; !there {
				t.Errorf("%s: lacks %s", path, k)
				continue
			}
			compare(t, path+"."+k, w.values[k], g.values[k], ignore)
		}
		gotOrder := slices.DeleteFunc(slices.Clone(g.keys), func(k string) bool { return ignore[path+"."+k] })
		if strings.Join(gotOrder, " ") != strings.Join(order, " ") && !ignore["order of "+path] {
			t.Errorf("%s: keys\n%v, want\n%v", path, gotOrder, order)
		}
	case []any:
		g, ok := got.([]any)
		if !ok {
			t.Errorf("%s: %T, want an array", path, got)
			return
		}
		if len(g) != len(w) {
			t.Errorf("%s: %d elements, want %d", path, len(g), len(w))
			return
		}
		by := func(list []any) []any {
			out := slices.Clone(list)
			slices.SortStableFunc(out, func(a, b any) int { return strings.Compare(canonical(a), canonical(b)) })
			return out
		}
		w, g = by(w), by(g)
		for i := range w {
			compare(t, path+"[]", w[i], g[i], ignore)
		}
	case json.Number:
		g, ok := got.(json.Number)
		if !ok {
			t.Errorf("%s: %v, want the number %s", path, got, w)
			return
		}
		a, errA := w.Float64()
		b, errB := g.Float64()
		if errA != nil || errB != nil || a != b || strings.ContainsAny(w.String(), ".eE") != strings.ContainsAny(g.String(), ".eE") {
			t.Errorf("%s: %s, want %s", path, g, w)
		}
	default:
		if want != got {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
}

func set(names ...string) map[string]bool {
	out := map[string]bool{}
	for _, n := range names {
		out[n] = true
	}
	return out
}

// unlike is what differs between the two recordings (names of the machine were replaced
// in texts only), and log_dir: this master writes no log folder.
var unlike = set(".log_dir", ".flags.log_dir", ".flags.work_dir", ".frameworks[].hostname", ".completed_frameworks[].hostname")

func get(t testing.TB, h http.Handler, url string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, url, nil))
	return w
}

func TestEndpointsAsRecorded(t *testing.T) {
	shell, _ := recordedShell(t, nil)
	h := mux(shell)
	for _, c := range []struct {
		url, file string
		ignore    map[string]bool
	}{
		{"/state", "state", unlike},
		{"/state.json", "state", unlike},
		{"/state-summary", "state-summary", unlike},
		{"/slaves", "slaves", nil},
		{"/slaves?slave_id=43bdaa57-94e8-4891-a620-405c630fedfa-S0", "slaves-one", nil},
		{"/frameworks", "frameworks", unlike},
		{"/frameworks?framework_id=43bdaa57-94e8-4891-a620-405c630fedfa-0006", "frameworks-one", nil},
		{"/tasks", "tasks", nil},
		{"/tasks?limit=2&order=asc", "tasks-asc", nil},
		{"/tasks?limit=1&offset=2", "tasks-offset", nil},
		{"/roles", "roles", nil},
		{"/flags", "flags", unlike},
		{"/version", "version", nil},
		{"/quota", "quota", nil},
		{"/weights", "weights", nil},
		{"/maintenance/status", "maintenance-status", nil},
		{"/maintenance/schedule", "maintenance-schedule", nil},
	} {
		t.Run(c.url, func(t *testing.T) {
			want, got := record(t, "http/"+c.file+".http"), get(t, h, c.url)
			if got.Code != want.status || got.Header().Get("Content-Type") != want.header.Get("Content-Type") {
				t.Errorf("%d %q", got.Code, got.Header().Get("Content-Type"))
			}
			if n := got.Header().Get("Content-Length"); n != fmt.Sprint(got.Body.Len()) {
				t.Errorf("Content-Length %q of %d", n, got.Body.Len())
			}
			compare(t, "", ordered(t, want.body), ordered(t, got.Body.Bytes()), c.ignore)
		})
	}
}

func TestWeightsAndRoles(t *testing.T) {
	shell, d := recordedShell(t, nil)
	d.book.Policies = &ledger.Policies{Weights: []ledger.WeightSet{{Role: "new", Weight: 7}, {Role: "prod", Weight: 2.5}, {Role: "web/front", Weight: 3}}}
	h := mux(shell)
	if got, want := get(t, h, "/weights").Body.String(), `[{"role":"new","weight":7.0},{"role":"prod","weight":2.5},{"role":"web/front","weight":3.0}]`; got != want {
		t.Errorf("%s", got)
	}
	var roles struct {
		Roles []struct {
			Name   string
			Weight float64
		}
	}
	if err := json.Unmarshal(get(t, h, "/roles").Body.Bytes(), &roles); err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(roles.Roles), "[{dev 1} {idle 1} {legacy 1} {new 7} {ops 1} {prod 2.5} {web 1} {web/front 3}]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// All names of section 9 that need no history of calls exist, each with a number.
func TestMetricNames(t *testing.T) {
	shell, _ := recordedShell(t, nil)
	var got map[string]float64
	w := get(t, mux(shell), "/metrics/snapshot")
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"master/operator_event_stream_subscribers", "master/http_cache_hits", "master/event_queue_messages",
		"master/event_queue_http_requests", "system/cpus_total", "system/load_1min", "system/load_5min", "system/load_15min",
		"system/mem_total_bytes", "system/mem_free_bytes"} {
		if _, there := got[name]; !there {
			t.Errorf("no %s", name)
		}
	}
	if got["system/cpus_total"] < 1 || got["system/mem_total_bytes"] < 1 {
		t.Errorf("system: %v", got)
	}
	if !strings.Contains(w.Body.String(), `"master/event_queue_messages":0.0,`) {
		t.Error("numbers are not printed as doubles")
	}
}

// A leader that still reads its registry answers with an empty state, not with an error.
func TestStateWhileRecovering(t *testing.T) {
	shell, d := recordedShell(t, nil)
	d.recovering()
	h := mux(shell)
	w := get(t, h, "/state")
	var got map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 {
		t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	if got["leader"] != "master@127.0.0.1:16050" || len(got["slaves"].([]any)) != 0 || got["elected_time"] != nil {
		t.Errorf("%s", w.Body)
	}
	d.leading = nil
	if w := get(t, h, "/state"); w.Code != 503 {
		t.Errorf("after the term: %d %s", w.Code, w.Body)
	}
	if w := get(t, h, "/version"); w.Code != 200 {
		t.Errorf("a standby's version: %d", w.Code)
	}
}
