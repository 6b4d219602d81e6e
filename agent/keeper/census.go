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
	quit chan struct{} // closed by close
	done chan struct{} // closed when the goroutine has ended
}

type looked struct {
	census *tree.Census
	err    error
}

func newCensus() *census {
	c := &census{asks: make(chan chan looked), quit: make(chan struct{}), done: make(chan struct{})}
	go c.run()
	return c
}

func (c *census) run() {
	defer close(c.done)
	for {
		var waiting []chan looked
		select {
		case ask := <-c.asks:
			waiting = append(waiting, ask)
		case <-c.quit:
			return
		}
		for more := true; more; {
			select {
			case ask := <-c.asks:
				waiting = append(waiting, ask)
			default:
				more = false
			}
		}
		taken, err := tree.Take(true)
		for _, w := range waiting {
			w <- looked{taken, err}
		}
	}
}

// take gives a census begun after the call.
func (c *census) take() (*tree.Census, error) {
	ask := make(chan looked, 1)
	select {
	case c.asks <- ask:
	case <-c.quit:
		return nil, errors.New("the keeper is ending")
	}
	got := <-ask
	return got.census, got.err
}

func (c *census) close() {
	close(c.quit)
	<-c.done
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, os.ErrNotExist)
}
