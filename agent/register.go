package agent

import (
	"context"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent/executors"
	"github.com/stoa-project/stoa/agent/inventory"
	"github.com/stoa-project/stoa/agent/journal"
	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

// slaveInfo describes the agent to masters. Checkpoint must be true, and resources go
// in the form that old masters read where they have one (libprocess.md 3.1, 7 item 15).
func slaveInfo(host inventory.Host, port int32, domain *mesos.DomainInfo) *messages.SlaveInfo {
	rs, _ := resource.Downgrade(host.Resources) // refined ones stay as they are
	return &messages.SlaveInfo{
		Hostname: proto.String(host.Hostname), Port: proto.Int32(port), Resources: rs,
		Attributes: host.Attributes, Checkpoint: proto.Bool(true), Domain: domain,
	}
}

func agentInfo(s *messages.SlaveInfo) *mesos.AgentInfo {
	return &mesos.AgentInfo{
		Hostname: s.Hostname, Port: s.Port, Resources: resource.Upgrade(s.GetResources()), Attributes: s.GetAttributes(), Domain: s.GetDomain(),
	}
}

// incompatible says what forbids the agent of now to go on as the agent of before
// (mesos-agent.md 9), or "".
func incompatible(before, now *messages.SlaveInfo, policy string) string {
	was, is := resource.Upgrade(before.GetResources()), resource.Upgrade(now.GetResources())
	switch {
	case before.GetHostname() != now.GetHostname():
		return fmt.Sprintf("the host name was %q and is %q", before.GetHostname(), now.GetHostname())
	case before.GetPort() != now.GetPort():
		return fmt.Sprintf("the port was %d and is %d", before.GetPort(), now.GetPort())
	case policy == "equal" && !(was.Contains(is) && is.Contains(was)):
		return fmt.Sprintf("the resources were %s and are %s", was, is)
	case policy == "additive" && !is.Contains(was):
		return fmt.Sprintf("the resources were %s and are only %s", was, is)
	case (before.GetDomain() != nil || policy == "equal") && !proto.Equal(before.GetDomain(), now.GetDomain()):
		return "the fault domain changed"
	case policy == "equal" && len(before.GetAttributes()) != len(now.GetAttributes()):
		return "the number of attributes changed"
	}
	for _, a := range before.GetAttributes() {
		if !slices.ContainsFunc(now.GetAttributes(), func(b *mesos.Attribute) bool { return keeps(a, b, policy) }) {
			return fmt.Sprintf("attribute %s:%s is gone", a.GetName(), resource.AttributeText(a))
		}
	}
	return ""
}

// keeps tells whether an attribute of now goes on as one of before. Ranges may grow when
// additions are allowed.
func keeps(before, now *mesos.Attribute, policy string) bool {
	if before.GetName() != now.GetName() || before.GetType() != now.GetType() {
		return false
	}
	if policy == "additive" && before.GetType() == mesos.Value_RANGES {
		return resource.RangesOf(now.GetRanges()).Contains(resource.RangesOf(before.GetRanges()))
	}
	return resource.AttributeText(before) == resource.AttributeText(now)
}

// Registration says what the agent has (libprocess.md 3.1 and 3.2).
func (e *engine) Registration(ctx context.Context) (proto.Message, error) {
	v, err := e.View(ctx)
	if err != nil {
		return nil, err
	}
	info := proto.CloneOf(e.info)
	version := &mesos.UUID{Value: e.resourceVersion}
	checkpointed, _ := resource.Downgrade(v.Checkpointed) // refined ones stay as they are
	if v.Agent == "" {
		return &messages.RegisterSlaveMessage{
			Slave: info, Version: proto.String(MesosVersion), AgentCapabilities: capabilities(), ResourceVersionUuid: version,
			CheckpointedResources: checkpointed,
		}, nil
	}
	info.Id = &mesos.AgentID{Value: proto.String(v.Agent)}
	msg := &messages.ReregisterSlaveMessage{
		Slave: info, Version: proto.String(MesosVersion), AgentCapabilities: capabilities(), ResourceVersionUuid: version,
		CheckpointedResources: checkpointed,
	}
	for _, f := range v.Frameworks {
		msg.Frameworks = append(msg.Frameworks, f.Info)
		archive := &messages.Archive_Framework{FrameworkInfo: f.Info, Pid: optional(f.PID)}
		for _, x := range f.Executors {
			// A task whose executor is not listed makes a C++ master drop the whole
			// message (7 item 14), so an executor that ended and still has updates to tell
			// is listed with its tasks.
			if !x.Generated && (x.Phase != "TERMINATED" || len(x.Terminated) > 0) {
				msg.ExecutorInfos = append(msg.ExecutorInfos, x.Info)
			}
			msg.Tasks = append(msg.Tasks, x.QueuedAs...)
			msg.Tasks = append(msg.Tasks, x.Launched...)
			msg.Tasks = append(msg.Tasks, x.Terminated...)
			archive.Tasks = append(archive.Tasks, x.Completed...)
		}
		for _, x := range f.Completed {
			archive.Tasks = append(archive.Tasks, x.Completed...)
		}
		if len(archive.Tasks) > 0 {
			msg.CompletedFrameworks = append(msg.CompletedFrameworks, archive)
		}
	}
	for _, f := range v.Completed {
		archive := &messages.Archive_Framework{FrameworkInfo: f.Info, Pid: optional(f.PID)}
		for _, x := range f.Completed {
			archive.Tasks = append(archive.Tasks, x.Completed...)
		}
		msg.CompletedFrameworks = append(msg.CompletedFrameworks, archive)
	}
	return msg, nil
}

// Report is what follows a registration: operations whose end is not acknowledged yet.
func (e *engine) Report(ctx context.Context, id string) (*messages.UpdateSlaveMessage, error) {
	v, err := e.View(ctx)
	if err != nil {
		return nil, err
	}
	return &messages.UpdateSlaveMessage{
		SlaveId: &mesos.AgentID{Value: proto.String(id)},
		// An empty list would take away what an earlier run of this agent had told.
		UpdateOversubscribedResources: proto.Bool(true), OversubscribedResources: e.extra,
		ResourceVersionUuid: &mesos.UUID{Value: e.resourceVersion},
		Operations:          &messages.UpdateSlaveMessage_Operations{Operations: v.Operations},
		ResourceProviders:   &messages.UpdateSlaveMessage_ResourceProviders{},
	}, nil
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// Registered makes the agent id durable before anything is done under it.
func (e *engine) Registered(ctx context.Context, id string, _ []*messages.ReconcileTasksMessage) error {
	var err error
	if doErr := e.do(ctx, func() {
		if e.jour != nil {
			return // the uplink has compared the ids
		}
		info := proto.CloneOf(e.info)
		info.Id = &mesos.AgentID{Value: proto.String(id)}
		var entry journal.Entry
		if entry, err = journal.AgentEntry(info); err != nil {
			return
		}
		if !safeID(id) {
			err = fault.New("agent.register", fault.Invalid, id, fmt.Errorf("an agent id must be a plain name"))
			return
		}
		e.jour, err = e.meta.Create(id, []journal.Entry{entry}, e.log)
		if err == nil && e.boot != "" {
			err = e.meta.SetBootID(e.boot)
		}
	}); doErr != nil {
		return doErr
	}
	return err
}

func safeID(id string) bool {
	if id == "" || len(id) > 255 || id == "." || id == ".." || id == "latest" {
		return false
	}
	for _, c := range []byte(id) {
		if c == '/' || c < 0x21 || c == 0x7f {
			return false
		}
	}
	return true
}

// Lost pauses the updates.
func (e *engine) Lost(ctx context.Context) { e.post(ctx, lifecycle.Disconnected{}) }

// Deliver passes an event to the core.
func (e *engine) Deliver(ctx context.Context, ev lifecycle.Event) { e.post(ctx, ev) }

// Shutdown ends the agent as its master wants it.
func (e *engine) Shutdown(_ context.Context, message string) {
	select {
	case e.shutdown <- message:
	default: // it is ending already
	}
}

// Phase tells the executor API how far recovery is.
func (e *engine) Phase() executors.Phase { return executors.Phase(e.phase.Load()) }

// Container gives an executor's container to the executor API.
func (e *engine) Container(ctx context.Context, key lifecycle.ExecutorKey) (id lifecycle.ContainerID, err error) {
	err = e.do(ctx, func() { id = e.core.ContainerOf(key) })
	return id, err
}

// Standing tells the executor API what is known of an executor.
func (e *engine) Standing(ctx context.Context, key lifecycle.ExecutorKey) (framework, executor, subscribed bool, err error) {
	err = e.do(ctx, func() { framework, executor, subscribed = e.core.Standing(key) })
	return framework, executor, subscribed, err
}
