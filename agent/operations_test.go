package agent_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/lab/patience"
	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

func held(name string, v float64) *mesos.Resource {
	r := amount(name, v)
	r.AllocationInfo = nil
	r.Reservations = []*mesos.Resource_ReservationInfo{{Type: mesos.Resource_ReservationInfo_DYNAMIC.Enum(), Role: proto.String("dev"), Principal: proto.String("p")}}
	return r
}

func heldVolume(id string, v float64) *mesos.Resource {
	r := held("disk", v)
	r.Disk = &mesos.Resource_DiskInfo{Persistence: &mesos.Resource_DiskInfo_Persistence{Id: &id, Principal: proto.String("p")},
		Volume: &mesos.Volume{ContainerPath: proto.String("data"), Mode: mesos.Volume_RW.Enum()}}
	return r
}

func onOperation(kind mesos.Offer_Operation_Type, rs ...*mesos.Resource) *mesos.Offer_Operation {
	op := &mesos.Offer_Operation{Type: kind.Enum()}
	switch kind {
	case mesos.Offer_Operation_RESERVE:
		op.Reserve = &mesos.Offer_Operation_Reserve{Resources: rs}
	case mesos.Offer_Operation_UNRESERVE:
		op.Unreserve = &mesos.Offer_Operation_Unreserve{Resources: rs}
	case mesos.Offer_Operation_CREATE:
		op.Create = &mesos.Offer_Operation_Create{Volumes: rs}
	case mesos.Offer_Operation_DESTROY:
		op.Destroy = &mesos.Offer_Operation_Destroy{Volumes: rs}
	}
	return op
}

func (m *master) apply(uuid string, op *mesos.Offer_Operation) {
	m.t.Helper()
	m.send(&messages.ApplyOperationMessage{FrameworkId: frameworkID, OperationInfo: op, OperationUuid: &mesos.UUID{Value: []byte(uuid)},
		ResourceVersionUuid: &messages.ResourceVersionUUID{Uuid: &mesos.UUID{Value: []byte{}}}})
}

func (m *master) ackOperation(u *messages.UpdateOperationStatusMessage) {
	m.t.Helper()
	if u.GetStatus().GetUuid() != nil {
		m.send(&messages.AcknowledgeOperationStatusMessage{StatusUuid: u.GetStatus().GetUuid(), OperationUuid: u.GetOperationUuid()})
	}
}

// settled returns when the agent has taken all that was sent to it before: it answers a
// question about an operation that nobody has in the same order.
func (m *master) settled() {
	m.t.Helper()
	m.send(&messages.ReconcileOperationsMessage{Operations: []*messages.ReconcileOperationsMessage_Operation{{OperationUuid: &mesos.UUID{Value: []byte("nobody's")}}}})
	for string(next(m.t, "answer", m.operations).GetOperationUuid().GetValue()) != "nobody's" {
	}
}

// carryOut asks for an operation until it is told as finished, as a master does that
// follows what the agent reports each time it comes back.
func (f *fragile) carryOut(name string, op *mesos.Offer_Operation) {
	f.t.Helper()
	for try := 0; try < 5; try++ {
		uuid := fmt.Sprintf("%s-%d", name, try)
		f.m.apply(uuid, op)
		for deadline := time.Now().Add(patience.For(30 * time.Second)); ; {
			var u *messages.UpdateOperationStatusMessage
			select {
			case u = <-f.m.operations:
			case <-time.After(20 * time.Millisecond):
				if f.revive() {
					f.m.send(&messages.ReconcileOperationsMessage{Operations: []*messages.ReconcileOperationsMessage_Operation{{OperationUuid: &mesos.UUID{Value: []byte(uuid)}}}})
				}
				if time.Now().After(deadline) {
					f.t.Fatalf("%s: nothing is told", uuid)
				}
				continue
			}
			if string(u.GetOperationUuid().GetValue()) != uuid {
				f.m.ackOperation(u) // an earlier one again
				continue
			}
			switch u.GetStatus().GetState() {
			case mesos.OperationState_OPERATION_FINISHED:
				f.m.ackOperation(u)
				return
			case mesos.OperationState_OPERATION_DROPPED: // it never came to the agent
			default:
				f.t.Fatalf("%s: %v", uuid, u)
			}
			break
		}
	}
	f.t.Fatalf("%s is never carried out", name)
}

