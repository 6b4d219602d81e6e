package image

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/stoa-project/stoa/internal/fault"
)

// unpacked unpacks a stream into a fresh folder beside one with a file that nothing may touch.
func unpacked(t testing.TB, raw []byte, limits Limits, overlay bool) (string, layerFacts, error) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("layers need root")
	}
	limits.fill()
	base := t.TempDir()
	if err := os.WriteFile(base+"/outside", []byte("untouched"), 0o600); err != nil {
		t.Fatal(err)
	}
	root := base + "/root"
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	facts, err := unpackLayer(context.Background(), root, &counter{r: bytes.NewReader(raw), sum: sha256.New()}, limits, overlay)
	if got, rerr := os.ReadFile(base + "/outside"); rerr != nil || string(got) != "untouched" {
		t.Errorf("outside: %q %v", got, rerr)
	}
	if info, serr := os.Stat(base + "/outside"); serr != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("outside: %v %v", info, serr)
	}
	if entries, _ := os.ReadDir(base); len(entries) != 2 {
		t.Errorf("beside the layer: %v", entries)
	}
	return root, facts, err
}

func TestEntriesThatAreRefused(t *testing.T) {
	odd := func(name string, typ byte) entry {
		return entry{Header: tar.Header{Name: name, Typeflag: typ, Mode: 0o644}}
	}
	for name, c := range map[string]struct {
		entries []entry
		want    string
	}{
		"up":                 {[]entry{file("../outside", "x")}, "leads out"},
		"up inside":          {[]entry{file("a/../../outside", "x")}, "leads out"},
		"harmless up":        {[]entry{file("a/../b", "x")}, "leads out"},
		"hard link up":       {[]entry{hard("a", "../outside")}, "leads out"},
		"hard link to none":  {[]entry{hard("a", "nothing")}, "not in the layer"},
		"hard link to root":  {[]entry{hard("a", "/")}, "not in the layer"},
		"hard link to dir":   {[]entry{dir("d"), hard("a", "d")}, "no file"},
		"hard link to self":  {[]entry{file("a", "x"), hard("a", "a")}, "itself"},
		"root is a file":     {[]entry{file(".", "x")}, "root folder"},
		"file as folder":     {[]entry{file("a", "x"), file("a/b", "y")}, "no folder"},
		"link in a circle":   {[]entry{link("a", "b"), link("b", "a"), file("a/x", "y")}, "no folder"},
		"deep":               {[]entry{file(strings.Repeat("d/", 300)+"f", "x")}, "deep"},
		"long":               {[]entry{file(strings.Repeat("d", 5000), "x")}, "too long"},
		"whiteout of itself": {[]entry{file(".wh...", "")}, "can be named"},
		"whiteout of above":  {[]entry{file("a/.wh..", "")}, "can be named"},
		"empty link":         {[]entry{link("a", "")}, "link to nothing"},
		"owner":              {[]entry{{Header: tar.Header{Name: "a", Typeflag: tar.TypeReg, Uid: 1<<32 - 1}}}, "owner"},
		"continuous file":    {[]entry{odd("a", tar.TypeCont)}, "unknown type"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := unpacked(t, tarOf(t, c.entries...), Limits{}, true)
			if fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

// Links of a layer, absolute ones and with dots, count from its root.
func TestLinksStayInside(t *testing.T) {
	root, _, err := unpacked(t, tarOf(t,
		dir("real"), link("abs", "/real"), link("up", "../../../../real"), link("etc", "/etc"), link("tmp", "../outside"),
		file("abs/a", "1"), file("up/b", "2"), hard("c", "abs/a"), file("tmp", "replaces the link"), link("etc", "now"),
	), Limits{}, true)
	if err != nil {
		t.Fatal(err)
	}
	if got := listing(t, root); got != "abs>/real c=1 etc>now real real/a=1 real/b=2 tmp=replaces the link up>../../../../real" {
		t.Error(got)
	}
}

func TestAttributes(t *testing.T) {
	header := func(name string, typ byte, mode int64) tar.Header {
		return tar.Header{Name: name, Typeflag: typ, Mode: mode, Uid: 12, Gid: 34}
	}
	xattr := header("cap", tar.TypeReg, 0o755)
	xattr.PAXRecords = map[string]string{
		"SCHILY.xattr.security.capability":     "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
		"SCHILY.xattr.user.mine":               "x",
		"SCHILY.xattr.user.overlay.redirect":   "/evil",
		"SCHILY.xattr.trusted.overlay.opaque":  "y",
		"SCHILY.xattr.trusted.overlay.metacop": "",
	}
	root, facts, err := unpacked(t, tarOf(t,
		entry{Header: header("suid", tar.TypeReg, 0o4755)}, entry{Header: header("sticky/", tar.TypeDir, 0o1777)}, entry{Header: header("fifo", tar.TypeFifo, 0o600)},
		entry{Header: xattr}, entry{Header: header("null", tar.TypeChar, 0o666)}, entry{Header: header("disk", tar.TypeBlock, 0o666)},
		entry{Header: header("./", tar.TypeDir, 0o711)}, entry{Header: header("closed/in", tar.TypeReg, 0o600)}, entry{Header: header("closed", tar.TypeDir, 0)},
	), Limits{}, true)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]uint32{"suid": unix.S_IFREG | 0o4755, "sticky": unix.S_IFDIR | 0o1777, "fifo": unix.S_IFIFO | 0o600,
		"cap": unix.S_IFREG | 0o755, ".": unix.S_IFDIR | 0o711, "closed": unix.S_IFDIR} {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(root, name), &st); err != nil || st.Mode != want || st.Uid != 12 || st.Gid != 34 {
			t.Errorf("%s: %v %o %d:%d", name, err, st.Mode, st.Uid, st.Gid)
		}
		if name != "closed" && name != "." && st.Mtim.Sec != 1_000_000_000 {
			t.Errorf("%s: time %v", name, st.Mtim)
		}
	}
	for _, name := range []string{"null", "disk"} { // a device 0/0 would hide what is below
		if _, err := os.Lstat(filepath.Join(root, name)); !os.IsNotExist(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	buf := make([]byte, 1000)
	n, err := unix.Llistxattr(root+"/cap", buf)
	if names := string(buf[:max(0, n)]); err != nil || !strings.Contains(names, "security.capability") || !strings.Contains(names, "user.mine") || strings.Contains(names, "overlay") {
		t.Errorf("attributes %q %v", names, err)
	}
	if facts.Entries != 9 {
		t.Errorf("%+v", facts)
	}
}

func TestBombs(t *testing.T) {
	zeros := gzipped(t, tarOf(t, file("zeros", strings.Repeat("\x00", 8<<20))))
	for name, c := range map[string]struct {
		raw    []byte
		limits Limits
		want   string
	}{
		"ratio":   {zeros, Limits{RatioFrom: 1 << 20}, "times as much"},
		"bytes":   {zeros, Limits{Bytes: 4 << 20}, "more than 4194304 bytes"},
		"entries": {tarOf(t, file("a", ""), file("b", ""), file("c", "")), Limits{Entries: 2}, "more than 2 entries"},
		"trailing": {gzipped(t, append(tarOf(t, file("a", "")), make([]byte, 8<<20)...)), Limits{RatioFrom: 1 << 20},
			"times as much"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := unpacked(t, c.raw, c.limits, true)
			if fault.KindOf(err) != fault.TooLarge || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v", err)
			}
		})
	}
	if _, _, err := unpacked(t, zeros, Limits{}, true); err != nil { // small ones are fine
		t.Error(err)
	}
}

// A sparse file promises far more than its stream holds.
func TestSparseBomb(t *testing.T) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	h := &tar.Header{Name: "GNUSparseFile.0/huge", Typeflag: tar.TypeReg, Mode: 0o644, Size: 512, Format: tar.FormatPAX, PAXRecords: map[string]string{
		"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "huge", "GNU.sparse.realsize": "1099511627776",
	}}
	raw := func() []byte {
		// archive/tar refuses to write these records; a plain header is patched instead.
		h.PAXRecords = map[string]string{"ABC.sparse.major": "1", "ABC.sparse.minor": "0", "ABC.sparse.name": "huge", "ABC.sparse.realsize": "1099511627776"}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		body := make([]byte, 512)
		copy(body, "1\n1099511627776\n0\n")
		if _, err := w.Write(body); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return bytes.ReplaceAll(buf.Bytes(), []byte("ABC.sparse"), []byte("GNU.sparse"))
	}()
	_, _, err := unpacked(t, raw, Limits{Bytes: 1 << 20}, true)
	if fault.KindOf(err) != fault.TooLarge {
		t.Errorf("error %v", err)
	}
}

