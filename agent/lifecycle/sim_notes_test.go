package lifecycle_test

import (
	"fmt"
	"strings"

	"github.com/stoa-project/stoa/agent/lifecycle"
)

// noteEvent writes an event into the history.
func (s *sim) noteEvent(ev lifecycle.Event) {
	what := ""
	switch ev := ev.(type) {
	case lifecycle.RunTask:
		what = ev.Task.GetTaskId().GetValue()
	case lifecycle.KillTask:
		what = string(ev.Task)
	case lifecycle.Acknowledge:
		what = fmt.Sprintf("%s %x", ev.Task, ev.UUID[8:])
	case lifecycle.ShutdownExecutor:
		what = string(ev.Key.Executor)
	case lifecycle.ShutdownFramework:
		what = string(ev.ID)
	case lifecycle.Started:
		what = string(ev.Container)
	case lifecycle.LaunchFailed:
		what = string(ev.Container) + " " + ev.Message
	case lifecycle.Exited:
		what = fmt.Sprintf("%s %+v limit %v", ev.Container, ev.Exit, ev.Limitation != nil)
	case lifecycle.Limited:
		what = string(ev.Container)
	case lifecycle.Probe:
		what = fmt.Sprintf("%s %v", ev.Key.Task, ev.Healthy)
	case lifecycle.ExecutorSubscribed:
		what = fmt.Sprintf("%s/%s %s again %v, %d tasks, %d updates", ev.Key.Framework, ev.Key.Executor, ev.UPID, ev.Again, len(ev.Tasks), len(ev.Updates))
	case lifecycle.ExecutorUpdate:
		what = fmt.Sprintf("%s %s", ev.Status.GetTaskId().GetValue(), ev.Status.GetState())
	case lifecycle.ContainerCall:
		what = fmt.Sprintf("%d op %d %s", ev.Request, ev.Op, ev.ID)
	case lifecycle.Resized:
		what = string(ev.Container) + " " + ev.Failure
	case lifecycle.Tick:
		return
	}
	s.note("> %s %s", strings.TrimPrefix(fmt.Sprintf("%T", ev), "lifecycle."), what)
}

// noteEffect writes an effect into the history.
func (s *sim) noteEffect(ef lifecycle.Effect) {
	what := ""
	switch ef := ef.(type) {
	case lifecycle.Launch:
		what = fmt.Sprintf("%s of %s/%s task %s", ef.Container, ef.Key.Framework, ef.Key.Executor, ef.Task)
	case lifecycle.Destroy:
		what = string(ef.Container)
	case lifecycle.Kill:
		what = fmt.Sprintf("%s grace %s", ef.Container, ef.Grace)
	case lifecycle.Forget:
		what = string(ef.Container)
	case lifecycle.Signal:
		what = fmt.Sprintf("%s %d", ef.Container, ef.Signal)
	case lifecycle.Resize:
		what = string(ef.Container)
	case lifecycle.SendUpdate:
		st := ef.Update.GetStatus()
		what = fmt.Sprintf("%s %s %x %q", st.GetTaskId().GetValue(), st.GetState(), st.GetUuid()[8:], st.GetMessage())
	case lifecycle.SendExited:
		what = string(ef.Key.Executor)
	case lifecycle.ToExecutor:
		what = fmt.Sprintf("%s %s", ef.Key.Executor, ef.Event.GetType())
	case lifecycle.StartChecks:
		what = string(ef.Key.Task)
	case lifecycle.StopChecks:
		what = string(ef.Key.Task)
	case lifecycle.Answer:
		what = fmt.Sprintf("%d: %d %s", ef.Request, ef.Code, ef.Text)
	}
	s.note("  %s %s", strings.TrimPrefix(fmt.Sprintf("%T", ef), "lifecycle."), what)
}
