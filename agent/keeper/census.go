package keeper

import (
	"errors"
	"os"
	"time"

	"github.com/stoa-project/stoa/agent/container/tree"
)

// census shares looks at /proc: all who ask while one is being taken get the next one,
// so that a thousand exits at once cost a few looks and not a thousand.
type census struct {
	known func() map[int]uint64 // first processes of tasks, which need no mark to be found
	asks  chan chan looked
	quit  chan struct{} // closed by close
	done  chan struct{} // closed when the goroutine has ended
}

type looked struct {
	census *tree.Census
	err    error
}

const (
	// crowd is how many have to share a look for the next one to wait for more.
	crowd = 16
	// crowdWait bounds that.
	crowdWait = 20 * time.Millisecond
)

func newCensus(known func() map[int]uint64) *census {
	c := &census{known: known, asks: make(chan chan looked), quit: make(chan struct{}), done: make(chan struct{})}
	go c.run()
	return c
}

func (c *census) run() {
	defer close(c.done)
	var next time.Time // after a look that many shared: not before as much time has passed as it took
	for {
		var waiting []chan looked
		select {
		case ask := <-c.asks:
			waiting = append(waiting, ask)
		case <-c.quit:
			return
		}
		if wait := time.Until(next); wait > 0 {
			for enough := time.After(wait); enough != nil; {
				select {
				case ask := <-c.asks:
					waiting = append(waiting, ask)
				case <-enough:
					enough = nil
				case <-c.quit: // who waits is answered
					enough = nil
				}
			}
		}
		for more := true; more; {
			select {
			case ask := <-c.asks:
				waiting = append(waiting, ask)
			default:
				more = false
			}
		}
		began := time.Now()
		taken, err := tree.TakeBut(true, c.known())
		for _, w := range waiting {
			w <- looked{taken, err}
		}
		if len(waiting) >= crowd {
			next = time.Now().Add(min(time.Since(began), crowdWait))
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
