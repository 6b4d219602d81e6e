package election

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"
)

// Redirect finds the leader among known masters by asking them: a master answers
// GET /master/redirect with 307 and a Location whose host is the leader.
type Redirect struct {
	masters  []Master
	interval time.Duration
	log      *slog.Logger
	scheme   string
	client   *http.Client
}

// NewRedirect makes a detector that asks at the given interval.
func NewRedirect(masters []Master, interval time.Duration, log *slog.Logger) *Redirect {
	return &Redirect{
		masters: masters, interval: interval, log: log, scheme: "http",
		client: &http.Client{
			Timeout:       5 * time.Second,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// Watch asks until ctx ends. While no master answers the leader is nil.
func (r *Redirect) Watch(ctx context.Context) <-chan Leader {
	out := make(chan Leader, 1)
	go func() {
		defer close(out)
		defer r.client.CloseIdleConnections()
		shown := "?"
		for ctx.Err() == nil {
			leader := r.ask(ctx)
			if ctx.Err() != nil {
				return
			}
			if string(leader.Data) != shown {
				shown = string(leader.Data)
				deliver(out, leader)
			}
			select {
			case <-time.After(r.interval):
			case <-ctx.Done():
			}
		}
	}()
	return out
}

// ask tries each master in order and believes the first that names a leader.
func (r *Redirect) ask(ctx context.Context) Leader {
	for _, m := range r.masters {
		leader, err := r.redirect(ctx, m)
		if err == nil {
			return Leader{Data: leader.JSON()}
		}
		r.log.Debug("master names no leader", "master", m.Addr(), "error", err)
	}
	return Leader{}
}

func (r *Redirect) redirect(ctx context.Context, m Master) (Master, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.scheme+"://"+m.Addr()+"/master/redirect", nil)
	if err != nil {
		return Master{}, err
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return Master{}, err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusTemporaryRedirect {
		return Master{}, fmt.Errorf("status %s", resp.Status)
	}
	where, err := url.Parse(resp.Header.Get("Location")) // //host:port
	if err != nil {
		return Master{}, err
	}
	if where.Host == "" {
		return Master{}, errors.New("the Location names no host")
	}
	return MasterAt(where.Host)
}