func TestZstdAndPlain(t *testing.T) {
	raw := tarOf(t, file("f", "x"))
	var buf bytes.Buffer
	z, err := zstd.NewWriter(&buf)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(raw); err != nil {
		t.Fatal(err)
	}
	z.Close()
	sum := sha256.New()
	sum.Write(raw)
	want := (&counter{sum: sum}).digest()
	for name, packed := range map[string][]byte{"zstd": buf.Bytes(), "plain": raw, "gzip": gzipped(t, raw)} {
		root, facts, err := unpacked(t, packed, Limits{}, false)
		if err != nil || facts.DiffID != want || listing(t, root) != "f=x" {
			t.Errorf("%s: %v %+v", name, err, facts)
		}
	}
}

// Streams that are cut or changed anywhere end in an error or in a folder, never in a
// panic, and never touch anything else. The seed is printed and can be replayed.
func TestDamagedStreams(t *testing.T) {
	seed := uint64(os.Getpid())
	if text := os.Getenv("STOA_SEED"); text != "" {
		seed = 0
		for _, c := range text {
			seed = seed*10 + uint64(c-'0')
		}
	}
	t.Logf("STOA_SEED=%d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	good := tarOf(t, dir("d"), file("d/f", strings.Repeat("text ", 100)), link("l", "/d"), hard("h", "d/f"), file("l/.wh.x", ""), file("d/.wh..wh..opq", ""))
	for range 300 {
		raw := append([]byte{}, good...)
		for range 1 + r.IntN(4) {
			raw[r.IntN(len(raw))] = byte(r.IntN(256))
		}
		if r.IntN(3) == 0 {
			raw = raw[:r.IntN(len(raw))]
		}
		if r.IntN(3) == 0 {
			raw = gzipped(t, raw)
		}
		_, _, err := unpacked(t, raw, Limits{Bytes: 1 << 20}, r.IntN(2) == 0)
		if errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
}

func TestAccount(t *testing.T) {
	h := newHub(t)
	image := h.push(imageOf(t, v1Config, tarOf(t, file("etc/passwd", "root:x:0:0::/:/bin/sh\napp:x:100:101::/:\n200:x:7:7::/:\nbad\n"), file("etc/group", "g:x:300:app,other\nh:x:301:app\n")),
		tarOf(t, file("etc/other", ""))), "one")
	bare := h.push(imageOf(t, v1Config, tarOf(t, file("etc/passwd", "old:x:1:1::/:\n")), tarOf(t, file("etc/.wh.passwd", ""))), "bare")
	opaque := h.push(imageOf(t, v1Config, tarOf(t, file("etc/passwd", "old:x:1:1::/:\n")), tarOf(t, dir("etc"), file("etc/.wh..wh..opq", ""))), "opaque")
	linked := h.push(imageOf(t, v1Config, tarOf(t, link("etc/passwd", "/host"), file("host", "in:x:5:5::/:\n"))), "linked")
	for _, backend := range []string{Overlay, Copy} {
		d := newDepot(t, func(c *Config) { c.Backend = backend })
		r := d.provision("one", image, true)
		for user, want := range map[string]string{"app": "100 101 [300 301]", "100": "100 101 [300 301]", "200": "7 7 []", "4711": "4711 4711 []", "root": "0 0 []"} {
			a, err := r.Account(user)
			if err != nil || want != text(a.UID, a.GID, a.Groups) {
				t.Errorf("%s %s: %+v %v", backend, user, a, err)
			}
		}
		for _, user := range []string{"nobody-here", "-1", "4294967295", "99999999999"} {
			if _, err := r.Account(user); fault.KindOf(err) != fault.Invalid {
				t.Errorf("%s: %v", user, err)
			}
		}
		for id, name := range map[string]string{"bare": bare, "opaque": opaque} {
			if _, err := d.provision(id, name, true).Account("old"); fault.KindOf(err) != fault.Invalid {
				t.Errorf("%s %s: a removed user is found: %v", backend, id, err)
			}
		}
		if a, err := d.provision("linked", linked, true).Account("in"); err != nil || a.UID != 5 {
			t.Errorf("%+v %v", a, err)
		}
	}
}
