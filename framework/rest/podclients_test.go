package rest

import (
	"encoding/json"
	"testing"
	"time"

	gomarathon "github.com/gambol99/go-marathon"
)

// The answers as later versions of go-marathon decode them: with these types, and numbers
// and times that cannot be anything else. Version 0.7.1 knows no pods.
type (
	clientPod struct {
		ID, Version, User, Role string
		Labels                  map[string]string
		Environment             map[string]any
		Containers              []struct {
			Name      string
			Exec      *struct{ Command struct{ Shell string } }
			Resources *clientResources
			Endpoints []struct {
				Name                    string
				ContainerPort, HostPort int
				Protocol                []string
			}
			HealthCheck *struct {
				HTTP                                                                                      *struct{ Endpoint, Path, Scheme string }
				GracePeriodSeconds, IntervalSeconds, MaxConsecutiveFailures, TimeoutSeconds, DelaySeconds *int
			}
			VolumeMounts []struct {
				Name, MountPath string
				ReadOnly        *bool
			}
			Lifecycle struct{ KillGracePeriodSeconds *float64 }
		}
		Volumes  []struct{ Name, Host string }
		Networks []struct{ Name, Mode string }
		Scaling  *struct {
			Kind      string
			Instances int
		}
		Scheduling *struct {
			Backoff   *struct{ Backoff, BackoffFactor, MaxLaunchDelay *float64 }
			Upgrade   *struct{ MinimumHealthCapacity, MaximumOverCapacity *float64 }
			Placement *struct {
				Constraints *[]struct{ FieldName, Operator, Value string }
			}
			KillSelection string
		}
		ExecutorResources *clientResources
	}
	clientResources struct{ Cpus, Mem, Disk, GPUs float64 }
	clientStatus    struct {
		ID, Status, Message string
		Spec                *clientPod
		StatusSince         time.Time
		LastUpdated         time.Time
		LastChanged         time.Time
		Instances           []struct {
			ID, Status, AgentHostname, SpecReference string
			StatusSince                              time.Time
			Networks                                 []struct {
				Name      string
				Addresses []string
			}
			Resources  *clientResources
			Containers []struct {
				Name, Status, ContainerID string
				Conditions                []struct{ Name, Value, Reason string }
				Endpoints                 []struct {
					Name              string
					AllocatedHostPort int
				}
				Termination *struct {
					ExitCode int
					Message  string
				}
			}
		}
		TerminationHistory []struct {
			InstanceID              string
			StartedAt, TerminatedAt time.Time
			Containers              []struct{ ContainerID, LastKnownState string }
		}
	}
)

func decoded[T any](t *testing.T, a answer) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.text), &v); err != nil {
		t.Fatalf("%v in %s", err, a.text)
	}
	return v
}

// TestPodClients makes the calls on pods that go-marathon makes, in its way: a body with
// GET and DELETE, ids with a slash before them, answers into types.
func TestPodClients(t *testing.T) {
	s := newStack(t)
	s.want(200, "HEAD", "/v2/pods", `""`)
	made := decoded[clientPod](t, s.want(201, "POST", "/v2/pods", twoContainers))
	if made.ID != "/shop/cart" || made.Scaling.Instances != 2 || *made.Scheduling.Backoff.BackoffFactor != 1.15 || made.Containers[0].HealthCheck.HTTP.Endpoint != "http" ||
		*made.Containers[0].HealthCheck.GracePeriodSeconds != 300 || made.ExecutorResources.Mem != 32 || !*made.Containers[1].VolumeMounts[0].ReadOnly {
		t.Errorf("%+v", made)
	}
	for _, id := range s.run() {
		s.health(id, true)
	}
	if all := decoded[[]clientPod](t, s.want(200, "GET", "/v2/pods", `""`)); len(all) != 1 || all[0].ID != "/shop/cart" {
		t.Errorf("%+v", all)
	}
	status := decoded[clientStatus](t, s.want(200, "GET", "/v2/pods//shop/cart::status", `""`))
	if status.Status != "STABLE" || len(status.Instances) != 2 || status.Instances[0].Networks[0].Addresses[0] != "10.0.0.1" || status.Spec.ID != "/shop/cart" ||
		status.Instances[0].Containers[0].Endpoints[0].AllocatedHostPort == 0 || status.LastUpdated.IsZero() {
		t.Errorf("%+v", status)
	}
	if all := decoded[[]clientStatus](t, s.want(200, "GET", "/v2/pods/::status", `""`)); len(all) != 1 {
		t.Errorf("%+v", all)
	}
	versions := decoded[[]string](t, s.want(200, "GET", "/v2/pods/shop/cart::versions", `""`))
	if at := decoded[clientPod](t, s.want(200, "GET", "/v2/pods/shop/cart::versions/"+versions[0], `""`)); at.Version != versions[0] {
		t.Errorf("%+v", at)
	}

	// What 0.7.1 asks for does not mind that there are pods.
	s.want(201, "POST", "/v2/pods", `{"id":"/waits","containers":[{"name":"c","resources":{"cpus":1000},"exec":{"command":{"shell":"sleep 9"}}}]}`)
	c := s.client()
	if q := ok[*gomarathon.Queue](t, "Queue")(c.Queue()); len(q.Items) != 1 || q.Items[0].Count != 1 {
		t.Errorf("queue %+v", q)
	}
	if d := ok[[]*gomarathon.Deployment](t, "Deployments")(c.Deployments()); len(d) != 1 || d[0].Steps[1][0].Action != "ScalePod" {
		t.Errorf("deployments %+v", d)
	}
	if g := ok[*gomarathon.Groups](t, "Groups")(c.Groups()); len(g.Groups) != 1 {
		t.Errorf("groups %+v", g)
	}
	fine(t, "DeleteQueueDelay", c.DeleteQueueDelay("/waits"))

	if gone := s.want(202, "DELETE", "/v2/pods/shop/cart?force=false", `""`); gone.text != "" {
		t.Errorf("%q", gone.text)
	}
}
