package proc

import (
	"github.com/stoa-project/stoa/agent/container/cgroup"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Fill puts what a control group says into statistics, for runtimes whose groups somebody
// else has made (mesos-agent.md 12.2).
func Fill(s *mesos.ResourceStatistics, u cgroup.Usage, v2 bool) { fill(s, u, v2) }
