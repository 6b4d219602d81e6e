package keeper

import (
	"errors"
	"os"

	"github.com/stoa-project/stoa/agent/container/tree"
)

// census shares looks at /proc: all who ask while one is being taken get the next one,
// so that a thousand exits at once cost two looks and not a thousand.
type census struct {
	asks chan chan looked
	done chan struct{}
}

type looked struct {
	census *tree.Census
	err    error
}

func newCensus() *census {
	c := &census{asks: make(chan chan looked, 256), done: make(chan struct{})}
	go func() {
		defer close(c.done)
		for ask := range c.asks {
			waiting := []chan looked{ask}
		more:
			for {
				select {
				case ask, ok := <-c.asks:
					if !ok {
						break more
					}
					waiting = append(waiting, ask)
				default:
					break more
				}
			}
			taken, err := tree.Take(true)
			for _, w := range waiting {
				w <- looked{taken, err}
			}
		}
	}()
	return c
}

// take gives a census begun after the call.
func (c *census) take() (*tree.Census, error) {
	ask := make(chan looked, 1)
	c.asks <- ask
	got := <-ask
	return got.census, got.err
}

// close ends it; nobody may ask any more.
func (c *census) close() {
	close(c.asks)
	<-c.done
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, os.ErrNotExist)
}