// answers returns when an agent lives that answers; what it said before is dropped.
func (f *fragile) answers() {
	f.t.Helper()
	f.eventually("an answer", func() bool {
		f.revive()
		f.m.send(&messages.ReconcileOperationsMessage{Operations: []*messages.ReconcileOperationsMessage_Operation{{OperationUuid: &mesos.UUID{Value: []byte("nobody's")}}}})
		for {
			select {
			case u := <-f.m.operations:
				if string(u.GetOperationUuid().GetValue()) == "nobody's" {
					return true
				}
				f.m.ackOperation(u)
			case <-time.After(300 * time.Millisecond):
				return false
			}
		}
	})
}

// kill -9 of the agent at every step of an operation: the reservation and the volume are
// there as a whole or not at all, what is told is true, and what a task wrote stays.
func TestOperationsSurviveCrashes(t *testing.T) {
	for _, step := range []string{"none", "agent.volumes-made", "agent.resources-recorded", "agent.operation-told", "volume.moved"} {
		for _, at := range []string{"reserve", "create", "destroy", "unreserve"} {
			if step == "none" && at != "reserve" || step == "volume.moved" && at != "destroy" {
				continue // nothing is moved there; and without a crash one run is enough
			}
			t.Run(step+" "+at, func(t *testing.T) {
				t.Parallel()
				operationsSurvive(t, step, at)
			})
		}
	}
}

func operationsSurvive(t *testing.T, step, at string) {
	f := newFragile(t)
	arm := func(name string) {
		if name == at && step != "none" {
			f.arm(step)
		}
	}
	volume := heldVolume("v", 60)
	files := filepath.Join(f.cfg.WorkDir, "volumes", "roles", "dev", "v")
	arm("reserve")
	f.carryOut("reserve", onOperation(mesos.Offer_Operation_RESERVE, held("disk", 100)))
	arm("create")
	f.carryOut("create", onOperation(mesos.Offer_Operation_CREATE, volume))
	if at == "create" {
		f.eventually("the crash", func() bool { return f.fired(step) })
	}
	f.answers()
	used := proto.CloneOf(volume)
	used.AllocationInfo = &mesos.Resource_AllocationInfo{Role: proto.String("dev")}
	f.m.run(task("S0", "t", "echo kept > data/file", func(t *mesos.TaskInfo) { t.Resources = append(t.Resources, used) }))
	f.m.expect("t", mesos.TaskState_TASK_FINISHED)

	f.stop(syscall.SIGKILL)
	for len(f.m.reregistrations) > 0 { // repetitions of the one before
		<-f.m.reregistrations
	}
	f.start()
	back := next(t, "re-registration", f.m.reregistrations)
	if got := resource.Of(back.GetCheckpointedResources()...); !got.Equal(resource.Of(held("disk", 40), volume)) {
		t.Errorf("the agent came back with %v", got)
	}
	f.m.send(&messages.SlaveReregisteredMessage{SlaveId: agentID("S0")})
	next(t, "UpdateSlave", f.m.agents)
	if b, err := os.ReadFile(filepath.Join(files, "file")); err != nil || string(b) != "kept\n" {
		t.Errorf("the volume holds %q %v", b, err)
	}
	arm("destroy")
	f.carryOut("destroy", onOperation(mesos.Offer_Operation_DESTROY, volume))
	arm("unreserve")
	f.carryOut("unreserve", onOperation(mesos.Offer_Operation_UNRESERVE, held("disk", 100)))
	f.eventually("the crash", func() bool { return step == "none" || f.fired(step) })
	f.revive()
	f.eventually("the end of the files", func() bool {
		_, err := os.Stat(files)
		left, _ := os.ReadDir(filepath.Join(f.cfg.WorkDir, "volumes", ".destroyed"))
		return os.IsNotExist(err) && len(left) == 0
	})
	f.stop(syscall.SIGKILL)
	for len(f.m.reregistrations) > 0 {
		<-f.m.reregistrations
	}
	f.start()
	if back := f.m.reregister("S0"); len(back.GetCheckpointedResources()) != 0 {
		t.Errorf("the agent came back with %v", back.GetCheckpointedResources())
	}
}

