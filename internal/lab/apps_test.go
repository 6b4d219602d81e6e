package lab_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/lab"
)

// Every file of apps/ deploys and does what it is there to show. (web.json is used by
// the other tests.)
func TestAppsOfTheFolder(t *testing.T) {
	d := lab.StartDev(t, t.TempDir(), "--task_ports", "31000-31999")

	t.Run("legacy service with fetched archive and fixed port", func(t *testing.T) {
		d.Must(t, "POST", "/v2/apps", lab.AppFile(t, "legacy.json"))
		tasks := d.AwaitRunning(t, 40*time.Second, "/legacy/billing", 1, true)
		if tasks[0].Ports[0] != 31080 {
			t.Errorf("port %d, want the fixed 31080", tasks[0].Ports[0])
		}
		res, err := lab.Request(http.MethodGet, fmt.Sprintf("http://%s:31080/", tasks[0].Host), nil)
		if err != nil || !strings.Contains(string(res.Body), "billing-north-blue") {
			t.Errorf("answer %s %v: environment or archive did not arrive", res.Body, err)
		}
	})

	t.Run("group with dependencies", func(t *testing.T) {
		d.Must(t, "PUT", "/v2/groups", lab.AppFile(t, "shop.json"))
		d.AwaitRunning(t, 60*time.Second, "/shop/front", 2, true)
		lab.Eventually(t, 15*time.Second, "the front shows what stock answers through two service ports", func() error {
			res, err := lab.Request(http.MethodGet, d.LBHTTP, nil, "Host", "shop.example.com")
			if err != nil {
				return err
			}
			if s := string(res.Body); !strings.Contains(s, `"shop"`) || !strings.Contains(s, `"basket"`) || !strings.Contains(s, `"stock"`) {
				return fmt.Errorf("%d %.300s", res.Status, s)
			}
			return nil
		})
	})

	t.Run("TCP service behind its service port", func(t *testing.T) {
		d.Must(t, "POST", "/v2/apps", lab.AppFile(t, "echo.json"))
		d.AwaitRunning(t, 40*time.Second, "/echo", 2, true)
		lab.Eventually(t, 15*time.Second, "the echo answers", func() error {
			conn, err := net.DialTimeout("tcp", "127.0.0.1:10100", time.Second)
			if err != nil {
				return err
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
			fmt.Fprintln(conn, "there")
			line, err := bufio.NewReader(conn).ReadString('\n')
			if err == nil && line != "echo there\n" {
				err = fmt.Errorf("%q", line)
			}
			return err
		})
	})

	t.Run("worker with a COMMAND check", func(t *testing.T) {
		d.Must(t, "POST", "/v2/apps", lab.AppFile(t, "worker.json"))
		d.AwaitRunning(t, 40*time.Second, "/worker", 1, true)
	})
}
