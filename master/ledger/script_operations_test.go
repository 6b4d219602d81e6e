package ledger_test

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/messages"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
	"github.com/stoa-project/stoa/master/ledger"
)

// The words of scripts about operations and groups.

// expand puts in what "=" lines named; longer names first would matter, so names are
// kept apart by their spelling.
func (s *stage) expand(text string) string { return strings.NewReplacer(s.names...).Replace(text) }

func (s *stage) operationCommand(word, rest string) error {
	switch word {
	case "order": // order PRINCIPAL CALL-JSON of the operator API; "-" is nobody
		who, body, _ := strings.Cut(rest, " ")
		call := &masterapi.Call{}
		if err := wire.UnmarshalJSON([]byte(body), call); err != nil {
			return err
		}
		if who == "-" {
			who = ""
		}
		s.step(ledger.OperatorCall{Call: call, Principal: who, Ticket: 3})
		return nil
	}
	return fmt.Errorf("unknown command")
}

// noteOperation names the uuids of operations as they start: $op0, $op1 and so on.
func (s *stage) noteOperation(effect ledger.Effect) {
	if to, ok := effect.(ledger.ToAgent); ok {
		if m, ok := to.Message.(*messages.ApplyOperationMessage); ok {
			s.names = append(s.names, fmt.Sprintf("$op%d", s.operations), base64.StdEncoding.EncodeToString(m.GetOperationUuid().GetValue()))
			s.operations++
		}
	}
}

// showOperations prints what an agent was told to apply.
func (s *stage) showOperations(a *ledger.AgentView) {
	for _, o := range a.Operations {
		fmt.Fprintf(s.out, "    operation %x %s %s of %s\n", o.GetUuid().GetValue()[:4], o.GetInfo().GetType(), o.GetLatestStatus().GetState(), o.GetFrameworkId().GetValue())
	}
	for _, p := range a.Providers {
		fmt.Fprintf(s.out, "    provider %s %v\n", p.Info.GetId().GetValue(), p.Total)
	}
}

func operationEvent(e *scheduler.Event) string {
	text, err := wire.MarshalJSON(e.GetUpdateOperationStatus().GetStatus())
	if err != nil {
		return err.Error()
	}
	return "UPDATE_OPERATION_STATUS " + string(text)
}

// operationText leaves out what the uuid is: a hash that says nothing.
func operationText(m *messages.ApplyOperationMessage) string {
	text, err := wire.MarshalJSON(m.GetOperationInfo())
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%x of %s provider=%s version=%s %s", m.GetOperationUuid().GetValue()[:4], m.GetFrameworkId().GetValue(),
		m.GetResourceVersionUuid().GetResourceProviderId().GetValue(), m.GetResourceVersionUuid().GetUuid().GetValue(), text)
}

func groupText(m *messages.RunTaskGroupMessage) string {
	var tasks []string
	for _, t := range m.GetTaskGroup().GetTasks() {
		tasks = append(tasks, fmt.Sprintf("%s executor=%s {%v}", t.GetTaskId().GetValue(), t.GetExecutor().GetExecutorId().GetValue(), resource.Of(t.GetResources()...)))
	}
	return fmt.Sprintf("executor=%s launch_executor=%v {%v}: %s", m.GetExecutor().GetExecutorId().GetValue(), m.GetLaunchExecutor(),
		resource.Of(m.GetExecutor().GetResources()...), strings.Join(tasks, "; "))
}
