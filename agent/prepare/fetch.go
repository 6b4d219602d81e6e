package prepare

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/stoa-project/stoa/agent/fetch"
	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/agent/sandbox"
	"github.com/stoa-project/stoa/internal/crash"
)

// fetch brings the URIs of a container's command into its sandbox, and tells its stderr.
func (p *Preparer) fetch(ctx context.Context, ef lifecycle.Launch, owner sandbox.Owner) error {
	uris := ef.Command.GetUris()
	if len(uris) == 0 {
		return nil
	}
	log, err := os.OpenFile(filepath.Join(ef.Directory, "stderr"), os.O_WRONLY|os.O_APPEND|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer log.Close()
	if err := p.cfg.Fetcher.Fetch(ctx, ef.Directory, owner, uris, log, p.fetching(ef.Container)); err != nil {
		fmt.Fprintf(log, "Failed to fetch: %v\n", err)
		return fmt.Errorf("Failed to fetch all URIs for container '%s': %w", ef.Container, err)
	}
	crash.Here("agent.fetched")
	return nil
}

// progressEvery is how often the framework is told how far a launch has come.
const progressEvery = 5 * time.Second

// fetching tells the framework now and then how much of a URI is here. What is here soon
// is not told of.
func (p *Preparer) fetching(id lifecycle.ContainerID) fetch.Progress {
	var mu sync.Mutex // guards told
	told := time.Now()
	return func(uri string, done, total int64) {
		mu.Lock()
		defer mu.Unlock()
		now := time.Now()
		if now.Sub(told) < progressEvery {
			return
		}
		told = now
		text := fmt.Sprintf("Fetching '%s': %d MB", uri, done>>20)
		if total > 0 {
			text += fmt.Sprintf(" of %d MB", total>>20)
		}
		p.cfg.Progress(id, text)
	}
}
