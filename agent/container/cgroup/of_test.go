package cgroup

import (
	"os"
	"slices"
	"testing"
)

func TestGroupsOfAProcess(t *testing.T) {
	mounts := []Mount{
		{Dir: "/cg/cpu,cpuacct", Root: "/", Controllers: []string{"cpu", "cpuacct"}},
		{Dir: "/cg/memory", Root: "/", Controllers: []string{"memory"}},
		{Dir: "/cg/freezer", Root: "/", Controllers: []string{"freezer"}},
		{Dir: "/cg/systemd", Root: "/", Controllers: []string{"name=systemd"}},
		{Dir: "/cg/unified", Root: "/", V2: true},
	}
	its := "9:cpu,cpuacct:/mesos/c\n8:memory:/mesos/c\n7:freezer:/mesos/c\n6:hugetlb:/mesos/c\n5:pids:/../up\n1:name=systemd:/mesos.slice\n0::/mesos/c/leaf\n"
	own := "9:cpu,cpuacct:/\n8:memory:/mesos/c\n7:freezer:/\n6:hugetlb:/\n5:pids:/\n1:name=systemd:/agent\n0::/agent\n"
	want := []string{"/cg/freezer/mesos/c", "/cg/cpu,cpuacct/mesos/c", "/cg/systemd/mesos.slice", "/cg/unified/mesos/c/leaf"}
	if got := groupsOf(mounts, its, own); !slices.Equal(got, want) {
		t.Errorf("%v, not %v", got, want)
	}
	if got, err := Of(os.Getpid()); err != nil || len(got) > 0 {
		t.Errorf("of this process itself: %v %v", got, err)
	}
	if _, err := Of(1 << 22); err == nil {
		t.Error("of no process")
	}
}
