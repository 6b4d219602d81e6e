package proc

import (
	"context"
	"strings"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/keeper"
)

// rootOf is the id of the root of a container: the part before the first dot.
func rootOf(id string) string {
	root, _, _ := strings.Cut(id, ".")
	return root
}

// Signal implements container.Runtime.
func (r *Runtime) Signal(ctx context.Context, id container.ID, signal int) error {
	if err := r.connected("container.Signal"); err != nil {
		return err
	}
	return r.keeper.SignalFirst(ctx, string(id), signal)
}

// Output implements container.Runtime.
func (r *Runtime) Output(ctx context.Context, id container.ID, ready func(), f func(stderr bool, data []byte) error) error {
	if err := r.connected("container.Output"); err != nil {
		return err
	}
	return r.keeper.Output(ctx, string(id), ready, func(c keeper.Chunk) error { return f(c.Stderr, c.Data) })
}

// Input implements container.Runtime.
func (r *Runtime) Input(ctx context.Context, id container.ID, data []byte, eof bool, size *container.Terminal) error {
	if err := r.connected("container.Input"); err != nil {
		return err
	}
	var w *keeper.Window
	if size != nil {
		w = &keeper.Window{Rows: size.Rows, Columns: size.Columns}
	}
	return r.keeper.Input(ctx, string(id), data, eof, w)
}

func toOverlay(o *container.Overlay) *keeper.Overlay {
	if o == nil {
		return nil
	}
	return &keeper.Overlay{Layers: o.Layers, Upper: o.Upper, Work: o.Work}
}

// toNested fills in what only nested containers and those with a terminal have.
func toNested(s container.Spec, k *keeper.Spec) {
	k.Init, k.Shared, k.Session = s.Root != "", s.Share, s.Session
	for _, m := range s.Mounts {
		k.Mounts = append(k.Mounts, keeper.Mount{
			Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly, Within: m.Within, Shared: m.Shared, Overlay: toOverlay(m.Overlay),
		})
	}
	if f := s.Files; f != nil {
		k.Root = &keeper.Root{Path: f.Path, Overlay: toOverlay(f.Overlay), ReadOnly: f.ReadOnly}
		for _, d := range f.Devices {
			k.Root.Devices = append(k.Root.Devices, keeper.Device(d))
		}
	}
	k.Inside, k.Network, k.Hostname = string(s.Inside), s.Network, s.Hostname
	if t := s.Terminal; t != nil {
		k.Terminal = &keeper.Window{Rows: t.Rows, Columns: t.Columns}
	}
}
