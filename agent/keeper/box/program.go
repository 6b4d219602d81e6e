package box

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// SayNotRun writes the sentence about a program that cannot be executed, to the task's
// owner as Mesos says it (mesos-agent.md 2.2).
func SayNotRun(to io.Writer, path string, err error) {
	text := err.Error()
	var errno syscall.Errno
	if errors.As(err, &errno) { // strerror(3), for what exec says most
		text = errno.Error()
		text = strings.ToUpper(text[:1]) + text[1:]
	}
	fmt.Fprintf(to, "Failed to execute '%s': %s\n", path, text)
}

// candidates lists where a program may be: as given when it has a slash, else in PATH of
// its environment, else in its folder (mesos-agent.md 2.2).
func candidates(name string, env []string, dir string) []string {
	if strings.Contains(name, "/") {
		return []string{name} // relative ones count from dir, where the process is by then
	}
	path := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for _, v := range env {
		if p, ok := strings.CutPrefix(v, "PATH="); ok {
			path = p
		}
	}
	var out []string
	for _, folder := range append(filepath.SplitList(path), dir) {
		if folder == "" || !filepath.IsAbs(folder) {
			folder = filepath.Join(dir, folder)
		}
		out = append(out, filepath.Join(folder, name))
	}
	return out
}

// LookPath finds a program among its candidates.
func LookPath(name string, env []string, dir string) (string, error) {
	all := candidates(name, env, dir)
	if strings.Contains(name, "/") {
		return all[0], nil
	}
	for _, file := range all {
		info, err := os.Stat(file)
		if err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return file, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.ENOTDIR) {
			return "", err
		}
	}
	return "", syscall.ENOENT
}
