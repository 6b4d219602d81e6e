package app

import "testing"

// TestTaskIDs reads every form of a task id (marathon.md 7.1).
func TestTaskIDs(t *testing.T) {
	const uuid = "6a8f10a2-6f5c-11ee-9d4c-0242ac110002"
	for _, c := range []struct {
		text string
		id   InstanceID
		name string
		n    int
	}{
		{"a_b.instance-" + uuid + "._app.3", "a_b.instance-" + uuid, "", 3},
		{"a_b.instance-" + uuid + "._app", "a_b.instance-" + uuid, "", 0},
		{"a.x_b.c.instance-" + uuid + ".web-1.12", "a.x_b.c.instance-" + uuid, "web-1", 12},
		{"p.instance-" + uuid + ".instance-2.1", "p.instance-" + uuid, "instance-2", 1},
		{"a_b.marathon-" + uuid + "._app.1", "a_b.marathon-" + uuid, "", 1},
		{"a_b." + uuid, "a_b.marathon-" + uuid, "", 0},
		{"a.x_b.c." + uuid, "a.x_b.c.marathon-" + uuid, "", 0},
	} {
		id, name, n, err := TaskID(c.text).Split()
		if err != nil || id != c.id || name != c.name || n != c.n {
			t.Errorf("%s: %s %q %d %v", c.text, id, name, n, err)
		}
		if c.n > 0 && id.NamedTask(name, n) != TaskID(c.text) {
			t.Errorf("%s comes back as %s", c.text, id.NamedTask(name, n))
		}
	}
	for _, text := range []string{"", "a", "._app.1", "a._app.1", "a.instance-" + uuid, "a.instance-" + uuid + "._app.0",
		"a.instance-" + uuid + "._app.x", "a.instance-" + uuid + ".web.-1", "a.instance-" + uuid + "..1", "a.instance-.web.1"} {
		if id, name, n, err := TaskID(text).Split(); err == nil {
			t.Errorf("%q is taken as %s %q %d", text, id, name, n)
		}
	}
}

// TestSum is the order of conditions of marathon.md 7.5.
func TestSum(t *testing.T) {
	for _, c := range []struct {
		tasks []Condition
		want  Condition
		ended bool
		lost  bool
	}{
		{[]Condition{Running, Running}, Running, false, false},
		{[]Condition{Running, Finished}, Running, false, false},
		{[]Condition{Finished, Killed}, Finished, true, false},
		{[]Condition{Killed, Killed}, Killed, true, false},
		{[]Condition{Killed, Failed}, Failed, true, false},
		{[]Condition{Running, Failed}, Failed, false, false},
		{[]Condition{Staging, Starting}, Starting, false, false},
		{[]Condition{Running, Provisioned}, Provisioned, false, false},
		{[]Condition{Running, Unreachable}, Unreachable, false, false},
		{[]Condition{Finished, Unreachable}, Unreachable, false, true},
		{[]Condition{Failed, Unreachable}, Failed, false, true},
		{[]Condition{Killing, Errored, Gone}, Errored, false, false},
		{[]Condition{Dropped, Gone}, Gone, true, false},
		{[]Condition{Unknown, Staging}, Staging, false, false},
	} {
		i := Instance{}
		for _, cond := range c.tasks {
			i.Tasks = append(i.Tasks, Task{Condition: cond})
		}
		if got := Sum(i.Tasks); got != c.want || i.Ended() != c.ended || i.Lost() != c.lost {
			t.Errorf("%v: %s, ended %t, lost %t", c.tasks, got, i.Ended(), i.Lost())
		}
	}
}
