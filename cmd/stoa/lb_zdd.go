package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/lb/zdd"
)

// zddVerb is how the parser knows `stoa lb zdd`: lb has a positional argument of its own,
// and zdd.py's short flags mean other things there.
const zddVerb = "lb-zdd"

// lbArgs spells `lb zdd` as one verb.
func lbArgs(args []string) []string {
	if len(args) > 1 && args[0] == "lb" && args[1] == "zdd" {
		return append([]string{zddVerb}, args[2:]...)
	}
	return args
}

// zddCmd has the flags of zdd.py.
type zddCmd struct {
	JSON      string `short:"j" name:"json" required:"" help:"File with the JSON of the new app."`
	Marathon  string `short:"m" name:"marathon" required:"" help:"Marathon's URL."`
	Balancer  string `short:"l" name:"marathon-lb" required:"" help:"URL of the load balancers' statistics; every address of its host is asked."`
	DryRun    bool   `short:"d" name:"dry-run" help:"Print the app that would be created and end."`
	Force     bool   `short:"f" name:"force" help:"Ask nothing."`
	StepDelay int    `short:"s" name:"step-delay" default:"5" help:"Seconds between two steps."`
	Initial   int    `short:"i" name:"initial-instances" default:"1" help:"Instances that the new app begins with; never more than the old one has."`
	Linear    int    `name:"linear-increase" default:"0" help:"Instances that are added at each step; 0 adds half of those that there are."`
	Resume    bool   `short:"r" name:"resume" help:"Go on with a deployment that stopped."`
	MaxWait   int    `short:"w" name:"max-wait" default:"300" help:"Seconds that the last requests of a task are waited for."`
	New       int    `short:"n" name:"new-instances" default:"0" help:"Replace only so many instances; both apps stay."`
	Current   bool   `short:"c" name:"complete-cur" help:"Both stay no longer: all instances become the newer app's."`
	Previous  bool   `short:"p" name:"complete-prev" help:"Both stay no longer: all instances become the older app's again."`
	Hook      string `name:"pre-kill-hook" help:"Program that is run before tasks are killed, with the JSON of the old app, of the task ids and of the new app; an exit code other than 0 stops."`
	Syslog    string `name:"syslog-socket" help:"Accepted; logs go to standard error."`
	LogFormat string `name:"log-format" help:"Accepted, without effect: see --log_json."`
	LogLevel  string `name:"log-level" help:"debug, info, warning, error or critical."`

	marathonLogin
}

// Run deploys.
func (c zddCmd) Run(p *process) error {
	text, err := os.ReadFile(c.JSON)
	if err != nil {
		return fault.New("stoa lb zdd", fault.Invalid, "--json "+c.JSON, err)
	}
	log, err := p.pythonLevel(c.LogLevel)
	if err != nil {
		return err
	}
	if c.StepDelay < 0 || c.MaxWait < 0 || c.Initial < 1 || c.New < 0 || c.Linear < 0 {
		return fault.New("stoa lb zdd", fault.Invalid, "flags", errors.New("no number may be negative, and --initial-instances must be at least 1"))
	}
	o := zdd.Options{
		App: text, Marathon: c.Marathon, Balancer: c.Balancer, CAFile: c.CACert, Insecure: c.Insecure, DryRun: c.DryRun, Force: c.Force, Resume: c.Resume,
		Current: c.Current, Previous: c.Previous, StepDelay: time.Duration(c.StepDelay) * time.Second, MaxWait: time.Duration(c.MaxWait) * time.Second,
		Initial: c.Initial, Linear: c.Linear, New: c.New, Hook: c.Hook, Out: p.stdout, Log: log,
	}
	in := bufio.NewReader(os.Stdin)
	o.Confirm = func(question string) bool { return confirm(p.stdout, in, question) }
	if o.User, o.Password, o.Token, err = c.read(); err != nil {
		return err
	}
	return zdd.Run(p.ctx, o)
}

// confirm asks until the answer is clear; only Enter is yes, and the end of input no.
func confirm(out io.Writer, in *bufio.Reader, question string) bool {
	for {
		fmt.Fprintf(out, "%s [Y/n] ", question)
		line, err := in.ReadString('\n')
		switch strings.ToLower(strings.TrimSpace(line)) {
		case "":
			if err != nil {
				return false
			}
			return true
		case "y", "ye", "yes":
			return true
		case "n", "no":
			return false
		}
		if err != nil {
			return false
		}
	}
}
