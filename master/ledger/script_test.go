package ledger_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
	"github.com/stoa-project/stoa/master/allocate"
	"github.com/stoa-project/stoa/master/ledger"
)

var rewrite = flag.Bool("rewrite", false, "write the scripts' expected output anew")

// TestScripts plays each file of testdata: lines "> command" go in, the lines after
// them are the effects that must come out. -rewrite writes the files anew.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, text)
			if *rewrite {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if !bytes.Equal(got, text) {
				t.Errorf("other effects than written (run with -rewrite and look at the difference):\n%s", diff(text, got))
			}
		})
	}
}

func diff(want, got []byte) string {
	w, g := strings.Split(string(want), "\n"), strings.Split(string(got), "\n")
	for i := 0; i < len(w) || i < len(g); i++ {
		a, b := "", ""
		if i < len(w) {
			a = w[i]
		}
		if i < len(g) {
			b = g[i]
		}
		if a != b {
			return fmt.Sprintf("line %d\n want %s\n got  %s", i+1, a, b)
		}
	}
	return ""
}

func play(t *testing.T, text []byte) []byte {
	var out bytes.Buffer
	s := newStage(&out)
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "#"), line == "":
			fmt.Fprintln(&out, line)
		case strings.HasPrefix(line, "= "): // = NAME TEXT: $NAME stands for TEXT from here on
			fmt.Fprintln(&out, line)
			name, text, _ := strings.Cut(line[2:], " ")
			s.names = append(s.names, "$"+name, s.expand(text))
		case strings.HasPrefix(line, "> "):
			fmt.Fprintln(&out, line)
			if err := s.command(s.expand(line[2:])); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
		}
	}
	return out.Bytes()
}

// stage is a ledger with its allocator, a virtual clock and a registry that is always
// quick (unless "registry hold").
type stage struct {
	out        *bytes.Buffer
	now        time.Time
	book       *ledger.Ledger
	al         *allocate.Allocator
	hold       bool
	held       []ledger.Ticket
	alive      bool     // every ping is answered
	names      []string // pairs for a Replacer
	operations int      // started so far

	master     *mesos.MasterInfo
	generation map[ledger.AgentID]uint64
	facts      []ledger.Registry // all the registry was told, in order
}

func newStage(out *bytes.Buffer) *stage {
	m := &mesos.MasterInfo{Id: proto.String("M"), Ip: proto.Uint32(16777343), Port: proto.Uint32(5050)}
	return &stage{out: out, now: time.Unix(1_000_000, 0).UTC(), al: allocate.New(allocate.Config{}),
		master: m, generation: map[ledger.AgentID]uint64{},
		book: ledger.New(ledger.Config{Master: m, MaxCompletedTasks: 3, MaxCompleted: 2})}
}

func (s *stage) step(e ledger.Event) {
	var done []ledger.Ticket
	var pongs []ledger.PID
	for _, effect := range s.book.Step(s.now, e) {
		s.al.Apply(s.now, effect)
		s.noteOperation(effect)
		if r, ok := effect.(ledger.Registry); ok {
			done = append(done, r.Ticket)
			s.facts = append(s.facts, r)
		}
		if o, ok := effect.(ledger.AgentOpen); ok {
			s.generation[o.Agent] = o.Generation
		}
		if m, ok := effect.(ledger.ToAgent); ok && s.alive {
			if _, ping := m.Message.(*messages.PingSlaveMessage); ping {
				pongs = append(pongs, m.PID)
				continue
			}
		}
		if text := show(effect); text != "" {
			fmt.Fprintln(s.out, text)
		}
	}
	for _, from := range pongs {
		s.step(ledger.AgentMessage{From: from, Message: &messages.PongSlaveMessage{}})
	}
	if s.hold {
		s.held = append(s.held, done...)
		return
	}
	if len(done) > 0 {
		s.step(ledger.RegistryDone{Tickets: done})
	}
}

