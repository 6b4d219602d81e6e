package rest

import (
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"
)

// hurry is how long any answer to a body that was made to hurt may take. It is not a
// measurement: what hangs or grows with a power of the input passes it by far.
const hurry = 30 * time.Second

// TestPathologicalBodies: whatever is sent is accepted, or refused with a reason, soon and
// in bounded memory, and the next request is answered as ever.
func TestPathologicalBodies(t *testing.T) {
	many := func(n int, f func(i int) string) string {
		parts := make([]string, n)
		for i := range parts {
			parts[i] = f(i)
		}
		return strings.Join(parts, ",")
	}
	sleeper := func(id, more string) string {
		return `{"id":"` + id + `","cmd":"sleep 1","cpus":0.01,"mem":1` + more + `}`
	}
	for _, each := range []struct {
		name, method, path, body string
		status                   int
		reason                   string // part of the answer when it is a refusal
	}{
		{"10,000 apps in one group", "PUT", "/v2/groups/many", `{"apps":[` + many(10000, func(i int) string { return sleeper(fmt.Sprint("a", i), "") }) + `]}`, 200, ""},
		{"10,000 instances of one app", "POST", "/v2/apps", sleeper("/wide", `,"instances":10000`), 201, ""},
		{"a billion instances", "POST", "/v2/apps", sleeper("/wider", `,"instances":1000000000`), 422, "instances"},
		{"apps that wait for each other", "PUT", "/v2/groups/ring", `{"apps":[` + many(1000, func(i int) string {
			return sleeper(fmt.Sprint("a", i), fmt.Sprintf(`,"dependencies":["/ring/a%d"]`, (i+1)%1000))
		}) + `]}`, 422, "cyclic"},
		{"a chain of 2,000 apps", "PUT", "/v2/groups/chain", `{"apps":[` + many(2000, func(i int) string {
			return sleeper(fmt.Sprint("a", i), fmt.Sprintf(`,"dependencies":["/chain/a%d"]`, i+1))
		}) + `]}`, 200, ""}, // the last one waits for an app that is not there
		{"everything waits for everything before it", "PUT", "/v2/groups/mesh", `{"apps":[` + many(300, func(i int) string {
			return sleeper(fmt.Sprint("a", i), `,"dependencies":[`+many(i, func(k int) string { return fmt.Sprintf(`"/mesh/a%d"`, k) })+`]`)
		}) + `]}`, 200, ""},
		{"labels of 1 MB", "POST", "/v2/apps", sleeper("/labels", `,"labels":{"big":"`+strings.Repeat("x", 1<<20)+`"}`), 413, "over the limit of 1048576"},
		{"50,000 labels", "POST", "/v2/apps", sleeper("/labels", `,"labels":{`+many(50000, func(i int) string { return fmt.Sprintf(`"label%d":"value"`, i) })+`}`), 413, "app /labels: its record would have"},
		{"an id of 1,000 segments", "POST", "/v2/apps", sleeper(strings.Repeat("/a", 1000), ""), 413, "id: it has 2000 bytes"},
		{"a segment of 10,000 letters", "POST", "/v2/apps", sleeper("/"+strings.Repeat("a", 10000), ""), 413, "id: it has 10001 bytes"},
		{"10,000 nested objects", "POST", "/v2/apps", `{"id":"/deep","labels":` + strings.Repeat(`{"a":`, 10000) + "1" + strings.Repeat("}", 10001), 400, "details"},
		{"10,000 nested lists", "POST", "/v2/apps", strings.Repeat("[", 10000) + strings.Repeat("]", 10000), 422, "error.expected.jsobject"},
		{"a million open brackets", "PUT", "/v2/groups", strings.Repeat("[", 1000000), 400, "details"},
		{"1,000 nested groups", "PUT", "/v2/groups/down", strings.Repeat(`{"groups":[{"id":"d",`, 1000) + `"apps":[]` + strings.Repeat("}]}", 1000)[:3000-1], 400, ""},
		{"NaN", "POST", "/v2/apps", sleeper("/nan", `,"backoffFactor":NaN`), 400, "details"},
		{"1e400", "POST", "/v2/apps", sleeper("/huge", `,"backoffFactor":1e400`), 422, "backoffFactor"},
		{"a fraction of an instance", "POST", "/v2/apps", sleeper("/half", `,"instances":0.5`), 422, "instances"},
		{"one key twice", "POST", "/v2/apps", `{"id":"/first","id":"/twice","cmd":"sleep 1"}`, 201, ""}, // the last one counts, as in Marathon
		{"half a character", "POST", "/v2/apps", `{"id":"/utf","cmd":"\ud800"}`, 201, ""},
		{"bytes that are no text", "POST", "/v2/apps", "\xff\xfe\x00{", 400, "details"},
		{"1,000 constraints with expressions", "POST", "/v2/apps", sleeper("/like", `,"constraints":[`+many(1000, func(i int) string {
			return fmt.Sprintf(`["hostname","LIKE","(a*)*(b|b)*%d"]`, i)
		})+`]`), 201, ""},
		{"an expression that repeats without end", "POST", "/v2/apps", sleeper("/like", `,"constraints":[["hostname","LIKE","((a{1,1000}){1,1000}){1,1000}"]]`), 422, "constraints"},
		{"65,000 ports", "POST", "/v2/apps", sleeper("/ports", `,"portDefinitions":[`+many(65000, func(int) string { return `{"port":0}` })+`]`), 422, "--local_port_max"},
	} {
		t.Run(each.name, func(t *testing.T) {
			s := newStack(t)
			began := time.Now()
			a := s.call(each.method, each.path, each.body, "Content-Type", "application/json")
			if took := time.Since(began); took > hurry {
				t.Errorf("answered after %s", took)
			}
			if a.status != each.status || !strings.Contains(a.text, each.reason) {
				t.Errorf("status %d, want %d with %q: %.300s", a.status, each.status, each.reason, a.text)
			}
			if len(a.text) > 1<<20 {
				t.Errorf("the answer has %d bytes", len(a.text))
			}
			s.want(http.StatusOK, "GET", "/v2/info", "")
			t.Logf("%s, answer %d bytes", time.Since(began).Round(time.Millisecond), len(a.text))
		})
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if m.Sys > 4<<30 {
		t.Errorf("the process took %d MiB", m.Sys>>20)
	}
}
