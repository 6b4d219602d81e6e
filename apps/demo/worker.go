package main

import (
	"context"
	"fmt"
	"os"
	"time"
)

type workerCmd struct {
	Beat  string        `default:"beat" help:"File that gets the time as seconds since 1970."`
	Every time.Duration `default:"1s" help:"Time between two beats."`
}

// Run beats until ctx ends. The file is replaced, never half written.
func (c workerCmd) Run(ctx context.Context) error {
	tick := time.NewTicker(c.Every)
	defer tick.Stop()
	for n := 1; ; n++ {
		tmp := c.Beat + ".new"
		if err := os.WriteFile(tmp, fmt.Appendln(nil, time.Now().Unix()), 0o644); err != nil {
			return err
		}
		if err := os.Rename(tmp, c.Beat); err != nil {
			return err
		}
		fmt.Println("beat", n)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