func (s *stage) command(line string) error {
	words := strings.Fields(line)
	arg := map[string]string{}
	for _, w := range words[1:] {
		k, v, _ := strings.Cut(w, "=")
		arg[k] = v
	}
	_, rest, _ := strings.Cut(line, " ")
	switch words[0] {
	case "recovered":
		e := ledger.Recovered{}
		for _, w := range words[1:] {
			e.Admitted = append(e.Admitted, ledger.Admission{Info: &mesos.AgentInfo{Hostname: proto.String("h"), Id: &mesos.AgentID{Value: proto.String(w)}}})
		}
		s.step(e)
	case "agent": // agent from=PID MESSAGE-JSON
		return s.agentMessage(rest)
	case "exited":
		s.step(ledger.AgentExited{PID: ledger.PID(words[1])})
	case "call": // call CONN CALL-JSON
		conn, body, _ := strings.Cut(rest, " ")
		call := &scheduler.Call{}
		if err := wire.UnmarshalJSON([]byte(body), call); err != nil {
			return err
		}
		s.step(ledger.Call{From: connOf(conn), Call: call, Ticket: 1})
	case "lost":
		s.step(ledger.ConnectionLost{Conn: connOf(words[1]), Reason: "the stream ended"})
	case "allocate":
		if g := s.al.Run(s.now); len(g) > 0 {
			s.step(ledger.Grants{Grants: g})
		}
	case "inverse": // the allocator wishes inverse offers: inverse FRAMEWORK AGENT
		for _, a := range s.book.Snapshot().Agents {
			if string(a.ID) == words[2] {
				s.step(ledger.InverseGrants{Grants: []ledger.InverseGrant{{Framework: ledger.FrameworkID(words[1]), Agent: a.ID, Generation: s.generation[a.ID]}}})
			}
		}
	case "operator": // operator CALL-JSON
		call := &masterapi.Call{}
		if err := wire.UnmarshalJSON([]byte(rest), call); err != nil {
			return err
		}
		s.step(ledger.OperatorCall{Call: call, Ticket: 3})
	case "config": // config CONFIG-JSON: a ledger with these settings, before anything else
		cfg := ledger.Config{}
		if err := json.Unmarshal([]byte(rest), &cfg); err != nil {
			return err
		}
		cfg.Master = s.master
		s.book = ledger.New(cfg)
	case "counters": // of agents that leave
		c := s.book.Snapshot().Counters
		fmt.Fprintf(s.out, "  unreachable: scheduled %d completed %d canceled %d; removals %d unhealthy %d recovery %d\n", c.UnreachableScheduled,
			c.UnreachableCompleted, c.UnreachableCanceled, c.AgentRemovals, c.RemovedUnhealthy, c.RecoveryRemovals)
	case "restart": // a new term with what the registry was told so far
		s.restart()
	case "wait": // time passes, timers fire, nothing is allocated
		d, err := time.ParseDuration(words[1])
		if err != nil {
			return err
		}
		end := s.now.Add(d)
		for {
			at, any := s.book.Next()
			if !any || at.After(end) {
				break
			}
			s.now = at
			s.step(ledger.Tick{})
		}
		s.now = end
	case "alive": // from now on pings are answered, and not shown
		s.alive = true
	case "silent":
		s.alive = false
	case "hold":
		s.hold = true
	case "durable":
		s.hold = false
		held := s.held
		s.held = nil
		s.step(ledger.RegistryDone{Tickets: held})
	case "teardown":
		s.step(ledger.Teardown{Framework: ledger.FrameworkID(words[1]), Ticket: 2})
	case "show":
		s.show()
	default:
		return s.operationCommand(words[0], rest)
	}
	_ = arg
	return nil
}

func connOf(s string) ledger.Conn {
	if strings.Contains(s, "@") {
		return ledger.Conn{PID: ledger.PID(s)}
	}
	return ledger.Conn{Stream: s}
}