// A full disk: what cannot be kept fails with the reason and changes nothing; when there
// is room again it works, and a restart shows the same.
func TestOperationsOnAFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		return // only root can mount
	}
	m := newMaster(t, 0)
	p := newProcess(t, m)
	if err := syscall.Mount("stoa-test", p.cfg.WorkDir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Unmount(p.cfg.WorkDir, syscall.MNT_DETACH) })
	p.start()
	m.register("S0")
	finish := func(uuid string, op *mesos.Offer_Operation) *mesos.OperationStatus {
		t.Helper()
		m.apply(uuid, op)
		for {
			u := next(t, "status of "+uuid, m.operations)
			m.ackOperation(u)
			if string(u.GetOperationUuid().GetValue()) == uuid {
				return u.GetStatus()
			}
		}
	}
	if st := finish("1", onOperation(mesos.Offer_Operation_RESERVE, held("disk", 100))); st.GetState() != mesos.OperationState_OPERATION_FINISHED {
		t.Fatal(st)
	}
	m.settled()
	filler := filepath.Join(p.cfg.WorkDir, "filler")
	fill(t, filler)
	large := held("mem", 100) // more than the last page has room for
	large.Reservations[0].Labels = &mesos.Labels{Labels: []*mesos.Label{{Key: proto.String(strings.Repeat("k", 1<<15))}}}
	st := finish("2", onOperation(mesos.Offer_Operation_RESERVE, large))
	if st.GetState() != mesos.OperationState_OPERATION_FAILED || !strings.Contains(st.GetMessage(), "no space left on device") {
		t.Errorf("%v", st)
	}
	if got := p.get("/state"); strings.Contains(string(got), "kkkk") {
		t.Errorf("what was not kept is shown: %s", got)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if st := finish("4", onOperation(mesos.Offer_Operation_CREATE, heldVolume("v", 60))); st.GetState() != mesos.OperationState_OPERATION_FINISHED {
		t.Errorf("%v", st)
	}
	p.stop(syscall.SIGKILL)
	p.start()
	if back := m.reregister("S0"); !resource.Of(back.GetCheckpointedResources()...).Equal(resource.Of(held("disk", 40), heldVolume("v", 60))) {
		t.Errorf("the agent came back with %v", back.GetCheckpointedResources())
	}
}

// fill writes until the disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 4096); err == nil; {
		_, err = f.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

// An agent that is started with less than it promised does not start, and says what to do.
func TestPromisesNeedTheirResources(t *testing.T) {
	m := newMaster(t, 0)
	p := newProcess(t, m)
	p.start()
	m.register("S0")
	m.apply("1", onOperation(mesos.Offer_Operation_RESERVE, held("disk", 1000)))
	m.ackOperation(next(t, "status", m.operations))
	m.settled()
	p.stop(syscall.SIGTERM)
	given := p.cfg.Resources
	p.cfg.Resources = strings.Replace(given, "disk:1024", "disk:512", 1)
	p.start()
	if err := <-p.done; err == nil || !strings.Contains(p.out.String(), "has no place in them: give at least what there was") {
		t.Errorf("%v: %s", err, p.out.String())
	}
	p.cmd, p.cfg.Resources = nil, given
}
