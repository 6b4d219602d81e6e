package labels

import (
	"cmp"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// notServing are the states whose tasks get no traffic. LOST and UNREACHABLE tasks do:
// the agent is away, the task may well serve.
var notServing = []string{
	"TASK_STAGING", "TASK_STARTING", "TASK_KILLING", "TASK_FINISHED", "TASK_FAILED", "TASK_KILLED",
	"TASK_ERROR", "TASK_DROPPED", "TASK_GONE", "TASK_GONE_BY_OPERATOR", "TASK_UNKNOWN",
}

// serves tells whether a task gets traffic.
func serves(a *App, k *Task, o Options) bool {
	if slices.Contains(notServing, k.State) {
		return false
	}
	if k.alive != nil {
		return *k.alive
	}
	if !o.HealthCheck || len(a.HealthChecks) == 0 {
		return true
	}
	if len(k.HealthCheckResults) == 0 {
		return o.LastAlive[k.ID]
	}
	if o.AllAlive {
		return !slices.ContainsFunc(k.HealthCheckResults, func(r HealthResult) bool { return !r.Alive })
	}
	return slices.ContainsFunc(k.HealthCheckResults, func(r HealthResult) bool { return r.Alive })
}

// Ending tells whether a task of this state ends or has ended: it gets no traffic any
// more, unlike one that starts and gets none yet.
func Ending(state string) bool {
	return slices.Contains(notServing, state) && state != "TASK_STAGING" && state != "TASK_STARTING"
}

// servers gives the servers of port index n; checkIndex is the port that health checks
// go to, -1 when it is the server's own.
func servers(a *App, n, checkIndex int, o Options) ([]Server, []Problem) {
	out := make([]Server, 0, len(a.Tasks))
	var problems []Problem
	leave := func(k *Task, format string, args ...any) {
		problems = append(problems, Problem{AppID: a.ID, Index: n, Kept: true, Reason: fmt.Sprintf("task %s: ", k.ID) + fmt.Sprintf(format, args...)})
	}
	shared := a.taskPorts()
	mode := a.networkMode()
	for i := range a.Tasks {
		k := &a.Tasks[i]
		host, addr, ports := k.Host, k.Host, shared
		if mode == modeContainer {
			if addr = k.address(); addr == "" {
				continue // it has no address yet
			}
		} else if len(k.Ports) > 0 {
			ports = k.Ports
		}
		if host == "" || n >= len(ports) || !serves(a, k, o) {
			continue
		}
		if ip, err := netip.ParseAddr(addr); err != nil || ip.Zone() != "" {
			var ok bool
			if addr, ok = o.Addresses[addr]; !ok {
				leave(k, "host %q has no address", host)
				continue
			}
		}
		if ports[n] < 1 || ports[n] > 65535 {
			leave(k, "port %d is out of range", ports[n])
			continue
		}
		s := Server{TaskID: k.ID, Host: host, Addr: addr, Port: ports[n], Drain: k.drain}
		if checkIndex >= 0 {
			s.CheckPort = ports[n] // an index that there is not means the port itself
			if checkIndex < len(ports) {
				s.CheckPort = ports[checkIndex]
			}
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b Server) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Addr, b.Addr), cmp.Compare(a.TaskID, b.TaskID))
	})
	// Two tasks cannot share an address' port; where an answer says so, one of them is stale.
	out = slices.CompactFunc(out, func(a, b Server) bool { return a.Host == b.Host && a.Port == b.Port && a.Addr == b.Addr })
	taken := make(map[int]bool, len(out))
	for i := range out {
		s := &out[i]
		s.Name = serverName(s)
		s.ID = serverID(s.Name, taken)
		sum := sha1.Sum([]byte(s.Name))
		s.Cookie = hex.EncodeToString(sum[:5])
	}
	return out, problems
}

// serverName joins host, address and port; what a name may not hold becomes '_'.
func serverName(s *Server) string {
	b := make([]byte, 0, len(s.Host)+len(s.Addr)+7)
	if s.Host != s.Addr {
		b = append(append(b, s.Host...), ':')
	}
	b = strconv.AppendInt(append(append(b, s.Addr...), ':'), int64(s.Port), 10)
	return plainName(b)
}

// plainName keeps letters, digits and '-'; any other character becomes one '_'.
func plainName(b []byte) string {
	for i, c := range b {
		if c >= utf8.RuneSelf {
			return strings.Map(func(r rune) rune {
				if plain(r) {
					return r
				}
				return '_'
			}, string(b))
		}
		if !plain(rune(c)) {
			b[i] = '_'
		}
	}
	return string(b)
}

func plain(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-'
}

// serverID gives the number that a server of this name has had since Marathon-LB began
// numbering: its SHA-256 modulo 32767, hashed on while 0 or taken. It marks the number taken.
func serverID(name string, taken map[int]bool) int {
	for text := name; ; {
		sum := sha256.Sum256([]byte(text))
		// The sum is one long number of 16 digits, each of two bytes.
		var id uint32
		for i := 0; i < len(sum); i += 2 {
			id = (id<<16 | uint32(sum[i])<<8 | uint32(sum[i+1])) % 32767
		}
		if id := int(id); id != 0 && !taken[id] {
			taken[id] = true
			return id
		}
		text = name + " " + hex.EncodeToString(sum[:])
	}
}

// ServerNames gives the name of each of an app's tasks in the backend of port index n, by
// task id. Tasks without an address or that port are absent.
func ServerNames(a *App, n int, addresses map[string]string) map[string]string {
	out := map[string]string{}
	list, _ := servers(a, n, -1, Options{Addresses: addresses})
	for _, s := range list {
		out[s.TaskID] = s.Name
	}
	return out
}
