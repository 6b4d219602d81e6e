package lb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/lb/haproxy"
	"github.com/stoa-project/stoa/lb/labels"
	"github.com/stoa-project/stoa/lb/render"
)

// once lists the apps and renders them, without touching HAProxy or any file of it.
func (b *LB) once(ctx context.Context) (render.Config, []labels.Service, []labels.Problem, error) {
	apps, err := b.follow.List(ctx)
	if err != nil {
		return render.Config{}, nil, nil, err
	}
	b.listed = apps
	services, problems := labels.Services(apps, b.options(ctx, time.Now()))
	c, services, more := b.explain(services)
	return c, services, append(problems, more...), nil
}

// Print writes the configuration that the apps of now ask for. With an app, only its
// lines, each stretch under a comment with the template and the labels that made it.
func (b *LB) Print(ctx context.Context, w io.Writer, app string) error {
	c, _, problems, err := b.once(ctx)
	if err != nil {
		return err
	}
	for _, p := range problems {
		if app == "" || p.AppID == app {
			b.log.Warn("service port is not as its app asks", "app", p.AppID, "label", p.Label, "reason", p.Reason)
		}
	}
	if app == "" {
		_, err = io.WriteString(w, c.Text)
		return err
	}
	lines := strings.SplitAfter(c.Text, "\n")
	found := false
	last := ""
	for i, o := range c.Origins {
		if o.Port.AppID != app {
			continue
		}
		found = true
		end := len(lines)
		if i+1 < len(c.Origins) {
			end = c.Origins[i+1].Line - 1
		}
		why := "# "
		if o.Template != "" {
			why += "HAPROXY_" + o.Template
		}
		if len(o.Labels) > 0 {
			why += " because of " + strings.Join(o.Labels, " ")
		}
		if why != last {
			fmt.Fprintln(w, why)
		}
		last = why
		fmt.Fprint(w, strings.TrimPrefix(strings.Join(lines[o.Line-1:end], ""), "\n"))
	}
	if !found {
		return fault.New("stoa lb render", fault.NotFound, app, errors.New("no line of the configuration comes from this app: it has no port of these groups with a serving task, or its labels are wrong"))
	}
	return nil
}

// Lint checks what the apps of now ask for, by our rules and by the haproxy binary. It
// writes each finding and fails when there is one.
func (b *LB) Lint(ctx context.Context, w io.Writer) error {
	binary, err := haproxy.Find(ctx, b.cfg.HAProxyPath)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "stoa-lint")
	if err != nil {
		return fault.New("stoa lb lint", fault.Unavailable, "", err)
	}
	defer os.RemoveAll(dir)
	b.files.Binary, b.files.RunDir, b.files.Archives = binary, dir, 0
	b.proxy = haproxy.New(b.files)
	c, services, problems, err := b.once(ctx)
	if err != nil {
		return err
	}
	if err := b.proxy.Validate(ctx, c); fault.KindOf(err) == fault.Invalid {
		_, more, err := b.withoutRefused(ctx, services)
		if err != nil {
			return err // the frame itself is refused
		}
		problems = append(problems, more...)
	} else if err != nil {
		return err
	}
	if head, ok := b.cfg.Templates["HEAD"]; ok {
		fixed, notes := render.FixHead(head, b.settings())
		for _, n := range append(notes, haproxy.Review(fixed)...) {
			fmt.Fprintln(w, "advice: template HAPROXY_HEAD:", n)
		}
	}
	for _, p := range problems {
		fmt.Fprintln(w, p)
	}
	if len(problems) > 0 {
		return fault.New("stoa lb lint", fault.Conflict, "", fmt.Errorf("%d findings", len(problems)))
	}
	fmt.Fprintf(w, "%d services, nothing found\n", len(services))
	return nil
}
