package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Oversubscription is what is offered beyond what the host has, as revocable resources
// (mesos-agent.md 10). The one estimator there is says a fixed amount, so that masters
// are told at each registration and never in between.
type Oversubscription struct {
	Estimator string        // --resource_estimator: empty or FixedEstimator
	QoS       string        // --qos_controller: empty, nobody takes anything back
	Modules   string        // --modules: JSON or file://PATH, with the estimator's parameter "resources"
	Interval  time.Duration // --oversubscribed_resources_interval; an amount that never changes needs none
}

// FixedEstimator is the name of Mesos' estimator of a fixed amount.
const FixedEstimator = "org_apache_mesos_FixedResourceEstimator"

// estimate reads the flags; nil means that nothing is oversubscribed. Errors are
// fault.Invalid.
func (o Oversubscription) estimate() (resource.Resources, error) {
	if o.QoS != "" {
		return nil, fault.New("agent", fault.Invalid, "--qos_controller", fmt.Errorf("there is no controller %q, leave it out", o.QoS))
	}
	switch o.Estimator {
	case "", "noop":
		return nil, nil
	case FixedEstimator:
	default:
		return nil, fault.New("agent", fault.Invalid, "--resource_estimator", fmt.Errorf("there is no estimator %q, use %s", o.Estimator, FixedEstimator))
	}
	text, err := moduleParameter(o.Modules, FixedEstimator, "resources")
	if err != nil {
		return nil, fault.New("agent", fault.Invalid, "--modules", err)
	}
	amount, err := resource.Parse(text, resource.AnyRole)
	if err != nil {
		return nil, fault.New("agent", fault.Invalid, "--modules", err)
	}
	var out resource.Resources
	for _, r := range amount {
		out = append(out, &mesos.Resource{Name: r.Name, Type: r.Type, Scalar: r.Scalar, Ranges: r.Ranges, Set: r.Set,
			Reservations: r.Reservations, Disk: r.Disk, Revocable: &mesos.Resource_RevocableInfo{}})
	}
	return out, nil
}

// maxModules bounds what file:// of --modules may hold.
const maxModules = 1 << 20

// moduleParameter finds a parameter of a module in the JSON of --modules.
func moduleParameter(text, module, key string) (string, error) {
	if path, ok := strings.CutPrefix(text, "file://"); ok {
		info, err := os.Stat(path)
		if err != nil {
			return "", err
		}
		if info.Size() > maxModules {
			return "", fmt.Errorf("%s has more than %d bytes", path, maxModules)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		text = string(b)
	}
	want := fmt.Sprintf(`{"libraries":[{"modules":[{"name":%q,"parameters":[{"key":%q,"value":"cpus:2"}]}]}]}`, module, key)
	if text == "" {
		return "", errors.New("it must say how much: " + want)
	}
	var in struct {
		Libraries []struct {
			Modules []struct {
				Name       string
				Parameters []struct{ Key, Value string }
			}
		}
	}
	if err := json.Unmarshal([]byte(text), &in); err != nil {
		return "", fmt.Errorf("%w; it must look like %s", err, want)
	}
	for _, l := range in.Libraries {
		for _, m := range l.Modules {
			for _, p := range m.Parameters {
				if m.Name == module && p.Key == key {
					return p.Value, nil
				}
			}
		}
	}
	return "", errors.New("it must say how much: " + want)
}
