// Package zookeeper starts real ZooKeeper ensembles from Debian's jars for tests: own
// processes, own ports on 127.0.0.1, own folders, gone when the test ends.
package zookeeper

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/lab/freeport"
	"github.com/stoa-project/stoa/internal/lab/parent"
)

// jarFolder is where libzookeeper-java and its dependencies put their jars.
const jarFolder = "/usr/share/java"

// jars that a server needs.
var jars = []string{
	"zookeeper", "zookeeper-jute", "slf4j-api", "slf4j-simple", "netty-handler", "netty-transport",
	"netty-common", "netty-buffer", "netty-codec", "netty-resolver", "netty-transport-native-epoll",
	"netty-transport-native-unix-common", "netty-all", "jackson-core", "jackson-databind", "jackson-annotations",
	"snappy-java", "metrics-core", "commons-cli", "commons-io", "jetty9-server", "jetty9-servlet",
	"jetty9-util", "jetty9-http", "jetty9-io", "servlet-api",
}

// startWithin bounds the wait for a server that answers with its mode.
const startWithin = 60 * time.Second

// Ensemble is a set of running servers.
type Ensemble struct {
	t       testing.TB
	servers []*server
}

type server struct {
	id     int
	folder string
	client string // 127.0.0.1:port
	ports  [3]int // client, quorum, election

	mu  sync.Mutex // guards cmd
	cmd *exec.Cmd  // nil while not running
}

// Start runs n servers (1: standalone) and returns when they serve. They end with the test.
// The test fails with the cure when Java or the jars are missing.
func Start(t testing.TB, n int) *Ensemble {
	t.Helper()
	classpath, err := classpath()
	if err != nil {
		t.Fatal(err)
	}
	e, err := start(t, classpath, n)
	if err != nil {
		t.Fatalf("zookeeper: %v", err)
	}
	t.Cleanup(e.Stop)
	return e
}

func start(t testing.TB, classpath string, n int) (*Ensemble, error) {
	e := &Ensemble{t: t}
	for i := 1; i <= n; i++ {
		s := &server{id: i, folder: t.TempDir()}
		s.ports = [3]int(freeport.Take(t, 3))
		s.client = "127.0.0.1:" + strconv.Itoa(s.ports[0])
		e.servers = append(e.servers, s)
	}
	for _, s := range e.servers {
		if err := s.configure(e.servers); err != nil {
			return nil, err
		}
	}
	for _, s := range e.servers {
		if err := s.run(classpath); err != nil {
			e.Stop()
			return nil, err
		}
	}
	for _, s := range e.servers {
		if err := s.await(); err != nil {
			e.Stop()
			return nil, err
		}
	}
	return e, nil
}

// ConnectString gives host:port of all servers, separated by commas.
func (e *Ensemble) ConnectString() string {
	var hosts []string
	for _, s := range e.servers {
		hosts = append(hosts, s.client)
	}
	return strings.Join(hosts, ",")
}

// URL gives zk://hosts/path for a path without leading slash.
func (e *Ensemble) URL(path string) string { return "zk://" + e.ConnectString() + "/" + path }

// KillLeader kills the leading server (or the only one) with SIGKILL and returns its number.
func (e *Ensemble) KillLeader() int {
	e.t.Helper()
	for i, s := range e.servers {
		if m := s.mode(); m == "leader" || m == "standalone" {
			s.stop(syscall.SIGKILL)
			return i
		}
	}
	e.t.Fatal("zookeeper: no leader to kill")
	return -1
}

// Kill stops server i with SIGKILL.
func (e *Ensemble) Kill(i int) { e.servers[i].stop(syscall.SIGKILL) }

// Pause stops all servers without ending them (SIGSTOP); Resume lets them go on.
func (e *Ensemble) Pause() { e.signal(syscall.SIGSTOP) }

// Resume ends Pause.
func (e *Ensemble) Resume() { e.signal(syscall.SIGCONT) }

