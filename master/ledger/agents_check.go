package ledger

import (
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire/messages"
)

// What a registration is checked for, in the order of mesos-master.md 2.5.

// checkAgent refuses what a registration must not hold; the answer is the reason.
func checkAgent(info *messages.SlaveInfo) string {
	if info.GetHostname() == "" || len(info.GetHostname()) > maxIDLength {
		return "slave.hostname must have 1 to 255 bytes"
	}
	if id := info.GetId().GetValue(); id != "" {
		if why := validID(id); why != "" {
			return "slave.id: " + why
		}
	}
	if why := checkResources(info.GetResources()); why != "" {
		return "slave.resources: " + why
	}
	if n := proto.Size(info); n > maxAgentInfo {
		return fmt.Sprintf("slave has %d bytes, more than %d", n, maxAgentInfo)
	}
	return ""
}

// recentVersion says whether text is a version "major.minor.patch" of at least 1.0.0;
// minor and patch may be missing, and a pre-release or build part may follow.
func recentVersion(text string) bool {
	core, build, _ := strings.Cut(text, "+")
	core, pre, isPre := strings.Cut(core, "-")
	if strings.ContainsAny(build+pre, " /") {
		return false
	}
	parts := strings.Split(core, ".")
	if len(parts) > 3 {
		return false
	}
	var n [3]uint64
	for i, part := range parts {
		v, err := strconv.ParseUint(part, 10, 32)
		if err != nil {
			return false
		}
		n[i] = v
	}
	return n[0] > 1 || n[0] == 1 && (n[1] > 0 || n[2] > 0 || !isPre)
}

// refusedHere applies the rules of this cluster to an agent: a machine that is DOWN, the
// least version, fault domains. It says whether the registration ends here.
func (l *Ledger) refusedHere(from PID, id AgentID, s *messages.SlaveInfo, version string) bool {
	if m := l.machines[machineOf(agentInfo(s, id), from)]; m != nil && m.down {
		l.emit(Note{Warn: true, Text: fmt.Sprintf("registration of %s refused: its machine %s is DOWN", from, s.GetHostname()), Agent: id})
		l.shutDown(id, from, "Machine is `DOWN`")
		return true
	}
	why := ""
	switch {
	case !recentVersion(version):
		why = fmt.Sprintf("version %q is not 1.0.0 or newer", version)
	case s.Domain != nil && s.GetDomain().GetFaultDomain() == nil:
		why = "its domain has no fault_domain"
	case s.Domain != nil && l.cfg.Domain == nil:
		why = "it has a domain but the master has none: start the master with --domain"
	case s.Domain == nil && l.cfg.RequireDomain:
		why = "it has no domain, which --require_agent_domain asks for"
	default:
		return false
	}
	l.emit(Note{Warn: true, Text: fmt.Sprintf("registration of %s ignored: %s", from, why), Agent: id})
	return true
}

// shutDown tells whoever is at an address to kill everything and exit.
func (l *Ledger) shutDown(id AgentID, at PID, why string) {
	l.emit(LinkPID{PID: at})
	l.emit(ToAgent{Agent: id, PID: at, Message: &messages.ShutdownMessage{Message: proto.String(why)}})
}
