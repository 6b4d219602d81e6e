// Command v0driver registers with a master through mesos-go's libprocess driver (the v0
// API), launches one command task, waits for its end and stops. It prints one line per
// step; the exit code is 0 when the task finished.
package main

import (
	"flag"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/gogo/protobuf/proto"
	mesos "github.com/mesos/mesos-go/api/v0/mesosproto"
	"github.com/mesos/mesos-go/api/v0/scheduler"
)

// once launches one task and stops the driver when it has ended.
type once struct {
	launched bool
	result   chan error
}

func (o *once) Registered(_ scheduler.SchedulerDriver, id *mesos.FrameworkID, m *mesos.MasterInfo) {
	fmt.Println("registered", id.GetValue(), "with", m.GetPid())
}
func (o *once) Reregistered(scheduler.SchedulerDriver, *mesos.MasterInfo) {
	fmt.Println("reregistered")
}
func (o *once) Disconnected(scheduler.SchedulerDriver) { fmt.Println("disconnected") }

func (o *once) ResourceOffers(d scheduler.SchedulerDriver, offers []*mesos.Offer) {
	for _, offer := range offers {
		if o.launched {
			_, _ = d.DeclineOffer(offer.Id, &mesos.Filters{})
			continue
		}
		o.launched = true
		task := &mesos.TaskInfo{
			Name:    proto.String("old"),
			TaskId:  &mesos.TaskID{Value: proto.String("old-1")},
			SlaveId: offer.SlaveId,
			Command: &mesos.CommandInfo{Value: proto.String("echo from the v0 driver")},
			Resources: []*mesos.Resource{
				{Name: proto.String("cpus"), Type: mesos.Value_SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: proto.Float64(0.1)}},
				{Name: proto.String("mem"), Type: mesos.Value_SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: proto.Float64(32)}},
			},
		}
		if _, err := d.LaunchTasks([]*mesos.OfferID{offer.Id}, []*mesos.TaskInfo{task}, &mesos.Filters{}); err != nil {
			o.result <- err
		}
		fmt.Println("launched on", offer.GetHostname())
	}
}

func (o *once) StatusUpdate(_ scheduler.SchedulerDriver, s *mesos.TaskStatus) {
	fmt.Println("status", s.GetTaskId().GetValue(), s.GetState())
	switch s.GetState() {
	case mesos.TaskState_TASK_FINISHED:
		o.result <- nil
	case mesos.TaskState_TASK_FAILED, mesos.TaskState_TASK_LOST, mesos.TaskState_TASK_ERROR, mesos.TaskState_TASK_KILLED:
		o.result <- fmt.Errorf("%s: %s", s.GetState(), s.GetMessage())
	}
}

func (o *once) OfferRescinded(scheduler.SchedulerDriver, *mesos.OfferID) {}
func (o *once) FrameworkMessage(scheduler.SchedulerDriver, *mesos.ExecutorID, *mesos.SlaveID, string) {
}
func (o *once) SlaveLost(scheduler.SchedulerDriver, *mesos.SlaveID)                            {}
func (o *once) ExecutorLost(scheduler.SchedulerDriver, *mesos.ExecutorID, *mesos.SlaveID, int) {}
func (o *once) Error(_ scheduler.SchedulerDriver, text string) {
	o.result <- fmt.Errorf("driver: %s", text)
}

func main() {
	master := flag.String("master_address", "127.0.0.1:5050", "host:port of the master")
	flag.Parse()
	o := &once{result: make(chan error, 8)}
	d, err := scheduler.NewMesosSchedulerDriver(scheduler.DriverConfig{
		Scheduler: o, Master: *master,
		Framework:        &mesos.FrameworkInfo{User: proto.String(""), Name: proto.String("v0driver")},
		HostnameOverride: "127.0.0.1", BindingAddress: net.IPv4(127, 0, 0, 1),
	})
	if err == nil {
		_, err = d.Start()
	}
	if err == nil {
		select {
		case err = <-o.result:
		case <-time.After(50 * time.Second):
			err = fmt.Errorf("no end within 50 s")
		}
		_, _ = d.Stop(false)
	}
	if err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
	fmt.Println("done")
}