// Restart runs server i again on its data and returns when it serves.
func (e *Ensemble) Restart(i int) {
	e.t.Helper()
	cp, err := classpath()
	if err == nil {
		err = e.servers[i].run(cp)
	}
	if err == nil {
		err = e.servers[i].await()
	}
	if err != nil {
		e.t.Fatalf("zookeeper: %v", err)
	}
}

// Stop ends all servers; it may be called again.
func (e *Ensemble) Stop() {
	for _, s := range e.servers {
		s.stop(syscall.SIGKILL)
	}
}

func (e *Ensemble) signal(sig syscall.Signal) {
	for _, s := range e.servers {
		s.mu.Lock()
		if s.cmd != nil {
			_ = s.cmd.Process.Signal(sig)
		}
		s.mu.Unlock()
	}
}

func (s *server) configure(all []*server) error {
	var b strings.Builder
	fmt.Fprintf(&b, "tickTime=500\ninitLimit=20\nsyncLimit=10\nminSessionTimeout=1000\nmaxClientCnxns=0\n")
	fmt.Fprintf(&b, "dataDir=%s\nclientPort=%d\nclientPortAddress=127.0.0.1\n", s.folder, s.ports[0])
	fmt.Fprintf(&b, "admin.enableServer=false\n4lw.commands.whitelist=*\n")
	if len(all) > 1 {
		for _, o := range all {
			fmt.Fprintf(&b, "server.%d=127.0.0.1:%d:%d\n", o.id, o.ports[1], o.ports[2])
		}
	}
	if err := os.WriteFile(filepath.Join(s.folder, "node.cfg"), []byte(b.String()), 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.folder, "myid"), []byte(strconv.Itoa(s.id)), 0o600)
}

func (s *server) run(classpath string) error {
	log, err := os.OpenFile(filepath.Join(s.folder, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command("java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
		"-Dzookeeper.forceSync=no", "-cp", classpath,
		"org.apache.zookeeper.server.quorum.QuorumPeerMain", filepath.Join(s.folder, "node.cfg"))
	cmd.Stdout, cmd.Stderr = log, log
	if err := parent.Start(cmd); err != nil {
		return fmt.Errorf("starting java: %w", err)
	}
	s.mu.Lock()
	s.cmd = cmd
	s.mu.Unlock()
	return nil
}

// await polls for the server's mode.
func (s *server) await() error {
	deadline := time.Now().Add(startWithin)
	for time.Now().Before(deadline) {
		if s.mode() != "" {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	log, _ := os.ReadFile(filepath.Join(s.folder, "log"))
	if len(log) > 4000 {
		log = log[len(log)-4000:]
	}
	return fmt.Errorf("server %d did not serve within %v; its log ends with:\n%s", s.id, startWithin, log)
}

// mode asks with the four-letter word srvr: leader, follower, standalone, or "".
func (s *server) mode() string {
	c, err := net.DialTimeout("tcp", s.client, time.Second)
	if err != nil {
		return ""
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := io.WriteString(c, "srvr"); err != nil {
		return ""
	}
	answer, _ := io.ReadAll(c)
	for line := range bytes.Lines(answer) {
		if mode, ok := strings.CutPrefix(string(line), "Mode: "); ok {
			return strings.TrimSpace(mode)
		}
	}
	return ""
}

func (s *server) stop(sig syscall.Signal) {
	s.mu.Lock()
	cmd := s.cmd
	s.cmd = nil
	s.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Signal(syscall.SIGCONT)
	_ = cmd.Process.Signal(sig)
	_ = cmd.Wait()
}

func classpath() (string, error) {
	const cure = "run scripts/setup (Debian packages zookeeper and default-jre-headless)"
	if _, err := exec.LookPath("java"); err != nil {
		return "", fmt.Errorf("zookeeper: there is no java: %s", cure)
	}
	var found []string
	for _, j := range jars {
		p := filepath.Join(jarFolder, j+".jar")
		if _, err := os.Stat(p); err == nil {
			found = append(found, p)
		} else if j == "zookeeper" || j == "zookeeper-jute" {
			return "", fmt.Errorf("zookeeper: %s is missing: %s", p, cure)
		}
	}
	return strings.Join(found, ":"), nil
}
