package operators

import (
	"bytes"
	"context"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/wire/agentapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Containers carries out calls about nested containers and connects with their input
// and output.
type Containers interface {
	// Call waits for the answer of a call; a wait lasts as long as the container.
	Call(ctx context.Context, c lifecycle.ContainerCall) (lifecycle.Answer, error)
	// Output and Input are those of container.Runtime.
	Output(ctx context.Context, id lifecycle.ContainerID, ready func(), f func(stderr bool, data []byte) error) error
	Input(ctx context.Context, id lifecycle.ContainerID, data []byte, eof bool, size *container.Terminal) error
}

// containerID gives the id that a call about a container names, nil for other calls.
func containerID(c *agentapi.Call) *mesos.ContainerID {
	switch c.GetType() {
	case agentapi.Call_LAUNCH_NESTED_CONTAINER:
		return c.GetLaunchNestedContainer().GetContainerId()
	case agentapi.Call_LAUNCH_CONTAINER:
		return c.GetLaunchContainer().GetContainerId()
	case agentapi.Call_WAIT_NESTED_CONTAINER:
		return c.GetWaitNestedContainer().GetContainerId()
	case agentapi.Call_WAIT_CONTAINER:
		return c.GetWaitContainer().GetContainerId()
	case agentapi.Call_KILL_NESTED_CONTAINER:
		return c.GetKillNestedContainer().GetContainerId()
	case agentapi.Call_KILL_CONTAINER:
		return c.GetKillContainer().GetContainerId()
	case agentapi.Call_REMOVE_NESTED_CONTAINER:
		return c.GetRemoveNestedContainer().GetContainerId()
	case agentapi.Call_REMOVE_CONTAINER:
		return c.GetRemoveContainer().GetContainerId()
	case agentapi.Call_LAUNCH_NESTED_CONTAINER_SESSION:
		return c.GetLaunchNestedContainerSession().GetContainerId()
	case agentapi.Call_ATTACH_CONTAINER_OUTPUT:
		return c.GetAttachContainerOutput().GetContainerId()
	case agentapi.Call_ATTACH_CONTAINER_INPUT:
		return c.GetAttachContainerInput().GetContainerId()
	}
	return nil
}

// aboutContainer tells whether a call is about one container.
func aboutContainer(t agentapi.Call_Type) bool {
	return strings.HasSuffix(t.String(), "_CONTAINER") || strings.Contains(t.String(), "_CONTAINER_")
}

// invalidContainer says what is wrong with the container a call names (mesos-agent.md 0.4), or "".
func invalidContainer(c *agentapi.Call) string {
	if !aboutContainer(c.GetType()) {
		return ""
	}
	field := strings.ToLower(c.GetType().String())
	id := containerID(c)
	if id == nil {
		return "Expecting '" + field + "' to be present"
	}
	depth := 0
	for x := id; x != nil; x = x.GetParent() {
		if why := unsafeID(x.GetValue()); why != "" {
			return "'" + field + ".container_id' is invalid: " + why
		}
		if depth++; depth > 32 {
			return "'" + field + ".container_id' is invalid: more than 32 levels"
		}
	}
	if strings.Contains(field, "nested") && id.GetParent() == nil {
		return "Expecting '" + field + ".container_id.parent' to be present"
	}
	if why := invalidEnvironment(launched(c).GetEnvironment()); why != "" {
		return "'" + field + ".command' is invalid: " + why
	}
	return ""
}

// launched gives the command of a call that starts a container, nil for others.
func launched(c *agentapi.Call) *mesos.CommandInfo {
	switch c.GetType() {
	case agentapi.Call_LAUNCH_NESTED_CONTAINER:
		return c.GetLaunchNestedContainer().GetCommand()
	case agentapi.Call_LAUNCH_CONTAINER:
		return c.GetLaunchContainer().GetCommand()
	case agentapi.Call_LAUNCH_NESTED_CONTAINER_SESSION:
		return c.GetLaunchNestedContainerSession().GetCommand()
	}
	return nil
}

// invalidEnvironment says which variable is no value and no secret (mesos-agent.md 0.4), or
// "". Masters refuse tasks with such; calls come here directly.
func invalidEnvironment(env *mesos.Environment) string {
	for _, v := range env.GetVariables() {
		name := "Environment variable '" + v.GetName() + "' "
		switch v.GetType() {
		case mesos.Environment_Variable_VALUE:
			switch {
			case v.Value == nil:
				return name + "of type 'VALUE' must have a value set"
			case v.Secret != nil:
				return name + "of type 'VALUE' must not have a secret set"
			}
		case mesos.Environment_Variable_SECRET:
			switch {
			case v.Secret == nil:
				return name + "of type 'SECRET' must have a secret set"
			case v.Value != nil:
				return name + "of type 'SECRET' must not have a value set"
			case bytes.IndexByte(v.GetSecret().GetValue().GetData(), 0) >= 0:
				return name + "specifies a secret containing null bytes, which no environment can hold"
			}
		default:
			return "Environment variable of type 'UNKNOWN' is not allowed"
		}
	}
	return ""
}

func unsafeID(v string) string {
	switch {
	case v == "":
		return "it is empty"
	case len(v) > 242:
		return "it is longer than 242 characters"
	case strings.ContainsAny(v, "./\\ "):
		return "'" + v + "' holds '.', '/', '\\' or a space"
	case !container.ValidID(container.ID(v)):
		return "'" + v + "' holds a character that folder names must not have"
	}
	return ""
}

// containerCall answers the calls that launch, wait for, kill and remove containers
// (mesos-agent.md 3.5).
func (s *server) containerCall(c echo.Context, call *agentapi.Call) (*agentapi.Response, *refusal) {
	ev := lifecycle.ContainerCall{ID: lifecycle.PrintedID(containerID(call)), Signal: 9}
	switch call.GetType() {
	case agentapi.Call_LAUNCH_NESTED_CONTAINER:
		m := call.GetLaunchNestedContainer()
		ev.Op, ev.Command, ev.Box = lifecycle.CallLaunch, m.GetCommand(), m.GetContainer()
	case agentapi.Call_LAUNCH_CONTAINER:
		m := call.GetLaunchContainer()
		ev.Op, ev.Command, ev.Box, ev.Resources, ev.Limits = lifecycle.CallLaunch, m.GetCommand(), m.GetContainer(), m.GetResources(), m.GetLimits()
	case agentapi.Call_WAIT_NESTED_CONTAINER, agentapi.Call_WAIT_CONTAINER:
		ev.Op = lifecycle.CallWait
	case agentapi.Call_KILL_NESTED_CONTAINER:
		ev.Op = lifecycle.CallKill
		if m := call.GetKillNestedContainer(); m.Signal != nil {
			ev.Signal = int(m.GetSignal())
		}
	case agentapi.Call_KILL_CONTAINER:
		ev.Op = lifecycle.CallKill
		if m := call.GetKillContainer(); m.Signal != nil {
			ev.Signal = int(m.GetSignal())
		}
	default:
		ev.Op = lifecycle.CallRemove
	}
	if ev.Signal < 1 || ev.Signal > 64 {
		return nil, &refusal{400, "'signal' is no signal"}
	}
	a, err := s.Containers.Call(c.Request().Context(), ev)
	switch {
	case err != nil:
		return nil, &refusal{503, "The agent is stopping"}
	case a.Code == http.StatusAccepted:
		return nil, &refusal{http.StatusAccepted, ""}
	case a.Code != http.StatusOK:
		return nil, &refusal{a.Code, a.Text}
	case ev.Op != lifecycle.CallWait:
		return nil, nil
	}
	kind := agentapi.Response_Type(agentapi.Response_Type_value[call.GetType().String()])
	out := &agentapi.Response{Type: &kind}
	w := &agentapi.Response_WaitContainer{}
	if a.Exit != nil && a.Exit.Known {
		w.ExitStatus = proto.Int32(a.Exit.WaitStatus())
	}
	if l := a.Limitation; l != nil {
		w.State, w.Reason, w.Message = mesos.TaskState_TASK_FAILED.Enum(), l.Reason.Enum(), proto.String(l.Message)
		w.Limitation = &mesos.TaskResourceLimitation{Resources: l.Resources}
	}
	out.WaitContainer = w
	if call.GetType() == agentapi.Call_WAIT_NESTED_CONTAINER {
		out.WaitContainer = nil
		out.WaitNestedContainer = &agentapi.Response_WaitNestedContainer{ExitStatus: w.ExitStatus, State: w.State, Reason: w.Reason,
			Message: w.Message, Limitation: w.Limitation}
	}
	return out, nil
}
