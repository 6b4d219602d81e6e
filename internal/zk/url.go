package zk

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"github.com/stoa-project/stoa/internal/fault"
)

// defaultPort is where a ZooKeeper server listens when the URL names no port.
const defaultPort = "2181"

// maxURLFile bounds the file behind a file:// address, in bytes.
const maxURLFile = 64 << 10

// URL is a parsed zk:// address.
type URL struct {
	User, Password string   // digest credentials; both empty: none
	Hosts          []string // host:port, in the order given
	Path           string   // absolute, without trailing slash; "/" when none is given
}

// Parse reads zk://[user:password@]host[:port],host[:port],…/path, or file:///name of
// a file that holds such an address (mesos-master.md 7.1). Errors are fault.Invalid
// and never repeat the password.
func Parse(s string) (URL, error) {
	if name, ok := strings.CutPrefix(s, "file://"); ok {
		content, err := readURLFile(name)
		if err != nil {
			return URL{}, err
		}
		if strings.HasPrefix(content, "file://") {
			return URL{}, badURL(s, "the file holds another file:// address")
		}
		return Parse(content)
	}
	rest, ok := strings.CutPrefix(s, "zk://")
	if !ok {
		return URL{}, badURL(s, "it must start with zk:// (zk://host:port,host:port/path)")
	}
	var u URL
	authority, path, _ := strings.Cut(rest, "/")
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		user, password, ok := strings.Cut(authority[:at], ":")
		if !ok || user == "" {
			return URL{}, badURL("zk://…@"+authority[at+1:], "credentials must be user:password")
		}
		u.User, u.Password, authority = user, password, authority[at+1:]
	}
	for _, h := range strings.Split(authority, ",") {
		hostPort, err := hostPort(h)
		if err != nil {
			return URL{}, badURL("zk://"+authority+"/"+path, err.Error())
		}
		u.Hosts = append(u.Hosts, hostPort)
	}
	u.Path = "/" + strings.Trim(path, "/")
	if strings.Contains(u.Path, "//") {
		return URL{}, badURL(u.String(), "the path has an empty part")
	}
	return u, nil
}

// String gives the address with the password hidden, fit for logs.
func (u URL) String() string {
	creds := ""
	if u.User != "" {
		creds = u.User + ":***@"
	}
	return "zk://" + creds + strings.Join(u.Hosts, ",") + u.Path
}

// Join appends a relative path to the URL's own: Join("state") of zk://h/marathon is /marathon/state.
func (u URL) Join(rel string) string {
	if u.Path == "/" {
		return "/" + rel
	}
	return u.Path + "/" + rel
}

func hostPort(h string) (string, error) {
	if h == "" {
		return "", errors.New("a host is empty")
	}
	host, port, err := net.SplitHostPort(h)
	if err != nil {
		host, port = strings.Trim(h, "[]"), defaultPort
		if strings.Count(h, ":") == 1 {
			return "", fmt.Errorf("%q is not host:port", h)
		}
	}
	if host == "" || port == "" {
		return "", fmt.Errorf("%q is not host:port", h)
	}
	for _, r := range port {
		if r < '0' || r > '9' {
			return "", fmt.Errorf("port %q of %q is no number", port, h)
		}
	}
	return net.JoinHostPort(host, port), nil
}

func readURLFile(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", fault.New("zk.Parse", fault.Invalid, "file://"+name, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxURLFile))
	if err != nil {
		return "", fault.New("zk.Parse", fault.Invalid, "file://"+name, err)
	}
	return strings.TrimSpace(string(b)), nil
}

func badURL(url, why string) error {
	return fault.New("zk.Parse", fault.Invalid, url, errors.New(why))
}
