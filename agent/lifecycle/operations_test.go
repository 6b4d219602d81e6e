package lifecycle

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

func reserved(name string, amount float64, roles ...string) *mesos.Resource {
	r := scalar(name, amount, "")
	for _, role := range roles {
		r.Reservations = append(r.Reservations, &mesos.Resource_ReservationInfo{
			Type: mesos.Resource_ReservationInfo_DYNAMIC.Enum(), Role: ptr(role), Principal: ptr("p")})
	}
	return r
}

func volumeOf(id string, amount float64) *mesos.Resource {
	r := reserved("disk", amount, "db")
	r.Disk = &mesos.Resource_DiskInfo{
		Persistence: &mesos.Resource_DiskInfo_Persistence{Id: ptr(id), Principal: ptr("p")},
		Volume:      &mesos.Volume{ContainerPath: ptr("data"), Mode: mesos.Volume_RW.Enum()},
	}
	return r
}

func onDisk(r *mesos.Resource, kind mesos.Resource_DiskInfo_Source_Type, root string) *mesos.Resource {
	if r.Disk == nil {
		r.Disk = &mesos.Resource_DiskInfo{}
	}
	r.Disk.Source = &mesos.Resource_DiskInfo_Source{Type: kind.Enum()}
	switch kind {
	case mesos.Resource_DiskInfo_Source_MOUNT:
		r.Disk.Source.Mount = &mesos.Resource_DiskInfo_Source_Mount{Root: ptr(root)}
	case mesos.Resource_DiskInfo_Source_PATH:
		r.Disk.Source.Path = &mesos.Resource_DiskInfo_Source_Path{Root: ptr(root)}
	}
	return r
}

func reserve(rs ...*mesos.Resource) *mesos.Offer_Operation {
	return &mesos.Offer_Operation{Type: mesos.Offer_Operation_RESERVE.Enum(), Reserve: &mesos.Offer_Operation_Reserve{Resources: rs}}
}

func unreserve(rs ...*mesos.Resource) *mesos.Offer_Operation {
	return &mesos.Offer_Operation{Type: mesos.Offer_Operation_UNRESERVE.Enum(), Unreserve: &mesos.Offer_Operation_Unreserve{Resources: rs}}
}

func create(vs ...*mesos.Resource) *mesos.Offer_Operation {
	return &mesos.Offer_Operation{Type: mesos.Offer_Operation_CREATE.Enum(), Create: &mesos.Offer_Operation_Create{Volumes: vs}}
}

func destroy(vs ...*mesos.Resource) *mesos.Offer_Operation {
	return &mesos.Offer_Operation{Type: mesos.Offer_Operation_DESTROY.Enum(), Destroy: &mesos.Offer_Operation_Destroy{Volumes: vs}}
}

func grow(v, by *mesos.Resource) *mesos.Offer_Operation {
	return &mesos.Offer_Operation{Type: mesos.Offer_Operation_GROW_VOLUME.Enum(),
		GrowVolume: &mesos.Offer_Operation_GrowVolume{Volume: v, Addition: by}}
}

func shrink(v *mesos.Resource, by float64) *mesos.Offer_Operation {
	return &mesos.Offer_Operation{Type: mesos.Offer_Operation_SHRINK_VOLUME.Enum(),
		ShrinkVolume: &mesos.Offer_Operation_ShrinkVolume{Volume: v, Subtract: &mesos.Value_Scalar{Value: ptr(by)}}}
}

// apply plays an operation; n is its uuid.
func (w *world) apply(n byte, op *mesos.Offer_Operation) {
	w.step(ApplyOperation{Framework: "F", Info: op, UUID: []byte{n}})
}

func (w *world) ackOperation(n byte) {
	for i := len(w.ops) - 1; i >= 0; i-- {
		if m := w.ops[i]; m.GetOperationUuid().GetValue()[0] == n {
			w.step(AcknowledgeOperation{Operation: []byte{n}, Status: m.GetStatus().GetUuid().GetValue()})
			return
		}
	}
	w.t.Fatalf("operation %d was never told", n)
}

// last is the state that was told last.
func (w *world) last() mesos.OperationState {
	return w.ops[len(w.ops)-1].GetStatus().GetState()
}

func host() []*mesos.Resource {
	return []*mesos.Resource{scalar("cpus", 4, ""), scalar("mem", 1024, ""), scalar("disk", 1000, ""),
		onDisk(scalar("disk", 500, ""), mesos.Resource_DiskInfo_Source_MOUNT, "/mnt/a")}
}

