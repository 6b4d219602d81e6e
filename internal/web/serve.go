package web

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/stoa-project/stoa/internal/fault"
)

// Limits of a server.
const (
	headerTimeout  = 15 * time.Second // for a client to send its request header
	idleTimeout    = 2 * time.Minute  // between requests of a connection
	maxHeaderBytes = 64 << 10
	shutdownWait   = 5 * time.Second // for requests in progress
)

// Serve answers requests on l until ctx ends, then ends streams (their request context is
// cancelled), waits a little for other requests and returns nil. It closes l. Any other
// end is an error.
func Serve(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger) error {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	requests, endRequests := context.WithCancel(context.WithoutCancel(ctx))
	defer endRequests()
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		BaseContext:       func(net.Listener) context.Context { return requests },
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	srv.RegisterOnShutdown(endRequests)
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	select {
	case err := <-failed:
		return fault.New("http.Serve", fault.Unavailable, l.Addr().String(), err)
	case <-ctx.Done():
	}
	wait, cancel := context.WithTimeout(context.Background(), shutdownWait)
	defer cancel()
	if err := srv.Shutdown(wait); err != nil {
		log.Warn("requests did not end in time, connections are cut", "address", l.Addr().String(), "error", err)
		srv.Close()
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return fault.New("http.Serve", fault.Unavailable, l.Addr().String(), err)
	}
	return nil
}
