package main

import (
	"time"

	"github.com/stoa-project/stoa/agent"
)

// agentFetch are the flags about what tasks fetch (mesos-agent.md 8 and 13).
type agentFetch struct {
	FrameworksHome string   `name:"frameworks_home" env:"MESOS_FRAMEWORKS_HOME" help:"Prefix of relative paths that tasks fetch."`
	FetcherStall   duration `name:"fetcher_stall_timeout" env:"MESOS_FETCHER_STALL_TIMEOUT" default:"1mins" help:"A download without a byte for so long fails."`
	CacheSize      byteSize `name:"fetcher_cache_size" env:"MESOS_FETCHER_CACHE_SIZE" default:"2GB" help:"What the cache of fetched files may take."`
	CacheDir       string   `name:"fetcher_cache_dir" env:"MESOS_FETCHER_CACHE_DIR" help:"Folder of the cache; one agent each: it is emptied at the start. Default /tmp/mesos/fetch, with -PORT behind it for ports other than 5051; fetch in --work_dir where /tmp/mesos is another user's."`
	FetcherMemory  byteSize `name:"fetcher_memory_limit" env:"STOA_FETCHER_MEMORY_LIMIT" default:"512MB" help:"What the processes that fetch for one task may take of memory; at least 32MB."`
	HadoopHome     string   `name:"hadoop_home" env:"MESOS_HADOOP_HOME" help:"Folder of bin/hadoop, which fetches hdfs, s3 and other URIs. Without it hadoop is looked for in PATH."`
}

func (c agentFetch) config(work, suffix string) agent.Fetch {
	dir := c.CacheDir
	if dir == "" {
		dir = inTemp(work, "mesos", "fetch"+suffix)
	}
	return agent.Fetch{FrameworksHome: c.FrameworksHome, StallTimeout: time.Duration(c.FetcherStall), CacheDir: dir, CacheSize: int64(c.CacheSize), HadoopHome: c.HadoopHome, Memory: max(int64(c.FetcherMemory), 32<<20)}
}