var operationScenarios = map[string]func(w *world){
	"operations": func(w *world) {
		w.apply(1, reserve(reserved("cpus", 1, "db"), reserved("disk", 300, "db")))
		w.sleep(10 * time.Second) // repeated
		w.step(Disconnected{})
		w.step(Registered{Agent: "S0"}) // repeated at once
		w.ackOperation(1)
		w.apply(2, create(volumeOf("v", 100)))
		w.apply(2, create(volumeOf("v", 100))) // the master repeats itself
		w.ackOperation(2)
		w.run(commandTask("t", func(t *mesos.TaskInfo) { t.Resources = append(t.Resources, volumeOf("v", 100)) }))
		w.apply(3, destroy(volumeOf("v", 100))) // in use
		w.step(Started{Container: w.box["t"], PID: 7})
		w.step(Exited{Container: w.box["t"], Exit: ended(0)})
		for range 3 {
			w.ack("t")
		}
		w.apply(4, grow(volumeOf("v", 100), reserved("disk", 50, "db")))
		w.apply(5, shrink(volumeOf("v", 150), 130))
		w.apply(6, destroy(volumeOf("v", 20)))
		w.step(VolumesRemoved{Volumes: []*mesos.Resource{volumeOf("v", 20)}})
		w.apply(7, unreserve(reserved("cpus", 1, "db"), reserved("disk", 300, "db")))
		w.step(AcknowledgeOperation{Operation: []byte{7}, Status: []byte("another")})
		w.step(ReconcileOperations{Operations: []*messages.ReconcileOperationsMessage_Operation{
			{OperationUuid: &mesos.UUID{Value: []byte{7}}}, {OperationUuid: &mesos.UUID{Value: []byte{99}}}}})
		w.step(ReconcileOperations{Framework: "F", Operations: []*messages.ReconcileOperationsMessage_Operation{
			{OperationUuid: &mesos.UUID{Value: []byte{7}}}, {OperationId: &mesos.OperationID{Value: ptr("mine")}}}})
	},
	"operations-restart": func(w *world) {
		w.apply(1, reserve(reserved("disk", 300, "db")))
		w.ackOperation(1)
		w.apply(2, create(volumeOf("v", 100), volumeOf("gone", 50)))
		w.apply(3, destroy(volumeOf("gone", 50)))
		w.restart(nil, true)
		w.step(RecoveryEnded{})
		w.step(Registered{Agent: "S0"})
		w.ackOperation(2)
		w.ackOperation(3)
	},
	"checkpoint-resources": func(w *world) { // what masters send that know no operations
		w.step(CheckpointResources{Resources: []*mesos.Resource{reserved("disk", 50, "db"), volumeOf("v", 100)}})
		w.step(CheckpointResources{Resources: []*mesos.Resource{reserved("disk", 50, "db"), volumeOf("v", 100)}})
		w.step(CheckpointResources{Resources: []*mesos.Resource{volumeOf("v", 2000)}}) // more than there is
		w.step(CheckpointResources{})
	},
}

func TestOperationScenarios(t *testing.T) {
	for name, play := range operationScenarios {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.own = host()
			w.a = w.agent()
			w.a.Step(w.now, Registered{Agent: "S0"})
			play(w)
			w.compare(name)
		})
	}
}

