package core

import "github.com/stoa-project/stoa/framework/app"

// checkedConfig is one configuration of an app whose tasks the framework checks itself.
type checkedConfig struct {
	spec *app.RunSpec
	n    int // instances that were checked and are not forgotten
}

// announceChecks tells of the checks of a configuration once, when its first task is
// checked: add_health_check_event.
func (c *Core) announceChecks(i *instance) {
	if i.announced {
		return
	}
	i.announced = true
	l, v := i.line, i.spec.ConfigVersion
	k := l.checked[v]
	if k == nil {
		k = &checkedConfig{spec: i.spec}
		if l.checked == nil {
			l.checked = map[app.Timestamp]*checkedConfig{}
		}
		l.checked[v] = k
		for at := range i.spec.HealthChecks {
			if h := &i.spec.HealthChecks[at]; h.ByFramework() {
				c.publish(HealthCheckAdded{At: c.at(), App: l.id, Version: i.view.AppVersion, Check: h})
			}
		}
	}
	k.n++
}

// retireChecks tells of the checks of configurations that are neither wanted any more nor
// have instances left: remove_health_check_event, one for each check.
func (c *Core) retireChecks(l *line) {
	for _, v := range sortedKeys(l.checked) {
		k := l.checked[v]
		if k.n > 0 || l.spec != nil && l.spec.ConfigVersion == v {
			continue
		}
		delete(l.checked, v)
		for at := range k.spec.HealthChecks {
			if k.spec.HealthChecks[at].ByFramework() {
				c.publish(HealthCheckRemoved{At: c.at(), App: l.id})
			}
		}
	}
}
