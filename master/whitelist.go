package master

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/stoa-project/stoa/master/allocate"
)

// maxWhitelist bounds the file.
const maxWhitelist = 16 << 20

// readWhitelist gives the hostnames in the file, one a line, sorted; none when it is
// empty: then no agent is offered.
func readWhitelist(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxWhitelist {
		return nil, errors.New(path + ": a whitelist has at most 16 MiB")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	hosts := []string{}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" {
			hosts = append(hosts, line)
		}
	}
	slices.Sort(hosts)
	return slices.Compact(hosts), nil
}

// followWhitelist hands the hostnames to the allocator whenever the file changes, until
// ctx ends. A file that cannot be read changes nothing.
func (t *term) followWhitelist(ctx context.Context, path string) error {
	var last []string
	known, failed := false, false
	for {
		hosts, err := readWhitelist(path)
		switch {
		case err != nil && !failed:
			t.door.log.Warn("whitelist not read; the last one stays", "error", err)
			failed = true
		case err == nil:
			failed = false
			if known && slices.Equal(hosts, last) {
				break
			}
			known, last = true, hosts
			t.door.log.Info("whitelist read", "path", path, "hosts", len(hosts))
			if err := t.put(ctx, request{look: func(al *allocate.Allocator) { al.SetWhitelist(hosts) }}); err != nil {
				return ctx.Err()
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(t.door.cfg.WhitelistInterval):
		}
	}
}