// TestOperationsRefused: what cannot be kept changes nothing and says why.
func TestOperationsRefused(t *testing.T) {
	mount := func(amount float64) *mesos.Resource {
		return onDisk(volumeOf("m", amount), mesos.Resource_DiskInfo_Source_MOUNT, "/mnt/a")
	}
	named := func(id string) *mesos.Resource { return volumeOf(id, 1) }
	with := func(r *mesos.Resource, f func(*mesos.Resource)) *mesos.Resource { f(r); return r }
	for name, c := range map[string]struct {
		op    *mesos.Offer_Operation
		state mesos.OperationState
		says  string
	}{
		"more than there is":  {reserve(reserved("cpus", 5, "db")), mesos.OperationState_OPERATION_ERROR, "does not contain"},
		"not reserved":        {create(volumeOf("v", 1000)), mesos.OperationState_OPERATION_ERROR, "does not contain"},
		"no resources":        {reserve(), mesos.OperationState_OPERATION_ERROR, "names no resources"},
		"empty":               {&mesos.Offer_Operation{}, mesos.OperationState_OPERATION_ERROR, "names no resources"},
		"nil volume":          {grow(nil, nil), mesos.OperationState_OPERATION_ERROR, "names no resources"},
		"part of a mount":     {create(mount(100)), mesos.OperationState_OPERATION_ERROR, "does not contain"},
		"path as id":          {create(named("../../etc")), mesos.OperationState_OPERATION_ERROR, "persistence ID"},
		"dots as id":          {create(named("..")), mesos.OperationState_OPERATION_ERROR, "persistence ID"},
		"path as role":        {create(with(named("v"), func(r *mesos.Resource) { r.Reservations[0].Role = ptr("../x") })), mesos.OperationState_OPERATION_ERROR, "Role '../x'"},
		"of a provider":       {reserve(with(reserved("disk", 1, "db"), func(r *mesos.Resource) { r.ProviderId = &mesos.ResourceProviderID{Value: ptr("rp")} })), mesos.OperationState_OPERATION_ERROR, "resource provider 'rp'"},
		"raw disk":            {reserve(onDisk(reserved("disk", 1, "db"), mesos.Resource_DiskInfo_Source_RAW, "")), mesos.OperationState_OPERATION_ERROR, "type RAW"},
		"profile":             {reserve(with(onDisk(reserved("disk", 1, "db"), mesos.Resource_DiskInfo_Source_PATH, "/p"), func(r *mesos.Resource) { r.Disk.Source.Profile = ptr("fast") })), mesos.OperationState_OPERATION_ERROR, "profile 'fast'"},
		"disk operation":      {&mesos.Offer_Operation{Type: mesos.Offer_Operation_CREATE_DISK.Enum(), CreateDisk: &mesos.Offer_Operation_CreateDisk{Source: scalar("disk", 1, "")}}, mesos.OperationState_OPERATION_ERROR, "no resource provider for operation CREATE_DISK"},
		"negative":            {reserve(reserved("cpus", -1, "db")), mesos.OperationState_OPERATION_ERROR, "invalid resources"},
		"another's volume":    {destroy(volumeOf("other", 1)), mesos.OperationState_OPERATION_ERROR, "does not contain"},
		"shrink to below nil": {shrink(volumeOf("v", 100), 1000), mesos.OperationState_OPERATION_ERROR, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.own = host()
			w.a = w.agent()
			w.a.Step(w.now, Registered{Agent: "S0"})
			w.apply(1, reserve(reserved("disk", 300, "db")))
			before := w.a.View()
			w.apply(2, c.op)
			st := w.ops[len(w.ops)-1].GetStatus()
			if st.GetState() != c.state || !strings.Contains(st.GetMessage(), c.says) || st.GetUuid() == nil {
				t.Errorf("%v", st)
			}
			after := w.a.View()
			if !resource.Resources(after.Total).Equal(before.Total) || !resource.Resources(after.Checkpointed).Equal(before.Checkpointed) {
				t.Errorf("resources became %v", resource.Resources(after.Total))
			}
		})
	}
}

func TestOutdatedOperationIsDropped(t *testing.T) {
	w := newWorld(t)
	w.own = host()
	w.a = New(Config{Info: &mesos.AgentInfo{Resources: w.own}, ResourceVersion: []byte("now"), NewID: func() [16]byte { return [16]byte{1} }})
	w.a.Step(w.now, Registered{Agent: "S0"})
	w.step(ApplyOperation{Info: reserve(reserved("cpus", 1, "db")), UUID: []byte{1}, Version: []byte("then")})
	if w.last() != mesos.OperationState_OPERATION_DROPPED || len(w.a.View().Checkpointed) != 0 {
		t.Errorf("%v, %v", w.ops, w.a.View().Checkpointed)
	}
	w.step(ApplyOperation{Info: reserve(reserved("cpus", 1, "db")), UUID: []byte{2}, Version: []byte("now")})
	if w.last() != mesos.OperationState_OPERATION_FINISHED || len(w.a.View().Checkpointed) != 1 {
		t.Errorf("%v, %v", w.ops, w.a.View().Checkpointed)
	}
}

