package core_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
)

var rewrite = flag.Bool("rewrite", false, "write the golden scripts anew")

// record logs an effect in one line.
func (w *world) record(e core.Effect) {
	line := ""
	switch e := e.(type) {
	case core.Persist:
		line = fmt.Sprintf("persist %d", e.Batch)
		for _, ch := range e.Changes {
			sign := "+"
			if ch.Value == nil {
				sign = "-"
			}
			line += " " + sign + ch.Key
		}
	case core.Show:
		return
	case core.Reply:
		line = fmt.Sprintf("reply %d", e.Token)
		if e.Err != nil {
			line += " error: " + e.Err.Error()
		}
	case core.Publish:
		line = "publish " + e.Event.Type()
		switch ev := e.Event.(type) {
		case core.StatusUpdate:
			line += " " + string(ev.Task) + " " + ev.State
		case core.InstanceChanged:
			line += " " + string(ev.Instance) + " " + string(ev.Condition)
		case core.DeploymentInfo:
			line += fmt.Sprint(" ", ev.Step.Actions)
		case core.DeploymentEnded:
			line += " " + ev.Reason
		}
	case core.Accept:
		line = "accept " + e.Offer
		for _, l := range e.Tasks {
			line += " " + string(l.Instance.TaskID())
			for k := 1; k < l.Instance.TaskCount(); k++ {
				line += " and " + string(l.Instance.TaskIDAt(k))
			}
			line += fmt.Sprintf(" on %s ports %v", l.Instance.Host, l.HostPorts)
		}
	case core.Decline:
		line = fmt.Sprintf("decline %v for %s", e.Offers, e.Refuse)
	case core.Acknowledge:
		line = "acknowledge " + string(e.Task)
	case core.Kill:
		line = "kill " + string(e.Task)
	case core.Reconcile:
		line = fmt.Sprintf("reconcile %d tasks", len(e.Tasks))
	case core.StartProbes:
		line = "probe " + string(e.Instance.TaskID())
	case core.StopProbes:
		line = "stop probing " + string(e.Instance)
	case core.Note:
		line = "note " + e.Text
	case core.Roles:
		line = fmt.Sprintf("roles %v suppressed %v", e.Roles, e.Suppressed)
	case core.Revive:
		line = fmt.Sprintf("revive %v", e.Roles)
	case core.Suppress:
		line = fmt.Sprintf("suppress %v", e.Roles)
	default:
		line = strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", e), "core."))
	}
	w.log = append(w.log, "    "+strings.TrimSpace(line))
}

// say begins a paragraph of the script.
func (w *world) say(format string, args ...any) {
	w.log = append(w.log, "> "+fmt.Sprintf(format, args...))
}

