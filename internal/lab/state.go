package lab

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// MasterState is what tests read of a master's /state.
type MasterState struct {
	ID              string  `json:"id"`
	ElectedTime     float64 `json:"elected_time"` // 0 when it does not lead
	ActivatedSlaves float64 `json:"activated_slaves"`
	Slaves          []struct {
		ID       string `json:"id"`
		Hostname string `json:"hostname"`
		Active   bool   `json:"active"`
	} `json:"slaves"`
	Frameworks []struct {
		ID    string `json:"id"`
		Name  string `json:"name"`
		Tasks []struct {
			ID    string `json:"id"`
			State string `json:"state"`
		} `json:"tasks"`
	} `json:"frameworks"`
}

func masterState(url string) (MasterState, error) {
	var s MasterState
	// A standby answers with a redirect, which the client would follow.
	res, err := noRedirect.Get(url + "/state")
	if err != nil {
		return s, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return s, fmt.Errorf("GET /state: %s", res.Status)
	}
	return s, json.NewDecoder(res.Body).Decode(&s)
}

var noRedirect = &http.Client{
	Timeout:       5 * time.Second,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// ReadMasterState reads /state of the master at url.
func ReadMasterState(t testing.TB, url string) MasterState {
	t.Helper()
	s, err := masterState(url)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ProcessesUnder gives the processes whose working folder or first arguments lie
// under dir: tasks in sandboxes, keepers, HAProxy.
func ProcessesUnder(dir string) []int {
	var out []int
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range all {
		pid, err := strconv.Atoi(filepath.Base(p))
		if err != nil || pid == os.Getpid() || !Alive(pid) {
			continue
		}
		cwd, _ := os.Readlink(filepath.Join(p, "cwd"))
		args, _ := os.ReadFile(filepath.Join(p, "cmdline"))
		if cwd == dir || strings.HasPrefix(cwd, dir+"/") || strings.Contains(string(args), dir+"/") {
			out = append(out, pid)
		}
	}
	return out
}

// KillUnder kills the processes of ProcessesUnder until there are none.
func KillUnder(t testing.TB, dir string) {
	t.Helper()
	Eventually(t, 10*time.Second, "processes under "+dir+" end", func() error {
		pids := ProcessesUnder(dir)
		for _, p := range pids {
			_ = syscall.Kill(p, syscall.SIGKILL)
		}
		if len(pids) > 0 {
			return fmt.Errorf("%v", pids)
		}
		return nil
	})
}
