package fetch

import (
	"io"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"
	"time"

	"github.com/stoa-project/stoa/agent/sandbox"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// BenchmarkFetch fetches a file of 1 KB over HTTP: the whole cost of a process, and of its
// control group where cgroups can be used.
func BenchmarkFetch(b *testing.B) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 1024)) }))
	defer srv.Close()
	for name, groups := range map[string]Groups{"plain": {}, "cgroup": {Use: true, Root: "stoa-fetch-bench"}} {
		b.Run(name, func(b *testing.B) {
			f, err := New(Config{Groups: groups}, quiet())
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			run := b.TempDir()
			uris := []*mesos.CommandInfo_URI{uri(srv.URL + "/x")}
			before := cpu(b)
			for b.Loop() {
				if err := f.Fetch(b.Context(), run, sandbox.Self(), uris, io.Discard, nil); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(cpu(b)-before)/float64(b.N)/1e6, "cpu-ms/op")
		})
	}
}

// cpu is the processor time of this process and those that it waited for.
func cpu(b *testing.B) (d time.Duration) {
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if err := syscall.Getrusage(who, &u); err != nil {
			b.Fatal(err)
		}
		d += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return d
}
