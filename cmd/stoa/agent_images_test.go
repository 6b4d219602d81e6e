package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestAgentImages(t *testing.T) {
	file := filepath.Join(t.TempDir(), "box.json")
	if err := os.WriteFile(file, []byte(`{"type":"MESOS","mesos":{"image":{"type":"DOCKER","docker":{"name":"base"}}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := parseAgent(t, "--port=5052", "--image_providers=docker", "--docker_registry=http://reg:5000", "--docker_ignore_runtime",
		`--docker_registry_mirrors={"docker.io":["https://m1","https://m2"]}`, "--default_container_info=file://"+file, "--image_provisioner_backend=copy",
		`--image_gc_config={"image_disk_headroom":0.2,"image_disk_watch_interval":{"nanoseconds":3600000000000},"excluded_images":[{"type":"DOCKER","docker":{"name":"keep:1"}}]}`)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := c.config("")
	if err != nil {
		t.Fatal(err)
	}
	i := cfg.Images
	if i.Providers != "docker" || i.Registry != "http://reg:5000" || !i.IgnoreRuntime || len(i.Mirrors["docker.io"]) != 2 || i.Backend != "copy" ||
		i.Headroom != 0.2 || i.Interval != time.Hour || len(i.Excluded) != 1 || !strings.HasSuffix(i.StoreDir, "/mesos-5052/store/docker") ||
		cfg.DefaultContainerInfo.GetMesos().GetImage().GetDocker().GetName() != "base" {
		t.Errorf("%+v %v", i, cfg.DefaultContainerInfo)
	}
	for _, r := range []struct{ arg, want string }{
		{"--docker_registry_mirrors=x", "--docker_registry_mirrors"},
		{"--image_gc_config={}", "image_disk_headroom"},
		{`--image_gc_config={"image_disk_headroom":0.1}`, "image_disk_watch_interval"},
		{`--image_gc_config={"image_disk_headroom":0.1,"image_disk_watch_interval":{"nanoseconds":1},"excluded_images":[{"type":"APPC"}]}`, "excluded_images"},
		{"--default_container_info={}", "--default_container_info"},
		{"--default_container_info=/nowhere/box", "/nowhere/box"},
	} {
		c, err := parseAgent(t, r.arg)
		if err == nil {
			_, err = c.config("")
		}
		if err == nil || !strings.Contains(err.Error(), r.want) {
			t.Errorf("%s: %v, want %q", r.arg, err, r.want)
		}
	}
}