// TestScripts replays histories and compares everything the core asks for with
// testdata/<name>.txt; go test -run TestScripts -rewrite writes them anew.
func TestScripts(t *testing.T) {
	for name, script := range map[string]func(*world){
		"create": func(w *world) {
			w.say("POST /w with 2 instances")
			w.do(put(basic("/w", 2), false))
			w.say("an offer of host0")
			w.offer(w.agents[0])
			w.say("both tasks start and run")
			w.rounds(3)
		},
		"update": func(w *world) {
			a := basic("/w", 1)
			w.do(put(a, false))
			w.rounds(4)
			w.log = []string{}
			w.say("PUT /w with another command")
			a.Cmd = "sleep 10"
			w.do(put(a, false))
			w.say("half a second at a time")
			w.rounds(6)
		},
		"failure": func(w *world) {
			w.do(put(basic("/w", 1), false))
			w.rounds(4)
			w.log = []string{}
			w.say("the task fails")
			for _, task := range w.tasks {
				task.queue = []string{"TASK_FAILED"}
			}
			w.rounds(5)
		},
		"locked": func(w *world) {
			w.do(put(basic("/w", 1), false))
			w.log = []string{}
			w.say("PUT /w while its deployment waits for offers")
			a := basic("/w", 2)
			w.do(put(a, false))
			w.say("the same with force")
			w.do(put(a, true))
			w.say("cancel without force: the tree goes back")
			w.do(core.CancelDeployment{ID: w.shown.Deployments[0].Plan.ID})
		},
		"killscale": func(w *world) {
			w.do(put(basic("/w", 2), false))
			w.rounds(4)
			w.log = []string{}
			w.say("kill one of two with scale")
			w.do(core.KillTasks{Instances: []app.InstanceID{w.shown.Of("/w").Instances()[0].ID}, Scale: true})
			w.rounds(3)
			w.say("DELETE /w")
			w.do(remove("/w", true))
			w.rounds(3)
		},
		"failover": func(w *world) {
			w.do(put(basic("/w", 1), false))
			w.offer(w.agents[0])
			w.log = []string{}
			w.say("the leader dies before the task's first status")
			w.start()
			w.say("the new one goes on")
			w.rounds(3)
		},
		"pod": func(w *world) {
			w.say("POST /v2/pods with 1 instance of two containers, the first with a health check")
			w.do(putPod(pair(1), false))
			w.say("an offer of host0")
			w.offer(w.agents[0])
			w.say("both tasks start and run, then the check passes")
			w.rounds(4)
			w.say("the check fails, and passes again")
			w.tasks[w.firstOf("/p").TaskIDAt(0)].queue = []string{"sick", "healthy"}
			w.rounds(2)
			w.say("one finishes: the other runs on")
			w.tasks[w.firstOf("/p").TaskIDAt(1)].queue = []string{"TASK_FINISHED"}
			w.rounds(2)
			w.say("the other fails")
			w.tasks[w.firstOf("/p").TaskIDAt(0)].queue = []string{"TASK_FAILED"}
			w.rounds(4)
			w.say("one of the second launch fails: the agent ends its mate, and then the instance starts anew")
			w.tasks[w.firstOf("/p").TaskIDAt(1)].queue = []string{"TASK_FAILED"}
			w.rounds(8)
		},
		"podupdate": func(w *world) {
			w.do(putPod(pair(1), false))
			w.rounds(5)
			w.log = []string{}
			w.say("PUT with another container: the old instance goes when the new one is healthy")
			w.do(putPod(renamed(pair(1)), false))
			w.rounds(8)
			w.say("scaled to 2, and cancelled")
			w.do(putPod(renamed(pair(2)), false))
			w.do(core.CancelDeployment{ID: w.shown.Deployments[0].Plan.ID})
			w.rounds(2)
			w.say("DELETE")
			w.do(remove("/p", false))
			w.rounds(4)
		},
		"podlost": func(w *world) {
			w.do(putPod(pair(1), false))
			w.rounds(5)
			w.log = []string{}
			w.say("the agent is out of reach: each task is told lost, and the instance is replaced at once")
			w.disconnect(w.agents[0])
			w.rounds(1)
			w.say("it comes back: its tasks are unknown now")
			w.reconnect(w.agents[0])
			w.rounds(6)
		},
		"podfailover": func(w *world) {
			w.do(putPod(pair(1), false))
			w.rounds(3)
			w.log = []string{}
			w.say("the leader dies before the check has passed")
			w.start()
			w.say("the new one asks for both tasks, and waits for the check")
			w.rounds(4)
		},
		"podresident": func(w *world) {
			w.say("POST a pod with a persistent volume: reserved first, launched on the reservation")
			p := pair(1)
			p.Role = "dev"
			p.Volumes = []app.PodVolume{{Name: "data", Persistent: &app.PersistentVolume{Type: "root", Size: 5}}}
			p.Containers[1].VolumeMounts = []app.PodMount{{Name: "data", MountPath: "data"}}
			p.Scheduling.Unreachable = app.UnreachableStrategy{Disabled: true}
			p.Scheduling.Upgrade = app.UpgradeStrategy{MinimumHealthCapacity: 0.5}
			w.do(putPod(p, false))
			w.rounds(6)
			w.say("a container fails: started again where its data is")
			w.tasks[w.firstOf("/p").TaskIDAt(1)].queue = []string{"TASK_FAILED"}
			w.rounds(7)
			w.say("DELETE: the reservation is freed")
			w.do(remove("/p", false))
			w.rounds(5)
		},
		"podkill": func(w *world) {
			w.do(putPod(pair(2), false))
			w.rounds(5)
			w.log = []string{}
			w.say("kill an instance: it keeps its id")
			w.do(core.KillTasks{Instances: []app.InstanceID{w.firstOf("/p").ID}})
			w.rounds(6)
			w.say("kill with scale: the pod gets smaller")
			w.do(core.KillTasks{Instances: []app.InstanceID{w.firstOf("/p").ID}, Scale: true})
			w.rounds(4)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1, 1)
			w.log = []string{}
			script(w)
			got := strings.Join(w.log, "\n") + "\n"
			file := filepath.Join("testdata", name+".txt")
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("%s differs, now:\n%s", file, got)
			}
		})
	}
}
