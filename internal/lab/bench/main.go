// Command bench runs benchmark rows against the built binaries and prints one JSON line
// for each: value, floor measured in the same minute, and their ratio. Progress goes
// to standard error. scripts/bench is its door.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Row is one result line.
type Row struct {
	Name   string    `json:"name"`
	N      int       `json:"n"`
	Value  float64   `json:"value"` // median of the rounds
	Unit   string    `json:"unit"`
	Spread []float64 `json:"spread"` // least and greatest
	Floor  float64   `json:"floor"`  // median of the floor program, same unit, same minute
	Ratio  float64   `json:"ratio"`  // value / floor
	Peer   string    `json:"peer"`   // "absent" when no peer's binary is named
	Load   []string  `json:"load"`   // load average of one minute before and after
	Commit string    `json:"commit"`
	// Extra figures of the row, such as memory, medians too; each name ends in its unit.
	Extra map[string]float64 `json:"extra,omitempty"`
}

// bench is one benchmark: n things, measured once; floor does the least work that
// could have the same effect.
type bench struct {
	about string
	n     int
	unit  string
	// run gives one round's value and extra figures.
	run   func(n int) (float64, map[string]float64, error)
	floor func(n int) (float64, error)
}

var benches = map[string]bench{
	"lb": {
		about: "stoa lb before n apps of 10 tasks: 99th percentile from an event to the server in HAProxy; floor: the runtime commands alone",
		n:     1000, unit: "ms", run: balance, floor: runtimeCommand,
	},
	"lbgen": {
		about: "HAProxy's file for n apps of 5 tasks made from nothing, median; extra: after a change of one app, for 10 tasks each, and HAProxy's validation of that; floor: its bytes from ready lines",
		n:     1000, unit: "ms", run: generation, floor: writeText,
	},
	"deploy": {
		about: "POST of an app with n instances until all are RUNNING and their processes exist; floor: n bare process starts",
		n:     100, unit: "s", run: deploy, floor: spawn,
	},
	"deploy1k": {about: "the same with 1,000 instances, started as many at a time as there are processors by the floor", n: 1000, unit: "s", run: deploy, floor: spawnParallel},
	"launch": {
		about: "an agent that gets n tasks at once, without limits, until the master has heard of all that they run; extra: one task alone, the first of n, destruction; floor: n bare process starts",
		n:     1000, unit: "s", run: launches(nil, "--isolation", "posix/cpu,posix/mem"), floor: spawnParallel,
	},
	"launchcgroup": {about: "the same with cgroups", n: 1000, unit: "s", run: launches(nil, "--isolation", "cgroups/cpu,cgroups/mem"), floor: spawnParallel},
	"launchspaces": {
		about: "the same with cgroups and namespaces for processes and mounts", n: 1000, unit: "s",
		run: launches(&mesos.ContainerInfo{Type: mesos.ContainerInfo_MESOS.Enum()}, "--isolation", "cgroups/cpu,cgroups/mem,filesystem/linux,namespaces/pid"), floor: spawnParallel,
	},
	"idletasks":      {about: "memory of agent and keeper for each of n idle tasks; floor: what must be kept of a task, encoded", n: 1000, unit: "B", run: idleTasks, floor: bareTask},
	"recovery":       {about: "agent killed with n tasks: from its start until the master has its registration with all of them; floor: n processes opened by number", n: 1000, unit: "s", run: recovery, floor: openProcesses},
	"replaced":       {about: "a task of n killed on stoa dev until its replacement runs, as the REST API says, backoff 0, median of 12; extra: all n at once; floor: a bare process killed, reaped and started again", n: 100, unit: "ms", run: replaced, floor: respawn},
	"deaths":         {about: "n tasks killed with SIGKILL at once until the master has heard of all; extra: one alone; floor: n bare processes killed and reaped", n: 1000, unit: "s", run: deaths, floor: reapAll},
	"place":          {about: "core only: instances placed per second on n held offers, a port each; extra: with constraints, on 1,000 and on 100,000 offers; floor: the needs subtracted and written down", n: 10_000, unit: "1/s", run: place, floor: barePlace},
	"plan":           {about: "core only: plan of the framework for 100 changed apps of n, service ports and cycles looked at; floor: 100 definitions compared", n: 10_000, unit: "ms", run: planChange, floor: barePlan},
	"putgroup":       {about: "PUT of a group with n apps until it is answered, which is durable; extra: one app changed then, and the API beside 500 deployments; floor: its JSON decoded and written to a file", n: 10_000, unit: "ms", run: putGroup, floor: barePut},
	"simdeploy":      {about: "POST of an app with n instances on 1,000 simulated agents until all are RUNNING at the framework; extra: all replaced by a new version; floor: the messages of n tasks through one socket", n: 1000, unit: "s", run: simDeploy, floor: bareDeploy},
	"apps":           {about: "GET /v2/apps?embed=apps.tasks with n apps of five tasks on simulated agents, median; extra: groups, tasks, one app, memory; floor: the same bytes from an empty handler", n: 5000, unit: "ms", run: readApps, floor: barePage},
	"instancememory": {about: "core only: bytes that a running instance costs the framework, n in apps of five; extra: an app; floor: the bytes of its record", n: 100_000, unit: "B", run: instanceMemory, floor: bareInstance},
	"takeover":       {about: "a new leader of the framework reads n instances from a file and hears of each from the master; floor: their JSON decoded", n: 100_000, unit: "s", run: loadInstances, floor: bareLoad},
	"tasks": {
		about: "tasks per second of a master with 1,000 simulated agents and one scheduler, n tasks until all are RUNNING and acknowledged, /state read each second; floor: the same messages encoded, echoed over one loopback socket and decoded",
		n:     50_000, unit: "1/s", run: tasksOn(simAgents), floor: bareTasks,
	},
	"tasks10k": {about: "the same with 10,000 agents and 100,000 tasks", n: 100_000, unit: "1/s", run: tasksOn(10_000), floor: bareTasks},
	"tasks50k": {about: "the same with 50,000 agents", n: 100_000, unit: "1/s", run: tasksOn(50_000), floor: bareTasks},
	"memory": {
		about: "core only: bytes that a running task costs ledger and allocator, n agents of 10 tasks; floor: the bytes of its description and statuses on the wire",
		n:     20_000, unit: "B", run: memory, floor: bareMemory,
	},
	"offers": {
		about: "rest of an agent given back until it is offered again, median, with 1,000 simulated agents and n launches at 500/s; floor: one exchange of encoded messages over loopback",
		n:     2_000, unit: "ms", run: offers, floor: roundTrip,
	},
	"state": {
		about: "GET /state with 10,000 simulated agents and n tasks while 500 more per second start: ms to the last byte, median; floor: texts of as many tasks appended and sent over loopback",
		n:     100_000, unit: "ms", run: state, floor: bareState,
	},
	"failover": {
		about: "leader killed with n simulated agents of 10 tasks, 10 frameworks and real ZooKeeper: from the end of its node until the standby knows all agents and tasks; floor: the same re-registrations encoded, over one loopback socket and decoded",
		n:     10_000, unit: "s", run: failover, floor: bareReregistrations,
	},
	"freed": {
		about: "rest of an agent given back until any framework holds its offer, median, with 10,000 simulated agents, 100 frameworks and n launches at 1,000/s; floor: one exchange of encoded messages over loopback",
		n:     5_000, unit: "ms", run: freed, floor: roundTrip,
	},
	"allocate10k":   {about: "core only: one cycle of the allocator, n agents, 1,000 frameworks in one role, all declined with a filter in between; floor: a bare heap of shares", n: 10_000, unit: "ms", run: allocateDeclined(1000), floor: bareHeap(1000)},
	"allocate50k":   {about: "the same with n agents and 6,000 frameworks", n: 50_000, unit: "ms", run: allocateDeclined(6000), floor: bareHeap(6000)},
	"allocate100k":  {about: "the same with n agents and 1,000 frameworks", n: 100_000, unit: "ms", run: allocateDeclined(1000), floor: bareHeap(1000)},
	"allocatequota": {about: "core only: the cycle that gives n roles on n agents their guarantees and no more; floor: a bare heap of shares", n: 3_000, unit: "ms", run: allocateQuota, floor: bareHeap(3000)},
	"allocateidle":  {about: "core only: a cycle without changes, n agents declined by 10 frameworks; floor: a bare heap of shares", n: 10_000, unit: "ms", run: allocateIdle, floor: bareHeap(10)},
	"dnsmove":       {about: "a killed task's successor: from the master's event to the DNS answer, median of n moves on stoa dev; floor: one question over loopback", n: 40, unit: "ms", run: dnsMove, floor: dnsRoundTrip},
	"dns":           {about: "A queries per second with n tasks; floor: a bare responder of the DNS library", n: 100_000, unit: "1/s", run: dnsQueries, floor: bareQueries},
}