// TestUnsavedIsTakenBack: an operation whose outcome did not reach the disk failed.
func TestUnsavedIsTakenBack(t *testing.T) {
	w := newWorld(t)
	w.own = host()
	w.a = w.agent()
	w.a.Step(w.now, Registered{Agent: "S0"})
	w.apply(1, reserve(reserved("disk", 300, "db")))
	before := w.a.View()
	w.apply(2, create(volumeOf("v", 100)))
	w.step(Unsaved{Message: "no space left on device"})
	after := w.a.View()
	if !resource.Resources(after.Total).Equal(before.Total) || w.last() != mesos.OperationState_OPERATION_FAILED ||
		!strings.Contains(w.ops[len(w.ops)-1].GetStatus().GetMessage(), "no space left") {
		t.Errorf("%v, %v", after.Total, w.ops)
	}
	w.apply(3, destroy(volumeOf("none", 1))) // refused; and that cannot be recorded either
	w.step(Unsaved{Message: "no space left on device"})
	if now := w.a.View(); !resource.Resources(now.Total).Equal(before.Total) {
		t.Errorf("a change of long ago was taken back: %v", now.Total)
	}
	w.apply(4, create(volumeOf("v", 100)))
	if w.last() != mesos.OperationState_OPERATION_FINISHED {
		t.Errorf("%v", w.ops[len(w.ops)-1])
	}
}

// TestMountDiskBusy: a disk that is being emptied takes no new volume.
func TestMountDiskBusy(t *testing.T) {
	w := newWorld(t)
	w.own = host()
	w.a = w.agent()
	w.a.Step(w.now, Registered{Agent: "S0"})
	disk := onDisk(reserved("disk", 500, "db"), mesos.Resource_DiskInfo_Source_MOUNT, "/mnt/a")
	one := onDisk(volumeOf("one", 500), mesos.Resource_DiskInfo_Source_MOUNT, "/mnt/a")
	two := onDisk(volumeOf("two", 500), mesos.Resource_DiskInfo_Source_MOUNT, "/mnt/a")
	w.apply(1, reserve(disk))
	w.apply(2, create(one))
	w.apply(3, destroy(one))
	w.apply(4, create(two))
	if st := w.ops[len(w.ops)-1].GetStatus(); st.GetState() != mesos.OperationState_OPERATION_FAILED || !strings.Contains(st.GetMessage(), "still being removed") {
		t.Errorf("%v", st)
	}
	w.step(VolumesRemoved{Volumes: []*mesos.Resource{one}})
	w.apply(5, create(two))
	if w.last() != mesos.OperationState_OPERATION_FINISHED {
		t.Errorf("%v", w.ops[len(w.ops)-1])
	}
}

// TestUnplaced: an agent that was started with less must not forget what it promised.
func TestUnplaced(t *testing.T) {
	kept := []*mesos.Resource{reserved("cpus", 1, "db"), volumeOf("v", 900)}
	if m := Unplaced(host(), kept); m != nil {
		t.Errorf("%v", m)
	}
	if m := Unplaced([]*mesos.Resource{scalar("cpus", 4, ""), scalar("disk", 800, "")}, kept); len(m) != 1 || m[0].GetDisk().GetPersistence().GetId() != "v" {
		t.Errorf("%v", m)
	}
	refined := []*mesos.Resource{reserved("cpus", 1, "db", "db/a"), reserved("cpus", 1, "db")}
	if m := Unplaced(host(), refined); m != nil {
		t.Errorf("%v", m)
	}
}

// The matrix: kill -9 at every point of a row of operations. disk is what a store would
// hold, saved what a journal would.
type crashWorld struct {
	a     *Agent
	saved map[string]Record
	disk  map[string]bool
	told  map[byte]mesos.OperationState
	uuid  map[byte][]byte
	now   time.Time
	id    byte
	point int // of the crash
	at    int // points passed so far
}

func (w *crashWorld) fresh() *Agent {
	return New(Config{Info: &mesos.AgentInfo{Resources: host()}, NewID: func() [16]byte { w.id++; return [16]byte{w.id} }})
}

// crashes tells whether the agent dies here.
func (w *crashWorld) crashes() bool {
	w.at++
	if w.at != w.point {
		return false
	}
	var records []Record
	for _, r := range w.saved {
		records = append(records, r)
	}
	w.a = w.fresh()
	w.perform(w.a.Restore(w.now, "S0", records, nil, false))
	w.perform(w.a.Step(w.now, RecoveryEnded{}))
	w.perform(w.a.Step(w.now, Registered{Agent: "S0"}))
	return true
}

