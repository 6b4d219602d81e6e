package proc

import (
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/container/tree"
)

const crowd = 1000

// BenchmarkThousand starts and ends 1,000 idle processes per round: the bare loop is
// the floor, then the keeper without and with cgroups.
func BenchmarkThousand(b *testing.B) {
	b.Run("bare", func(b *testing.B) {
		null, err := os.Open(os.DevNull)
		if err != nil {
			b.Fatal(err)
		}
		defer null.Close()
		for b.Loop() {
			var cmds []*exec.Cmd
			for range crowd {
				c := exec.Command("/bin/sleep", "1000")
				c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
				if err := c.Start(); err != nil {
					b.Fatal(err)
				}
				cmds = append(cmds, c)
			}
			b.StopTimer()
			for _, c := range cmds {
				_ = c.Process.Kill()
				_ = c.Wait()
			}
			b.StartTimer()
		}
	})
	for _, m := range []struct {
		name    string
		cgroups bool
	}{{"keeper", false}, {"cgroups", true}} {
		b.Run(m.name, func(b *testing.B) {
			if m.cgroups {
				needCgroups(b)
			}
			g := newRig(b, func(c *Config) { c.Cgroups = m.cgroups })
			info, err := g.r.keeper.Info(g.ctx)
			if err != nil {
				b.Fatal(err)
			}
			idle := rss(b, info.PID)
			spec := g.spec("x", "")
			spec.Command = container.Command{Value: "/bin/sleep", Args: []string{"sleep", "1000"}}
			for b.Loop() {
				var ids []string
				var wg sync.WaitGroup
				room := make(chan struct{}, 64)
				for i := range crowd {
					s := spec
					s.ID = container.ID("t" + strconv.Itoa(i))
					ids = append(ids, string(s.ID))
					wg.Add(1)
					room <- struct{}{}
					go func() {
						defer wg.Done()
						if _, err := g.r.Start(g.ctx, s); err != nil {
							b.Error(err)
						}
						<-room
					}()
				}
				wg.Wait()
				b.StopTimer()
				b.ReportMetric(float64(rss(b, info.PID)-idle)/crowd, "keeper-bytes/task")
				b.ReportMetric(float64(threads(b, info.PID)), "keeper-threads")
				for _, id := range ids {
					if err := g.r.Destroy(g.ctx, container.ID(id)); err != nil {
						b.Fatal(err)
					}
				}
				g.exits(ids...)
				for _, id := range ids {
					if err := g.r.Forget(g.ctx, container.ID(id)); err != nil {
						b.Fatal(err)
					}
				}
				b.StartTimer()
			}
		})
	}
}

func rss(b *testing.B, pid int) int {
	s, err := tree.Read(pid)
	if err != nil {
		b.Fatal(err)
	}
	return int(s.RSS) * os.Getpagesize()
}

func threads(b *testing.B, pid int) int {
	s, err := tree.Read(pid)
	if err != nil {
		b.Fatal(err)
	}
	return s.Threads
}