func main() {
	rounds := flag.Int("rounds", 3, "counted rounds; each is followed by a round of the floor program")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "Usage: scripts/bench [-rounds N] NAME|all")
		for _, name := range slices.Sorted(maps.Keys(benches)) {
			fmt.Fprintf(os.Stderr, "  %-8s %s\n", name, benches[name].about)
		}
	}
	flag.Parse()
	if flag.NArg() != 1 || *rounds < 1 {
		flag.Usage()
		os.Exit(2)
	}
	names := []string{flag.Arg(0)}
	if names[0] == "all" {
		names = slices.Sorted(maps.Keys(benches))
	}
	for _, name := range names {
		b, ok := benches[name]
		if !ok {
			fmt.Fprintf(os.Stderr, "bench: no row named %q\n", name)
			flag.Usage()
			os.Exit(2)
		}
		row, err := measure(name, b, *rounds)
		if err != nil {
			fmt.Fprintf(os.Stderr, "bench: %s: %v\n", name, err)
			os.Exit(1)
		}
		if err := json.NewEncoder(os.Stdout).Encode(row); err != nil { // a figure that is no number
			fmt.Fprintf(os.Stderr, "bench: %s: %v\n", name, err)
			os.Exit(1)
		}
	}
}

func measure(name string, b bench, rounds int) (Row, error) {
	row := Row{Name: name, N: b.n, Unit: b.unit, Peer: "absent", Load: []string{load()}, Commit: commit()}
	var values, floors []float64
	extras := map[string][]float64{}
	for i := range rounds {
		fmt.Fprintf(os.Stderr, "%s: round %d of %d\n", name, i+1, rounds)
		v, extra, err := b.run(b.n)
		if err != nil {
			return row, err
		}
		f, err := b.floor(b.n)
		if err != nil {
			return row, fmt.Errorf("floor: %w", err)
		}
		values, floors = append(values, v), append(floors, f)
		for k, x := range extra {
			extras[k] = append(extras[k], x)
		}
	}
	slices.Sort(values)
	slices.Sort(floors)
	row.Value, row.Floor = values[len(values)/2], floors[len(floors)/2]
	row.Spread = []float64{values[0], values[len(values)-1]}
	row.Ratio = row.Value / row.Floor
	for k, x := range extras {
		if row.Extra == nil {
			row.Extra = map[string]float64{}
		}
		slices.Sort(x)
		row.Extra[k] = x[len(x)/2]
	}
	row.Load = append(row.Load, load())
	return row, nil
}

func load() string {
	b, _ := os.ReadFile("/proc/loadavg")
	return strings.SplitN(string(b), " ", 2)[0]
}

func commit() string {
	out, err := exec.Command("git", "rev-parse", "--short", "HEAD").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}