func (w *crashWorld) perform(out Output) {
	for _, ef := range out.Effects {
		switch ef := ef.(type) {
		case MakeVolumes:
			for _, v := range ef.Volumes {
				w.disk[v.GetDisk().GetPersistence().GetId()] = true
			}
		case RemoveVolumes:
			for _, v := range ef.Volumes {
				delete(w.disk, v.GetDisk().GetPersistence().GetId())
			}
			if !w.crashes() {
				w.play(VolumesRemoved(ef))
			}
		case SendOperation:
			n := ef.Update.GetOperationUuid().GetValue()[0]
			if w.crashes() { // the message was not sent, or nobody heard it
				return
			}
			w.told[n], w.uuid[n] = ef.Update.GetStatus().GetState(), ef.Update.GetStatus().GetUuid().GetValue()
		}
	}
}

// play steps as the shell does: folders, record, effects, with a crash between any two.
func (w *crashWorld) play(ev Event) {
	if w.crashes() {
		return
	}
	out := w.a.Step(w.now, ev)
	for _, ef := range out.Effects {
		if m, ok := ef.(MakeVolumes); ok {
			w.perform(Output{Effects: []Effect{m}})
		}
	}
	if w.crashes() {
		return
	}
	for _, r := range out.Records {
		if r.Removal() {
			delete(w.saved, r.Key)
		} else {
			w.saved[r.Key] = r
		}
	}
	if w.crashes() {
		return
	}
	w.perform(out)
}

func TestCrashAtEveryPointOfOperations(t *testing.T) {
	row := []*mesos.Offer_Operation{
		reserve(reserved("disk", 300, "db")),
		create(volumeOf("a", 100), volumeOf("b", 100)),
		grow(volumeOf("a", 100), reserved("disk", 50, "db")),
		destroy(volumeOf("b", 100)),
		create(volumeOf("b", 40)),
		shrink(volumeOf("a", 150), 100),
		destroy(volumeOf("b", 40)),
		reserve(reserved("cpus", 1, "db", "db/sub")),
	}
	row[7].Reserve.Source = []*mesos.Resource{scalar("cpus", 1, "")}
	points := 0
	for point := 0; ; point++ { // 0: no crash
		w := &crashWorld{saved: map[string]Record{}, disk: map[string]bool{}, told: map[byte]mesos.OperationState{},
			uuid: map[byte][]byte{}, now: time.Unix(1000, 0), point: point}
		w.a = w.fresh()
		w.a.Step(w.now, Registered{Agent: "S0"})
		next := byte(0)
		for _, op := range row {
			for try := 0; ; try++ {
				if try > 3 {
					t.Fatalf("point %d: %v never ends: %v", point, op, w.told)
				}
				next++
				n := next
				w.play(ApplyOperation{Info: proto.CloneOf(op), UUID: []byte{n}})
				if _, told := w.told[n]; !told { // as the master does after the agent came back
					w.play(ReconcileOperations{Operations: []*messages.ReconcileOperationsMessage_Operation{{OperationUuid: &mesos.UUID{Value: []byte{n}}}}})
					for range 20 { // what is here is repeated
						if next := w.a.Next(); w.told[n] == 0 && !next.IsZero() {
							w.now = next
							w.play(Tick{})
						}
					}
				}
				if w.told[n] == mesos.OperationState_OPERATION_DROPPED {
					continue // it never was here: asked for again
				}
				if w.told[n] != mesos.OperationState_OPERATION_FINISHED {
					t.Fatalf("point %d: operation %v was told as %v", point, op, w.told[n])
				}
				for range 3 {
					if w.a.operation([]byte{n}) != nil {
						w.play(AcknowledgeOperation{Operation: []byte{n}, Status: w.uuid[n]})
					}
				}
				break
			}
		}
		var have []string
		for _, v := range volumes(w.a.View().Checkpointed) {
			have = append(have, v.GetDisk().GetPersistence().GetId())
			if !w.disk[have[len(have)-1]] {
				t.Errorf("point %d: volume %v has no files", point, v)
			}
		}
		total := resource.Resources(w.a.View().Total)
		if fmt.Sprint(have) != "[a]" || len(w.disk) != 1 || len(w.a.View().Operations) != 0 || len(w.a.has.doomed) != 0 ||
			total.Get("disk") != resource.Of(host()...).Get("disk") || total.Get("cpus") != resource.Whole(4) {
			t.Errorf("point %d: volumes %v, files %v, %d operations, %d doomed, total %v", point, have, w.disk, len(w.a.View().Operations), len(w.a.has.doomed), total)
		}
		if point > 0 && w.at < point {
			break
		}
		points++
	}
	if points < 50 {
		t.Errorf("only %d points", points)
	}
}
