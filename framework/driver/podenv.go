package driver

import (
	"maps"
	"strconv"
	"strings"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"github.com/stoa-project/stoa/framework/app"
)

// environment builds the variables of a container: the pod's own, the container's, HOST,
// context, labels and endpoints, later ones winning (marathon.md 7.4). Endpoints of
// all containers are told to each.
func (p *podLaunch) environment(k int, prefix string) *mesos.Environment {
	vars := map[string]string{}
	c := &p.pod.Containers[k]
	all := maps.Clone(p.pod.Environment)
	if all == nil {
		all = map[string]app.EnvValue{}
	}
	maps.Copy(all, c.Environment)
	refs := own(vars, all)
	vars["HOST"] = p.Instance.Host
	maps.Copy(vars, map[string]string{
		"MESOS_TASK_ID":                    string(p.Instance.TaskIDAt(k)),
		"MESOS_EXECUTOR_ID":                executorID(p.Instance.ID),
		"MARATHON_APP_ID":                  string(p.pod.ID),
		"MARATHON_APP_VERSION":             p.pod.Version.String(),
		"MARATHON_APP_ENFORCE_GROUP_ROLE":  strings.ToUpper(strconv.FormatBool(p.EnforceRole)),
		"MARATHON_CONTAINER_ID":            c.Name,
		"MARATHON_CONTAINER_RESOURCE_CPUS": javaNumber(c.Resources.Cpus),
		"MARATHON_CONTAINER_RESOURCE_MEM":  javaNumber(c.Resources.Mem),
		"MARATHON_CONTAINER_RESOURCE_DISK": javaNumber(c.Resources.Disk),
		"MARATHON_CONTAINER_RESOURCE_GPUS": strconv.Itoa(c.Resources.GPUs),
	})
	labels := maps.Clone(p.pod.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, c.Labels)
	labelVars(vars, labels)
	p.endpointVars(vars, strings.ToUpper(prefix))
	return variables(vars, refs, p.pod.Secrets)
}

func (p *podLaunch) endpointVars(vars map[string]string, prefix string) {
	host := p.pod.HostNetworking()
	for i := range p.pod.Containers {
		for n, e := range p.pod.Containers[i].Endpoints {
			x := &p.ports[i][n]
			name := sanitise(e.Name)
			if !host || x.host != 0 {
				vars[prefix+"ENDPOINT_"+name] = strconv.Itoa(x.container)
			}
			if x.host != 0 {
				vars[prefix+"EP_HOST_"+name] = strconv.Itoa(x.host)
			}
			if !host && e.ContainerPort != nil {
				vars[prefix+"EP_CONTAINER_"+name] = strconv.Itoa(x.container)
			}
		}
	}
}
