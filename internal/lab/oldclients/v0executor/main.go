// Command v0executor is an executor on mesos-go's libprocess driver (the v0 API). Its tasks
// run until they are killed or, when their data names a file, until that file is there;
// messages go back reversed. It prints one line per step.
package main

import (
	"fmt"
	"net"
	"os"
	"time"

	"github.com/mesos/mesos-go/api/v0/executor"
	mesos "github.com/mesos/mesos-go/api/v0/mesosproto"
)

type keeper struct{ done chan struct{} }

func (k *keeper) Registered(_ executor.ExecutorDriver, e *mesos.ExecutorInfo, f *mesos.FrameworkInfo, s *mesos.SlaveInfo) {
	fmt.Println("registered", e.GetExecutorId().GetValue(), "of", f.GetName(), "on", s.GetHostname(), s.GetId().GetValue())
}

func (k *keeper) Reregistered(_ executor.ExecutorDriver, s *mesos.SlaveInfo) {
	fmt.Println("reregistered on", s.GetHostname())
}

func (k *keeper) Disconnected(executor.ExecutorDriver) { fmt.Println("disconnected") }

func (k *keeper) LaunchTask(d executor.ExecutorDriver, t *mesos.TaskInfo) {
	fmt.Println("launch", t.GetTaskId().GetValue())
	tell(d, t.TaskId, mesos.TaskState_TASK_RUNNING)
	file := string(t.GetData())
	if file == "" {
		return
	}
	go func() {
		for {
			if _, err := os.Stat(file); err == nil {
				tell(d, t.TaskId, mesos.TaskState_TASK_FINISHED)
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
}

func tell(d executor.ExecutorDriver, id *mesos.TaskID, state mesos.TaskState) {
	if _, err := d.SendStatusUpdate(&mesos.TaskStatus{TaskId: id, State: state.Enum(), Data: []byte("from the executor")}); err != nil {
		fmt.Println("update not sent:", err)
	}
	fmt.Println("told", id.GetValue(), state)
}

func (k *keeper) KillTask(d executor.ExecutorDriver, id *mesos.TaskID) {
	tell(d, id, mesos.TaskState_TASK_KILLED)
}

func (k *keeper) FrameworkMessage(d executor.ExecutorDriver, text string) {
	back := []byte(text)
	for i, j := 0, len(back)-1; i < j; i, j = i+1, j-1 {
		back[i], back[j] = back[j], back[i]
	}
	if _, err := d.SendFrameworkMessage(string(back)); err != nil {
		fmt.Println("message not sent:", err)
	}
}

func (k *keeper) Shutdown(executor.ExecutorDriver) {
	fmt.Println("shutdown")
	close(k.done)
}

func (k *keeper) Error(_ executor.ExecutorDriver, text string) { fmt.Println("error:", text) }

func main() {
	k := &keeper{done: make(chan struct{})}
	d, err := executor.NewMesosExecutorDriver(executor.DriverConfig{
		Executor: k, HostnameOverride: "127.0.0.1", BindingAddress: net.IPv4(127, 0, 0, 1),
	})
	if err == nil {
		_, err = d.Start()
	}
	if err == nil {
		_, err = d.Join()
	}
	if err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
	<-k.done
}
