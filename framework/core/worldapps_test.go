package core_test

import (
	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
)

// put is a command that creates or changes an app.
func put(a app.App, force bool) core.ChangeRoot {
	return core.ChangeRoot{Group: a.ID.Parent(), Force: force,
		Edit: func(old *app.Group, _ core.History, v app.Timestamp) (*app.Group, error) {
			n := a
			return app.Settle(old, old.PutApp(&n, v), v, app.PortPool{Min: 10000, Max: 20000})
		}}
}

func remove(id app.PathID, force bool) core.ChangeRoot {
	return core.ChangeRoot{Group: id.Parent(), Force: force,
		Edit: func(old *app.Group, _ core.History, v app.Timestamp) (*app.Group, error) {
			return app.Settle(old, old.Remove(id, v), v, app.PortPool{Min: 10000, Max: 20000})
		}}
}

func basic(id app.PathID, n int) app.App {
	return app.App{ID: id, Cmd: "sleep 9", Instances: n, Cpus: 0.1, Mem: 32, Role: "*",
		BackoffFactor: 1.15, BackoffSeconds: 1, MaxLaunchDelaySeconds: 300, KillSelection: app.YoungestFirst,
		Networks:        app.List[app.Network]{{Mode: app.NetworkHost}},
		PortDefinitions: []app.PortDefinition{{Port: 0, Name: "default", Protocol: "tcp"}},
		Upgrade:         app.UpgradeStrategy{MaximumOverCapacity: 1, MinimumHealthCapacity: 1}}
}
