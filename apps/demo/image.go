package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
)

type imageCmd struct {
	File string `arg:"" help:"Archive to write."`
	Name string `default:"stoa-demo:1" help:"Name and tag of the image."`
}

// Run writes an image that holds nothing but this program, as docker save would: for
// agents whose --docker_registry is a folder.
func (c imageCmd) Run() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	program, err := os.ReadFile(self)
	if err != nil {
		return err
	}
	layer, err := archive(entry{"stoa-demo", program, 0o755}, entry{"etc/passwd", []byte("root:x:0:0::/:/stoa-demo\n"), 0o644})
	if err != nil {
		return err
	}
	sum := sha256.Sum256(layer)
	config, err := json.Marshal(map[string]any{
		"os": "linux", "architecture": runtime.GOARCH,
		"config": map[string]any{"Entrypoint": []string{"/stoa-demo"}, "Cmd": []string{"web"}, "Env": []string{"GREETING=hello from an image"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + hex.EncodeToString(sum[:])}},
	})
	if err != nil {
		return err
	}
	manifest, err := json.Marshal([]map[string]any{{"Config": "config.json", "RepoTags": []string{c.Name}, "Layers": []string{"layer.tar"}}})
	if err != nil {
		return err
	}
	all, err := archive(entry{"config.json", config, 0o644}, entry{"layer.tar", layer, 0o644}, entry{"manifest.json", manifest, 0o644})
	if err != nil {
		return err
	}
	return os.WriteFile(c.File, all, 0o644)
}

type entry struct {
	name string
	body []byte
	mode int64
}

func archive(entries ...entry) ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		if err := w.WriteHeader(&tar.Header{Name: e.name, Typeflag: tar.TypeReg, Mode: e.mode, Size: int64(len(e.body))}); err != nil {
			return nil, fmt.Errorf("%s: %w", e.name, err)
		}
		if _, err := io.Copy(w, bytes.NewReader(e.body)); err != nil {
			return nil, fmt.Errorf("%s: %w", e.name, err)
		}
	}
	return buf.Bytes(), w.Close()
}
