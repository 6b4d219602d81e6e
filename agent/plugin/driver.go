// Package plugin uses volumes of Docker's volume plugins for containers without Docker
// (isolator docker/volume, mesos-agent.md 7.4). Where Mesos starts a program (dvdcli) for
// each mount, this speaks the plugins' own protocol.
//
// # Protocol
//
// A plugin listens on a socket NAME.sock in a folder of plugins, or a file NAME.spec
// there holds its address, unix://PATH or tcp://HOST:PORT. Requests are POST with JSON:
// Plugin.Activate tells what it implements, VolumeDriver.Create makes a volume or finds
// it there, Mount gives a path on this host for as long as the same ID has not been
// given to Unmount.
//
// # Books
//
// Each container's mounts are in a file of their own, written before the plugin is asked,
// so that a mount whose container ended while the agent was away is still given back.
package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/stoa-project/stoa/internal/fault"
)

const (
	mediaType = "application/vnd.docker.plugins.v1.2+json"
	// maxAnswer bounds what a plugin may answer.
	maxAnswer = 1 << 20
	// patience bounds one request: a driver may attach a disk over the network.
	patience = 2 * time.Minute
	// maxSpec bounds a .spec file.
	maxSpec = 4096
)

// Folders is where plugins are looked for when nothing else is said.
var Folders = []string{"/run/docker/plugins", "/etc/docker/plugins", "/usr/lib/docker/plugins"}

// driver is one plugin.
type driver struct {
	name string
	base string // of URLs
	http *http.Client
}

// find looks a plugin up and makes sure that it is one for volumes. Errors:
// fault.NotFound, fault.Unavailable, fault.Unsupported.
func find(ctx context.Context, folders []string, name string) (*driver, error) {
	const op = "plugin"
	if name == "" || strings.ContainsAny(name, "/\\\x00") || name == "." || name == ".." {
		return nil, fault.New(op, fault.Invalid, name, errors.New("is no name of a volume driver"))
	}
	network, address := "", ""
	for _, dir := range folders {
		for _, sock := range []string{filepath.Join(dir, name+".sock"), filepath.Join(dir, name, name+".sock")} {
			if info, err := os.Stat(sock); err == nil && info.Mode()&os.ModeSocket != 0 {
				network, address = "unix", sock
			}
		}
		for _, spec := range []string{filepath.Join(dir, name+".spec"), filepath.Join(dir, name, name+".spec")} {
			if address != "" {
				break
			}
			f, err := os.Open(spec)
			if err != nil {
				continue
			}
			b, err := io.ReadAll(io.LimitReader(f, maxSpec))
			f.Close()
			kind, rest, ok := strings.Cut(strings.TrimSpace(string(b)), "://")
			if err != nil || !ok || kind != "unix" && kind != "tcp" {
				return nil, fault.New(op, fault.Unsupported, spec, errors.New("must hold unix://PATH or tcp://HOST:PORT"))
			}
			network, address = kind, rest
		}
		if address != "" {
			break
		}
	}
	if address == "" {
		return nil, fault.New(op, fault.NotFound, name, fmt.Errorf("no plugin of this name is in %s", strings.Join(folders, ", ")))
	}
	d := &driver{name: name, base: "http://" + address}
	transport := &http.Transport{DisableKeepAlives: true, DisableCompression: true}
	if network == "unix" {
		d.base = "http://plugin"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", address)
		}
	}
	d.http = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	var does struct{ Implements []string }
	if err := d.call(ctx, "Plugin.Activate", struct{}{}, &does); err != nil {
		return nil, err
	}
	for _, what := range does.Implements {
		if what == "VolumeDriver" {
			return d, nil
		}
	}
	return nil, fault.New(op, fault.Unsupported, name, fmt.Errorf("the plugin is none for volumes, but for %s", strings.Join(does.Implements, ", ")))
}

// call makes one request. An answer's Err is an error.
func (d *driver) call(ctx context.Context, method string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	bad := func(kind fault.Kind, err error) error {
		return fault.New("plugin "+d.name, kind, method, err)
	}
	body, err := json.Marshal(in)
	if err != nil {
		return bad(fault.Invalid, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.base+"/"+method, bytes.NewReader(body))
	if err != nil {
		return bad(fault.Invalid, err)
	}
	req.Header.Set("Content-Type", mediaType)
	req.Header.Set("Accept", mediaType)
	resp, err := d.http.Do(req)
	if err != nil {
		return bad(fault.Unavailable, err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil || len(raw) > maxAnswer {
		return bad(fault.Unavailable, errors.Join(err, fmt.Errorf("an answer of more than %d bytes or cut short", maxAnswer)))
	}
	var said struct{ Err string }
	jsonErr := json.Unmarshal(raw, &said)
	switch {
	case said.Err != "":
		return bad(fault.Other, errors.New(said.Err))
	case resp.StatusCode != http.StatusOK:
		return bad(fault.Other, fmt.Errorf("%s: %.200s", resp.Status, bytes.TrimSpace(raw)))
	case jsonErr != nil && len(raw) > 0:
		return bad(fault.Malformed, jsonErr)
	case len(raw) == 0 || out == nil:
		return nil
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return bad(fault.Malformed, err)
	}
	return nil
}
