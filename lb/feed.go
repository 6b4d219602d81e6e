package lb

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stoa-project/stoa/internal/fault"
)

// serveRelay lets other load balancers follow this one until ctx ends.
func (b *LB) serveRelay(ctx context.Context, g *errgroup.Group) error {
	l, err := net.Listen("tcp", b.cfg.RelayBind)
	if err != nil {
		return fault.New("stoa lb", fault.Unavailable, "--relay_bind "+b.cfg.RelayBind, err)
	}
	s := &http.Server{Handler: b.relay, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10}
	g.Go(func() error {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		return s.Close()
	})
	return nil
}