var agentMessages = map[string]proto.Message{
	"register":   &messages.RegisterSlaveMessage{},
	"reregister": &messages.ReregisterSlaveMessage{},
	"unregister": &messages.UnregisterSlaveMessage{},
	"pong":       &messages.PongSlaveMessage{},
	"update":     &messages.StatusUpdateMessage{},
	"exited":     &messages.ExitedExecutorMessage{},
	"report":     &messages.UpdateSlaveMessage{},
	"message":    &messages.ExecutorToFrameworkMessage{},
	"resources":  &messages.UpdateSlaveMessage{},
	"operation":  &messages.UpdateOperationStatusMessage{},
}

func (s *stage) agentMessage(rest string) error {
	from, rest, _ := strings.Cut(rest, " ")
	name, body, _ := strings.Cut(rest, " ")
	kind, known := agentMessages[name]
	if !known {
		return fmt.Errorf("unknown agent message %q", name)
	}
	m := kind.ProtoReflect().New().Interface()
	if body == "" {
		body = "{}"
	}
	if err := wire.UnmarshalJSON([]byte(body), m); err != nil {
		return err
	}
	s.step(ledger.AgentMessage{From: ledger.PID(from), Message: m})
	return nil
}

// show prints the whole book.
func (s *stage) show() {
	snap := s.book.Snapshot()
	for _, a := range snap.Agents {
		fmt.Fprintf(s.out, "  agent %s connected=%v total %v used %v offered %v%s\n", a.ID, a.Connected, a.Total, a.Used, a.Offered, standingText(a.Standing))
		s.showOperations(a)
	}
	for _, r := range snap.Recovered {
		fmt.Fprintf(s.out, "  recovered %s\n", r.GetId().GetValue())
	}
	for _, u := range snap.Unreachable {
		fmt.Fprintf(s.out, "  unreachable %s%s\n", u.Agent, standingText(u.Standing))
	}
	for _, g := range snap.Gone {
		fmt.Fprintf(s.out, "  gone %s\n", g.Agent)
	}
	for _, f := range snap.Frameworks {
		showFramework(s.out, "framework", f)
	}
	for _, f := range snap.Completed {
		showFramework(s.out, "completed", f)
	}
	showPolicies(s.out, snap.Policies)
}

func showFramework(out *bytes.Buffer, what string, f *ledger.FrameworkView) {
	fmt.Fprintf(out, "  %s %s active=%v connected=%v recovered=%v used %v offered %v\n", what, f.ID, f.Active, f.Connected, f.Recovered, f.Used, f.Offered)
	for kind, list := range map[string][]*mesos.Task{"task": f.Tasks} {
		for _, t := range list {
			fmt.Fprintf(out, "    %s %s %s on %s\n", kind, t.GetTaskId().GetValue(), t.GetState(), t.GetAgentId().GetValue())
		}
	}
	for _, t := range f.Unreachable {
		fmt.Fprintf(out, "    unreachable %s %s\n", t.GetTaskId().GetValue(), t.GetState())
	}
	for _, t := range f.CompletedT {
		fmt.Fprintf(out, "    ended %s %s\n", t.GetTaskId().GetValue(), t.GetState())
	}
}

// show prints an effect on one line; what only moves numbers in the allocator is left out.
func show(effect ledger.Effect) string {
	switch e := effect.(type) {
	case ledger.ToFramework:
		return fmt.Sprintf("  -> framework %s %s%s", e.To.Stream, e.To.PID, event(e.Event))
	case ledger.CloseFramework:
		return fmt.Sprintf("  close %s%s: %s", e.To.Stream, e.To.PID, e.Reason)
	case ledger.LinkPID:
		return fmt.Sprintf("  link %s", e.PID)
	case ledger.ToAgent:
		return fmt.Sprintf("  -> %s %s %s", e.PID, e.Message.ProtoReflect().Descriptor().Name(), agentText(e.Message))
	case ledger.Answer:
		return strings.TrimRight(fmt.Sprintf("  answer %d %s", e.Code, e.Body), " ")
	case ledger.Registry:
		return registryText(e)
	case ledger.Operator:
		return fmt.Sprintf("  operators %s", e.Event.GetType())
	case ledger.Note:
		return fmt.Sprintf("  note %s", e.Text)
	case ledger.Released:
		return fmt.Sprintf("  released %s %s %v declined=%v %v", e.Agent, e.Role, e.Resources.Unallocate(), e.Declined, e.Refuse)
	case ledger.QuotaSet, ledger.WeightSet, ledger.InverseAnswered, ledger.Awaiting, ledger.Abandon:
		return fmt.Sprintf("  %s %+v", strings.TrimPrefix(fmt.Sprintf("%T", e), "ledger."), e)
	case ledger.Converted:
		return fmt.Sprintf("  converted %s %s {%v} -> {%v}", e.Agent, e.Framework, e.From.Unallocate(), e.To.Unallocate())
	case ledger.Taken:
		return fmt.Sprintf("  taken %s %s %v", e.Agent, e.Role, e.Resources.Unallocate())
	}
	return ""
}

