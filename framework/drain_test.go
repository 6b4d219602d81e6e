package framework

import (
	"testing"
	"time"
)

func TestDrainSeconds(t *testing.T) {
	for _, c := range []struct {
		labels map[string]string
		want   time.Duration
	}{
		{nil, 5 * time.Second},
		{map[string]string{"HAPROXY_GROUP": "x"}, 5 * time.Second},
		{map[string]string{"HAPROXY_0_DRAIN_SECONDS": "0"}, 0},
		{map[string]string{"HAPROXY_0_DRAIN_SECONDS": "2", "HAPROXY_1_DRAIN_SECONDS": " 30 "}, 30 * time.Second},
		{map[string]string{"HAPROXY_0_DRAIN_SECONDS": "soon"}, 5 * time.Second},
		{map[string]string{"HAPROXY_0_DRAIN_SECONDS": "-1"}, 5 * time.Second},
		{map[string]string{"HAPROXY_0_DRAIN_SECONDS": "100000"}, 600 * time.Second},
	} {
		if got := drainSeconds(c.labels); got != c.want {
			t.Errorf("%v: %v, want %v", c.labels, got, c.want)
		}
	}
}
