package lab

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// API is the Marathon-compatible REST API of one framework process.
type API struct {
	URL string // http://host:port
}

// Task is what tests read of a task in answers of the API.
type Task struct {
	ID                 string
	AppID              string
	Host               string
	Ports              []int
	State              string
	SlaveID            string
	Version            string
	HealthCheckResults []struct{ Alive bool }
}

// Answer is one HTTP answer, read to its end.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// JSON decodes the body into v or fails the test.
func (a Answer) JSON(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal(a.Body, v); err != nil {
		t.Fatalf("%v in %s", err, a.Body)
	}
}

var httpClient = &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// Request sends one HTTP request; a body that is no nil is sent as JSON text.
func Request(method, url string, body []byte, header ...string) (Answer, error) {
	req, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		return Answer{}, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Set(header[i], header[i+1])
	}
	res, err := httpClient.Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 64<<20))
	return Answer{res.StatusCode, res.Header, b}, err
}

// Do sends a request to the API and fails the test when no answer comes.
func (a API) Do(t testing.TB, method, path, body string) Answer {
	t.Helper()
	var b []byte
	if body != "" {
		b = []byte(body)
	}
	res, err := Request(method, a.URL+path, b)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return res
}

// Must is Do that wants a status below 300.
func (a API) Must(t testing.TB, method, path, body string) Answer {
	t.Helper()
	res := a.Do(t, method, path, body)
	if res.Status >= 300 {
		t.Fatalf("%s %s: %d %s", method, path, res.Status, res.Body)
	}
	return res
}

// Tasks gives the tasks of an app, or why they cannot be had.
func (a API) Tasks(app string) ([]Task, error) {
	res, err := Request(http.MethodGet, a.URL+"/v2/apps"+app+"/tasks", nil)
	if err != nil {
		return nil, err
	}
	if res.Status != http.StatusOK {
		return nil, fmt.Errorf("GET tasks of %s: %d %s", app, res.Status, res.Body)
	}
	var list struct{ Tasks []Task }
	err = json.Unmarshal(res.Body, &list)
	return list.Tasks, err
}

// AwaitRunning waits until the app has exactly n tasks, all TASK_RUNNING and, when
// checked is set, healthy; it gives them.
func (a API) AwaitRunning(t testing.TB, within time.Duration, app string, n int, checked bool) []Task {
	t.Helper()
	var tasks []Task
	Eventually(t, within, fmt.Sprintf("%s runs %d tasks", app, n), func() (err error) {
		if tasks, err = a.Tasks(app); err != nil {
			return err
		}
		if len(tasks) != n {
			return fmt.Errorf("%d tasks: %+v", len(tasks), tasks)
		}
		for _, k := range tasks {
			if k.State != "TASK_RUNNING" {
				return fmt.Errorf("%s is %s", k.ID, k.State)
			}
			if !checked {
				continue
			}
			if len(k.HealthCheckResults) == 0 {
				return fmt.Errorf("%s has no health result", k.ID)
			}
			for _, h := range k.HealthCheckResults {
				if !h.Alive {
					return fmt.Errorf("%s is not alive", k.ID)
				}
			}
		}
		return nil
	})
	return tasks
}

// AwaitNoDeployment waits until no deployment is under way.
func (a API) AwaitNoDeployment(t testing.TB, within time.Duration) {
	t.Helper()
	Eventually(t, within, "deployments end", func() error {
		res, err := Request(http.MethodGet, a.URL+"/v2/deployments", nil)
		if err != nil {
			return err
		}
		if s := strings.TrimSpace(string(res.Body)); s != "[]" {
			return fmt.Errorf("still %s", s)
		}
		return nil
	})
}

// AppFile reads a file of the apps folder and puts the folders of the archive and of
// stoa-demo into it.
func AppFile(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(Root(t), "apps", name))
	if err != nil {
		t.Fatal(err)
	}
	b = bytes.ReplaceAll(b, []byte("@BIN@"), []byte(filepath.Dir(Demo(t))))
	if !bytes.Contains(b, []byte("@APPS@")) {
		return string(b)
	}
	return strings.ReplaceAll(string(b), "@APPS@", LegacyArchive(t))
}
