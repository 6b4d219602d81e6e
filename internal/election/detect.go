package election

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/stoa-project/stoa/internal/zk"
)

// DetectorFor reads the value of a --master flag: zk://… (or file://… holding it),
// host:port, master@host:port, http://host:port, or a comma list of the last three.
// Its Leader.Data is MasterInfo JSON for ParseMaster. One address is taken as the leader
// itself; among several the leader is found through their /master/redirect.
// Nothing is contacted before Watch. Errors: fault.Invalid.
func DetectorFor(masterFlag string, cfg zk.Config, options ...Option) (Detector, error) {
	log := cfg.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if strings.HasPrefix(masterFlag, "zk://") || strings.HasPrefix(masterFlag, "file://") {
		u, err := zk.Parse(masterFlag)
		if err != nil {
			return nil, err
		}
		return &dialling{url: u, cfg: cfg, log: log}, nil
	}
	var masters []Master
	for _, a := range strings.Split(masterFlag, ",") {
		m, err := MasterAt(strings.TrimSpace(a))
		if err != nil {
			return nil, err
		}
		masters = append(masters, m)
	}
	if len(masters) == 1 {
		return NewStatic(masters[0].JSON()), nil
	}
	r := NewRedirect(masters, time.Second, log)
	for _, o := range options {
		o(r)
	}
	return r, nil
}

// Option changes how masters are asked.
type Option func(*Redirect)

// Over asks masters with the scheme of their URLs and a transport for it.
func Over(scheme string, t http.RoundTripper) Option {
	return func(r *Redirect) { r.scheme, r.client.Transport = scheme, t }
}

// dialling is a ZK detector that keeps a session of its own while it is watched.
type dialling struct {
	url zk.URL
	cfg zk.Config
	log *slog.Logger
}

func (d *dialling) Watch(ctx context.Context) <-chan Leader {
	out := make(chan Leader, 1)
	go func() {
		defer close(out)
		session, err := zk.Dial(ctx, d.url, d.cfg)
		if err != nil { // Parse lets only usable URLs through
			d.log.Error("master detection is impossible", "error", err)
			return
		}
		defer session.Close()
		for l := range NewZK(session, d.url.Path, MasterPrefix, d.log).Watch(ctx) {
			deliver(out, l)
		}
	}()
	return out
}
