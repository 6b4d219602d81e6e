package executors

import (
	"io"
	"net/http"

	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/web"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/executor"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// refusal is an answer of one plain sentence.
type refusal struct {
	status int
	text   string
}

func (s *Server) refuse(w http.ResponseWriter, r refusal) {
	if r.status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", http.MethodPost)
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(r.status)
	_, _ = io.WriteString(w, r.text) // the client is gone when this fails
}

// ServeHTTP takes one call, checking in the order of mesos-agent.md 1.3.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	phase := s.agent.Phase()
	if phase == Starting {
		s.refuse(w, refusal{503, "Agent has not finished recovery"})
		return
	}
	call, bad := read(r)
	if bad != nil {
		s.refuse(w, *bad)
		return
	}
	var codec wire.Codec
	if call.GetType() == executor.Call_SUBSCRIBE {
		var ok bool
		if codec, ok = wire.Negotiate(r.Header.Values("Accept")); !ok {
			s.refuse(w, refusal{406, "Expecting 'Accept' to allow application/json or application/x-protobuf"})
			return
		}
	}
	if call.GetType() == executor.Call_HEARTBEAT {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	if phase == Reconnecting && call.GetType() != executor.Call_SUBSCRIBE {
		s.refuse(w, refusal{503, "Agent has not finished recovery"})
		return
	}
	key := lifecycle.ExecutorKey{
		Framework: lifecycle.FrameworkID(call.GetFrameworkId().GetValue()),
		Executor:  lifecycle.ExecutorID(call.GetExecutorId().GetValue()),
	}
	fw, ex, subscribed, err := s.agent.Standing(r.Context(), key)
	switch {
	case err != nil:
		s.refuse(w, refusal{503, "The agent is stopping"})
		return
	case !fw:
		s.refuse(w, refusal{400, "Framework cannot be found"})
		return
	case !ex:
		s.refuse(w, refusal{400, "Executor cannot be found"})
		return
	case !s.authentic(r.Context(), key):
		s.refuse(w, refusal{403, "Executor '" + string(key.Executor) + "' is not who the token was made for"})
		return
	case !subscribed && call.GetType() != executor.Call_SUBSCRIBE:
		s.refuse(w, refusal{403, "Executor is not subscribed"})
		return
	}
	switch call.GetType() {
	case executor.Call_SUBSCRIBE:
		st := s.open(key, codec)
		ev := lifecycle.ExecutorSubscribed{Key: key, Tasks: call.GetSubscribe().GetUnacknowledgedTasks()}
		for _, u := range call.GetSubscribe().GetUnacknowledgedUpdates() {
			ev.Updates = append(ev.Updates, u.GetStatus())
		}
		s.agent.Deliver(r.Context(), ev)
		s.serve(w, r, key, st)
	case executor.Call_UPDATE:
		s.agent.Deliver(r.Context(), lifecycle.ExecutorUpdate{Key: key, Status: call.GetUpdate().GetStatus()})
		w.WriteHeader(http.StatusAccepted)
	case executor.Call_MESSAGE:
		s.agent.Deliver(r.Context(), lifecycle.ExecutorMessage{Key: key, Data: call.GetMessage().GetData()})
		w.WriteHeader(http.StatusAccepted)
	default:
		s.refuse(w, refusal{501, "501 Not Implemented."})
	}
}

// read takes the call out of a request.
func read(r *http.Request) (*executor.Call, *refusal) {
	if r.Method != http.MethodPost {
		return nil, &refusal{405, "405 Method Not Allowed. Expecting one of { 'POST' }, but received '" + r.Method + "'."}
	}
	var codec wire.Codec
	switch r.Header.Get("Content-Type") {
	case "":
		return nil, &refusal{400, "Expecting 'Content-Type' to be present"}
	case wire.MediaJSON:
		codec = wire.JSON
	case wire.MediaProtobuf:
		codec = wire.Protobuf
	default:
		return nil, &refusal{415, "Expecting 'Content-Type' of application/json or application/x-protobuf"}
	}
	body, err := web.ReadBody(r, maxBody)
	if fault.KindOf(err) == fault.TooLarge {
		return nil, &refusal{413, "The body is over the limit of 16 MiB"}
	}
	if err != nil {
		return nil, &refusal{400, "Failed to read the body: " + err.Error()}
	}
	call := &executor.Call{}
	if why := wire.DecodeCall(codec, body, call); why != "" {
		return nil, &refusal{400, why}
	}
	if why := invalid(call); why != "" {
		return nil, &refusal{400, "Failed to validate Executor::Call: " + why}
	}
	return call, nil
}

// invalid says which rule a call breaks (mesos-agent.md 1.4), or "".
func invalid(c *executor.Call) string {
	if c.Type == nil {
		return "Expecting 'type' to be present"
	}
	switch c.GetType() {
	case executor.Call_SUBSCRIBE:
		if c.Subscribe == nil {
			return "Expecting 'subscribe' to be present"
		}
		for _, u := range c.GetSubscribe().GetUnacknowledgedUpdates() {
			if why := invalidStatus(c, u.GetStatus()); why != "" {
				return why
			}
		}
	case executor.Call_UPDATE:
		if c.Update == nil {
			return "Expecting 'update' to be present"
		}
		return invalidStatus(c, c.GetUpdate().GetStatus())
	case executor.Call_MESSAGE:
		if c.Message == nil {
			return "Expecting 'message' to be present"
		}
	}
	return ""
}

func invalidStatus(c *executor.Call, st *mesos.TaskStatus) string {
	who := "executor " + c.GetExecutorId().GetValue() + " of framework " + c.GetFrameworkId().GetValue()
	switch {
	case st == nil:
		return "Expecting 'update.status' to be present"
	case st.Uuid == nil:
		return "Expecting 'uuid' to be present"
	case len(st.GetUuid()) != 16:
		return "Not a valid UUID"
	case st.ExecutorId != nil && st.GetExecutorId().GetValue() != c.GetExecutorId().GetValue():
		return "ExecutorID in Executor::Call: " + c.GetExecutorId().GetValue() + " does not match ExecutorID in TaskStatus: " + st.GetExecutorId().GetValue()
	case st.GetSource() != mesos.TaskStatus_SOURCE_EXECUTOR || st.Source == nil:
		return "Received Call from " + who + " with invalid source, expecting 'SOURCE_EXECUTOR'"
	case st.GetState() == mesos.TaskState_TASK_STAGING:
		return "Received TASK_STAGING from " + who + " which is not allowed"
	}
	return invalidCheck(st.GetCheckStatus())
}

// invalidCheck: the sub-message must be the one of the type.
func invalidCheck(c *mesos.CheckStatusInfo) string {
	if c == nil {
		return ""
	}
	ok := false
	switch c.GetType() {
	case mesos.CheckInfo_COMMAND:
		ok = c.Command != nil && c.Http == nil && c.Tcp == nil
	case mesos.CheckInfo_HTTP:
		ok = c.Http != nil && c.Command == nil && c.Tcp == nil
	case mesos.CheckInfo_TCP:
		ok = c.Tcp != nil && c.Command == nil && c.Http == nil
	}
	if !ok {
		return "Expecting 'check_status' to hold exactly the message of its 'type'"
	}
	return ""
}
