package rest

import (
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"
)

// Bounds in bytes: what one request may take in all, freed or not, beside a multiple of its
// body; what it may put into the store; and its answer.
const (
	allocBase   = 64 << 20
	allocFactor = 1200 // under the race detector; without it a third is taken
	storeFactor = 40
	storeBase   = 64 << 10
	answerLimit = 1 << 20
)

// request is one that comes before.
type request struct {
	method, path, body string
	status             int
}

// hurry is how long any answer to a body that was made to hurt may take. It is not a
// measurement: what hangs or grows with a power of the input passes it by far.
const hurry = 30 * time.Second

// TestPathologicalBodies: whatever is sent is accepted, or refused with a reason, soon, in
// memory and records bounded by the size of the body, and the next request is answered as ever.
// nested is a body of so many groups, each in the one before.
func nested(n int) string {
	return `{"groups":[` + strings.Repeat(`{"id":"d","groups":[`, n) + strings.Repeat("]}", n) + `]}`
}

func sleepingContainer(i int, more string) string {
	return fmt.Sprintf(`{"name":"c%d","resources":{"cpus":0.01,"mem":1},"exec":{"command":{"shell":"sleep 1"}}%s}`, i, more)
}

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
		first                    []request
	}{
		{"10,000 apps in one group", "PUT", "/v2/groups/many", `{"apps":[` + many(10000, func(i int) string { return sleeper(fmt.Sprint("a", i), "") }) + `]}`, 200, "", nil},
		{"10,000 instances of one app", "POST", "/v2/apps", sleeper("/wide", `,"instances":10000`), 201, "", nil},
		{"a billion instances", "POST", "/v2/apps", sleeper("/wider", `,"instances":1000000000`), 422, "instances", nil},
		{"apps that wait for each other", "PUT", "/v2/groups/ring", `{"apps":[` + many(1000, func(i int) string {
			return sleeper(fmt.Sprint("a", i), fmt.Sprintf(`,"dependencies":["/ring/a%d"]`, (i+1)%1000))
		}) + `]}`, 422, "cyclic", nil},
		{"a chain of 2,000 apps", "PUT", "/v2/groups/chain", `{"apps":[` + many(2000, func(i int) string {
			return sleeper(fmt.Sprint("a", i), fmt.Sprintf(`,"dependencies":["/chain/a%d"]`, i+1))
		}) + `]}`, 200, "", nil}, // the last one waits for an app that is not there
		{"everything waits for everything before it", "PUT", "/v2/groups/mesh", `{"apps":[` + many(300, func(i int) string {
			return sleeper(fmt.Sprint("a", i), `,"dependencies":[`+many(i, func(k int) string { return fmt.Sprintf(`"/mesh/a%d"`, k) })+`]`)
		}) + `]}`, 200, "", nil},
		{"labels of 1 MB", "POST", "/v2/apps", sleeper("/labels", `,"labels":{"big":"`+strings.Repeat("x", 1<<20)+`"}`), 413, "over the limit of 1048576", nil},
		{"50,000 labels", "POST", "/v2/apps", sleeper("/labels", `,"labels":{`+many(50000, func(i int) string { return fmt.Sprintf(`"label%d":"value"`, i) })+`}`), 413, "app /labels: its record would have", nil},
		{"an id of 1,000 segments", "POST", "/v2/apps", sleeper(strings.Repeat("/a", 1000), ""), 413, "id: it has 2000 bytes", nil},
		{"a segment of 10,000 letters", "POST", "/v2/apps", sleeper("/"+strings.Repeat("a", 10000), ""), 413, "id: it has 10001 bytes", nil},
		{"10,000 nested objects", "POST", "/v2/apps", `{"id":"/deep","labels":` + strings.Repeat(`{"a":`, 10000) + "1" + strings.Repeat("}", 10001), 400, "details", nil},
		{"10,000 nested lists", "POST", "/v2/apps", strings.Repeat("[", 10000) + strings.Repeat("]", 10000), 422, "error.expected.jsobject", nil},
		{"a million open brackets", "PUT", "/v2/groups", strings.Repeat("[", 1000000), 400, "details", nil},
		{"1,000 nested groups", "PUT", "/v2/groups/down", strings.Repeat(`{"groups":[{"id":"d",`, 1000) + `"apps":[]` + strings.Repeat("}]}", 1000)[:3000-1], 400, "", nil},
		{"NaN", "POST", "/v2/apps", sleeper("/nan", `,"backoffFactor":NaN`), 400, "details", nil},
		{"1e400", "POST", "/v2/apps", sleeper("/huge", `,"backoffFactor":1e400`), 422, "backoffFactor", nil},
		{"a fraction of an instance", "POST", "/v2/apps", sleeper("/half", `,"instances":0.5`), 422, "instances", nil},
		{"one key twice", "POST", "/v2/apps", `{"id":"/first","id":"/twice","cmd":"sleep 1"}`, 201, "", nil}, // the last one counts, as in Marathon
		{"half a character", "POST", "/v2/apps", `{"id":"/utf","cmd":"\ud800"}`, 201, "", nil},
		{"bytes that are no text", "POST", "/v2/apps", "\xff\xfe\x00{", 400, "details", nil},
		{"a pod of 1,000 containers", "POST", "/v2/pods", `{"id":"/crowd","containers":[` + many(1000, func(i int) string { return sleepingContainer(i, "") }) + `]}`, 201, "", nil},
		{"a pod of 5,000 containers", "POST", "/v2/pods", `{"id":"/crowd","containers":[` + many(5000, func(i int) string { return sleepingContainer(i, "") }) + `]}`, 422, "expected 1000 or less", nil},
		{"an endpoint of 100,000 protocols", "POST", "/v2/pods", `{"id":"/proto","containers":[` + sleepingContainer(0, `,"endpoints":[{"name":"e","protocol":[`+
			many(100_000, func(i int) string { return fmt.Sprintf(`"p%d"`, i) })+`]}]`) + `]}`, 413, "its record would have", nil},
		{"12,000 volumes, each mounted", "POST", "/v2/pods", `{"id":"/shelves","volumes":[` + many(12000, func(i int) string { return fmt.Sprintf(`{"name":"v%d"}`, i) }) +
			`],"containers":[` + sleepingContainer(0, `,"volumeMounts":[`+many(12000, func(i int) string { return fmt.Sprintf(`{"name":"v%d","mountPath":"m%d"}`, i, i) })+`]`) + `]}`, 201, "", nil},
		{"volumes that nobody mounts", "POST", "/v2/pods", `{"id":"/shelves","volumes":[` + many(10000, func(i int) string { return fmt.Sprintf(`{"name":"v%d"}`, i) }) +
			`],"containers":[` + sleepingContainer(0, "") + `]}`, 422, "referenced by at least one container", nil},
		{"14,000 constraints of a pod", "POST", "/v2/pods", `{"id":"/picky","scheduling":{"placement":{"constraints":[` + many(14000, func(i int) string {
			return fmt.Sprintf(`{"fieldName":"f%d","operator":"UNIQUE"}`, i)
		}) + `]}},"containers":[` + sleepingContainer(0, "") + `]}`, 201, "", nil},
		{"1,000 constraints with expressions", "POST", "/v2/apps", sleeper("/like", `,"constraints":[`+many(1000, func(i int) string {
			return fmt.Sprintf(`["hostname","LIKE","(a*)*(b|b)*%d"]`, i)
		})+`]`), 201, "", nil},
		{"an expression that repeats without end", "POST", "/v2/apps", sleeper("/like", `,"constraints":[["hostname","LIKE","((a{1,1000}){1,1000}){1,1000}"]]`), 422, "constraints", nil},
		{name: "dangling dependencies", method: "PUT", path: "/v2/groups/loose", body: `{"dependencies":[` + many(20000, func(i int) string { return fmt.Sprintf(`"/no/group%d"`, i) }) + `],"apps":[` +
			sleeper("a", `,"dependencies":["/nobody","../../..//nobody","none/at/all"]`) + `]}`, status: 200},
		{name: "a cycle of groups", method: "PUT", path: "/v2/groups/ring", body: `{"groups":[` + many(300, func(i int) string {
			return fmt.Sprintf(`{"id":"g%d","dependencies":["/ring/g%d"],"apps":[%s]}`, i, (i+1)%300, sleeper("a", ""))
		}) + `]}`, status: 422, reason: "cyclic"},
		{name: "an app that waits for itself", method: "POST", path: "/v2/apps", body: sleeper("/self", `,"dependencies":["/self"]`), status: 422, reason: "cyclic"},
		{name: "400 groups in groups", method: "PUT", path: "/v2/groups/d", body: strings.Repeat(`{"groups":[{"id":"d",`, 399) + `"apps":[]` + strings.Repeat("}]}", 399)[:3*399-1] + "}", status: 400, reason: "details"},
		{name: "5,000 groups in groups", method: "PUT", path: "/v2/groups", body: nested(4900), status: 422, reason: "nested"},
		{name: "300 groups in groups", method: "PUT", path: "/v2/groups", body: nested(300), status: 200},
		{name: "40,000 constraints", method: "POST", path: "/v2/apps", body: sleeper("/many", `,"constraints":[`+many(40000, func(i int) string { return fmt.Sprintf(`["h%d","UNIQUE"]`, i) })+`]`), status: 201},
		{name: "60,000 dependencies", method: "POST", path: "/v2/apps", body: sleeper("/many", `,"dependencies":[`+many(60000, func(i int) string { return fmt.Sprintf(`"/x%d"`, i) })+`]`), status: 201},
		{name: "60,000 broken rules", method: "POST", path: "/v2/apps", body: sleeper("/many", `,"constraints":[`+many(60000, func(i int) string { return `["h","NEAR"]` })+`]`), status: 422, reason: "more rules are broken"},
		{name: "200,000 apps in one request", method: "PUT", path: "/v2/groups/many", body: `{"apps":[` + many(200_000, func(i int) string { return fmt.Sprintf(`{"id":"a%d","cmd":"ab"}`, i) }) + `]}`, status: 422, reason: "100000 apps at most"},
		{name: "10,000 apps in one group, last one first", method: "PUT", path: "/v2/groups/many", body: `{"apps":[` + many(10000, func(i int) string { return sleeper(fmt.Sprint("a", 90000-i), "") }) + `]}`, status: 200},
		{name: "10,000 apps, one of them again", method: "PUT", path: "/v2/apps/many/a7?force=true", body: `{"cmd":"sleep 2"}`, status: 200,
			first: []request{{"PUT", "/v2/groups/many", `{"apps":[` + many(10000, func(i int) string { return sleeper(fmt.Sprint("a", i), "") }) + `]}`, 200}}},
		{name: "10,000 apps deleted", method: "DELETE", path: "/v2/groups/many?force=true", status: 200,
			first: []request{{"PUT", "/v2/groups/many", `{"apps":[` + many(10000, func(i int) string { return sleeper(fmt.Sprint("a", i), "") }) + `]}`, 200}}},
		{name: "10,000 instances deleted", method: "DELETE", path: "/v2/apps/wide", status: 200, first: []request{{"POST", "/v2/apps", sleeper("/wide", `,"instances":10000`), 201}}},
		{name: "not a number in text", method: "POST", path: "/v2/apps", body: sleeper("/nan", `,"backoffFactor":"NaN"`), status: 422, reason: "jsnumber"},
		{name: "minus infinity", method: "POST", path: "/v2/apps", body: sleeper("/nan", `,"backoffFactor":-Infinity`), status: 400, reason: "details"},
		{name: "a number of 100,000 digits", method: "POST", path: "/v2/apps", body: sleeper("/digits", `,"backoffFactor":1`+strings.Repeat("0", 100_000)), status: 422, reason: "backoffFactor"},
		{name: "one key 10,000 times", method: "POST", path: "/v2/apps", body: `{"id":"/often",` + many(10000, func(i int) string { return fmt.Sprintf(`"cmd":"sleep %d"`, i) }) + `}`, status: 201},
		{"65,000 ports", "POST", "/v2/apps", sleeper("/ports", `,"portDefinitions":[`+many(65000, func(int) string { return `{"port":0}` })+`]`), 422, "--local_port_max", nil},
	} {
		t.Run(each.name, func(t *testing.T) {
			s := newStack(t)
			for _, first := range each.first {
				s.want(first.status, first.method, first.path, first.body)
			}
			s.stored = 0
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			began := time.Now()
			a := s.call(each.method, each.path, each.body, "Content-Type", "application/json")
			took := time.Since(began)
			runtime.ReadMemStats(&after)
			if took > hurry {
				t.Errorf("answered after %s", took)
			}
			size := uint64(len(each.body))
			for _, f := range each.first {
				size += uint64(len(f.body))
			}
			if took := after.TotalAlloc - before.TotalAlloc; took > allocBase+allocFactor*size {
				t.Errorf("it took %d MiB for a body of %d kB", took>>20, size>>10)
			}
			if uint64(s.stored) > storeBase+storeFactor*size {
				t.Errorf("%d kB were stored for a body of %d kB", s.stored>>10, size>>10)
			}
			if a.status != each.status || !strings.Contains(a.text, each.reason) {
				t.Errorf("status %d, want %d with %q: %.300s", a.status, each.status, each.reason, a.text)
			}
			if len(a.text) > answerLimit {
				t.Errorf("the answer has %d bytes", len(a.text))
			}
			s.want(http.StatusOK, "GET", "/v2/info", "")
			t.Logf("%s, %d MiB taken and %d kB stored for %d kB, answer %d bytes", took.Round(time.Millisecond),
				(after.TotalAlloc-before.TotalAlloc)>>20, s.stored>>10, size>>10, len(a.text))
		})
	}
}