func event(e *scheduler.Event) string {
	switch e.GetType() {
	case scheduler.Event_SUBSCRIBED:
		return "SUBSCRIBED " + e.GetSubscribed().GetFrameworkId().GetValue()
	case scheduler.Event_OFFERS:
		var list []string
		for _, o := range e.GetOffers().GetOffers() {
			text := fmt.Sprintf("%s %s {%v}", o.GetId().GetValue(), o.GetAgentId().GetValue(), resource.Of(o.GetResources()...))
			if o.Unavailability != nil {
				text += " unavailable"
			}
			list = append(list, text)
		}
		return "OFFERS " + strings.Join(list, ", ")
	case scheduler.Event_RESCIND:
		return "RESCIND " + e.GetRescind().GetOfferId().GetValue()
	case scheduler.Event_UPDATE:
		s := e.GetUpdate().GetStatus()
		text := fmt.Sprintf("UPDATE %s %s", s.GetTaskId().GetValue(), s.GetState())
		if s.Reason != nil {
			text += " " + s.GetReason().String()
		}
		if len(s.GetUuid()) > 0 {
			text += " uuid=" + base64.StdEncoding.EncodeToString(s.GetUuid())
		}
		if s.GetMessage() != "" {
			text += " " + s.GetMessage()
		}
		return text
	case scheduler.Event_FAILURE:
		return fmt.Sprintf("FAILURE %s %s", e.GetFailure().GetAgentId().GetValue(), e.GetFailure().GetExecutorId().GetValue())
	case scheduler.Event_INVERSE_OFFERS:
		var list []string
		for _, o := range e.GetInverseOffers().GetInverseOffers() {
			list = append(list, fmt.Sprintf("%s %s from %d", o.GetId().GetValue(), o.GetAgentId().GetValue(), o.GetUnavailability().GetStart().GetNanoseconds()))
		}
		return "INVERSE_OFFERS " + strings.Join(list, ", ")
	case scheduler.Event_RESCIND_INVERSE_OFFER:
		return "RESCIND_INVERSE_OFFER " + e.GetRescindInverseOffer().GetInverseOfferId().GetValue()
	case scheduler.Event_ERROR:
		return "ERROR " + e.GetError().GetMessage()
	}
	if e.GetType() == scheduler.Event_UPDATE_OPERATION_STATUS {
		return operationEvent(e)
	}
	return e.GetType().String()
}

func agentText(m proto.Message) string {
	switch m := m.(type) {
	case *messages.RunTaskMessage:
		return fmt.Sprintf("%s pid=%s launch_executor=%v {%v}", m.GetTask().GetTaskId().GetValue(), m.GetPid(), m.GetLaunchExecutor(), resource.Of(m.GetTask().GetResources()...))
	case *messages.RunTaskGroupMessage:
		return groupText(m)
	case *messages.CheckpointResourcesMessage:
		return resource.Of(m.GetResources()...).String()
	case *messages.ApplyOperationMessage:
		return operationText(m)
	case *messages.UpdateFrameworkMessage:
		return m.GetFrameworkId().GetValue()
	}
	text, err := wire.MarshalJSON(m)
	if err != nil {
		return err.Error()
	}
	return string(text)
}
