package lab_test

import (
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/lab"
)

// server is an app whose tasks listen in networks of their own.
type server struct {
	id, service string // of the app; its name in DNS
	subnet      string // that its addresses are of
	port        int    // where it listens
	mapped      bool   // on the host too
	says        string
	body        string
}

type servers []server

func (s servers) ids() (out []string) {
	for _, x := range s {
		out = append(out, x.id)
	}
	return out
}

// postServers posts one app for each way to have a network, on both containerizers.
func (e *estate) postServers(t *testing.T) servers {
	t.Helper()
	web := `"cmd":"exec stoa-demo web --port 8080 --greeting %s","cpus":0.1,"mem":32,"taskKillGracePeriodSeconds":1`
	httpd := `"cmd":"mkdir /www; echo %s > /www/index.html; exec httpd -f -p 8080 -h /www","cpus":0.1,"mem":32,"taskKillGracePeriodSeconds":1`
	all := servers{
		{id: "/bridge", service: "bridge", subnet: "10.77.0.", port: 8000, mapped: true, says: "from a network of its own", body: lab.AppFile(t, "bridge.json")},
		{id: "/docker/web", service: "web-docker", subnet: "172.", port: 80, mapped: true, says: "/docker/web on", body: lab.AppFile(t, "docker.json")},
		{id: "/plain", service: "plain", subnet: "10.77.1.", port: 8080, says: "plain", body: `{"id":"/plain",` + fmt.Sprintf(web, "plain") + `,
			"container":{"type":"MESOS","portMappings":[{"containerPort":8080,"name":"http"}]},"networks":[{"mode":"container","name":"plain"}]}`},
		{id: "/mapped", service: "mapped", subnet: "10.77.1.", port: 8080, mapped: true, says: "mapped", body: `{"id":"/mapped",` + fmt.Sprintf(web, "mapped") + `,
			"container":{"type":"MESOS","portMappings":[{"containerPort":8080,"hostPort":0,"name":"http"}]},"networks":[{"mode":"container","name":"plain"}]}`},
		{id: "/user", service: "user", subnet: "172.", port: 8080, says: "user", body: `{"id":"/user",` + fmt.Sprintf(httpd, "user") + `,
			"container":{"type":"DOCKER","docker":{"image":"busybox"},"portMappings":[{"containerPort":8080,"name":"http"}]},"networks":[{"mode":"container","name":"own"}]}`},
	}
	for _, s := range all { // PATH of tasks is not that of the test
		e.api.Must(t, "POST", "/v2/apps", strings.ReplaceAll(s.body, "exec stoa-demo", "exec "+lab.Demo(t)))
	}
	return all
}

// reach asks each of them at its own address, which DNS knows, and at its mapped port.
func (e *estate) reach(t *testing.T, all servers) {
	t.Helper()
	for _, s := range all {
		lab.Eventually(t, 40*time.Second, s.id+" is reached", func() error {
			tasks, err := e.api.Tasks(s.id)
			if err != nil || len(tasks) == 0 {
				return fmt.Errorf("%d tasks, %v", len(tasks), err)
			}
			ask := func(host string, port int) error {
				res, err := lab.Request(http.MethodGet, "http://"+net.JoinHostPort(host, strconv.Itoa(port))+"/", nil)
				if err == nil && !strings.Contains(string(res.Body), s.says) {
					err = fmt.Errorf("%s:%d says %.200s", host, port, res.Body)
				}
				return err
			}
			addresses := dig(t, e.dns, s.service+".marathon.mesos", "A")
			if len(addresses) != len(tasks) {
				return fmt.Errorf("%d tasks have the addresses %v", len(tasks), addresses)
			}
			for _, ip := range addresses {
				if !strings.HasPrefix(ip, s.subnet) {
					return fmt.Errorf("address %s", ip)
				}
				if err := ask(ip, s.port); err != nil {
					return err
				}
			}
			domain := ".marathon.mesos" // of ports at the task's own address
			if s.mapped {
				domain = ".marathon.slave.mesos" // of ports at its host
			}
			records := dig(t, e.dns, "_"+s.service+"._tcp"+domain, "SRV")
			if len(records) != len(tasks) {
				return fmt.Errorf("%d tasks have the SRV records %v", len(tasks), records)
			}
			for _, r := range records {
				part := strings.Split(r, "_") // priority, weight, port, target
				port, err := strconv.Atoi(part[2])
				if err != nil {
					return err
				}
				target := dig(t, e.dns, strings.Join(part[3:], "_"), "A")
				if len(target) != 1 || s.mapped == strings.HasPrefix(target[0], s.subnet) {
					return fmt.Errorf("%s is %v", r, target)
				}
				if err := ask(target[0], port); err != nil {
					return err
				}
			}
			return nil
		})
	}
}
