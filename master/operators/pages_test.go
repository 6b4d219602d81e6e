package operators

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stoa-project/stoa/internal/wire"
)

// longPlan prints a JSON array of n texts of many lengths; printed counts the items.
func longPlan(n int, printed *atomic.Int64) ([]part, string) {
	text := func(i int) string {
		return strings.Repeat(fmt.Sprintf("item %d ", i), 1+rand.New(rand.NewPCG(1, uint64(i))).IntN(200))
	}
	whole := &encoder{}
	whole.open('[')
	for i := range n {
		whole.quoted(text(i))
	}
	whole.shut(']')
	return []part{
		one(func(e *encoder) { e.open('[') }),
		{n, func(e *encoder, i int) {
			printed.Add(1)
			e.quoted(text(i))
		}},
		one(func(e *encoder) { e.shut(']') }),
	}, string(whole.b)
}

// TestPages reads a document of some twenty megabytes by many readers of all paces: all get
// the same bytes, those at one pace share one printing, and the store keeps its size.
func TestPages(t *testing.T) {
	var printed atomic.Int64
	const n = 20000
	parts, want := longPlan(n, &printed)
	if len(want) < 2*storeSize {
		t.Fatalf("%d bytes are too few for this test", len(want))
	}
	store := &pageStore{}
	d := newDocument(store, parts)
	lead := d.reader(false)
	var first []byte
	for { // one reader alone
		plain, _, more, err := lead.next()
		if err != nil {
			t.Fatal(err)
		}
		if !more {
			break
		}
		first = append(first, plain...)
	}
	lead.close()
	if string(first) != want {
		t.Fatalf("%d bytes, want %d", len(first), len(want))
	}
	if got := printed.Load(); got != n {
		t.Errorf("one reader made %d items print, want %d", got, n)
	}
	store.mu.Lock()
	if store.held > storeSize+2*pageSize {
		t.Errorf("the store holds %d bytes", store.held)
	}
	store.mu.Unlock()

	var wg sync.WaitGroup
	for i := range 8 { // all of it again, mostly gone from the store, plain and compressed
		wg.Go(func() {
			rd := d.reader(i%2 == 1)
			defer rd.close()
			var out bytes.Buffer
			var sum gzipSum
			if rd.packed {
				out.Write(gzipHead)
			}
			for {
				plain, small, more, err := rd.next()
				if err != nil {
					t.Error(err)
					return
				}
				if !more {
					break
				}
				if rd.packed {
					sum.add(plain)
					plain = small
				}
				out.Write(plain)
			}
			got := out.Bytes()
			if rd.packed {
				out.Write(sum.tail())
				z, err := gzip.NewReader(&out)
				if err != nil {
					t.Error(err)
					return
				}
				if got, err = io.ReadAll(z); err != nil {
					t.Error(err)
				}
			}
			if string(got) != want {
				t.Errorf("reader %d got %d bytes, want %d", i, len(got), len(want))
			}
		})
	}
	wg.Wait()
	store.mu.Lock()
	defer store.mu.Unlock()
	for i, p := range store.kept {
		if p.refs != 1 {
			t.Errorf("kept page %d has %d users, want the store alone", i, p.refs)
		}
	}
}

// TestReadersTogether has readers who start at once: they cost one printing.
func TestReadersTogether(t *testing.T) {
	var printed atomic.Int64
	const n = 4000
	parts, want := longPlan(n, &printed) // fits the store
	if len(want) > storeSize {
		t.Fatalf("%d bytes are too many for this test", len(want))
	}
	shell := &Shell{}
	d := newDocument(&shell.pages, parts)
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			w := httptest.NewRecorder()
			shell.deliver(w, httptest.NewRequest(http.MethodGet, "/state", nil), wire.MediaJSON, d)
			if w.Body.String() != want || w.Header().Get("Content-Length") != "" || w.Header().Get("Content-Type") != wire.MediaJSON {
				t.Errorf("%d bytes, %v", w.Body.Len(), w.Header())
			}
		})
	}
	wg.Wait()
	if got := printed.Load(); got != n {
		t.Errorf("ten readers made %d items print, want %d", got, n)
	}
	if length, err := d.length(); err != nil || length != len(want) {
		t.Errorf("length %d, %v; want %d", length, err, len(want))
	}
}

// TestPrinterWaitsForReaders shows that nobody prints much further than somebody reads.
func TestPrinterWaitsForReaders(t *testing.T) {
	var printed atomic.Int64
	parts, _ := longPlan(20000, &printed)
	d := newDocument(&pageStore{}, parts)
	rd := d.reader(false)
	defer rd.close()
	if _, _, more, err := rd.next(); !more || err != nil {
		t.Fatal(more, err)
	}
	d.store.mu.Lock()
	for d.running {
		d.change.Wait()
	}
	pages := len(d.pages)
	d.store.mu.Unlock()
	if pages < 2 || pages > pageAhead+3 {
		t.Errorf("%d pages were begun for a reader of the first", pages)
	}
}

// TestCutOff shows that a document that cannot be printed to its end does not look whole.
func TestCutOff(t *testing.T) {
	var printed atomic.Int64
	parts, _ := longPlan(3000, &printed)
	parts[2] = one(func(e *encoder) { e.err = errors.New("no more") })
	shell := New(Config{}, nil)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		shell.deliver(w, r, wire.MediaJSON, newDocument(&shell.pages, parts))
	}))
	defer srv.Close()
	resp, err := srv.Client().Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); err == nil {
		t.Errorf("%d bytes of a failed answer ended well", n)
	}
	w := httptest.NewRecorder()
	shell.deliver(w, httptest.NewRequest(http.MethodGet, "/", nil), wire.MediaJSON,
		newDocument(&shell.pages, []part{one(func(e *encoder) { e.err = errors.New("nothing") })}))
	if w.Code != http.StatusServiceUnavailable || w.Body.String() != "nothing" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestSmallDocuments: the answers of a small cluster take what they are long, not a page
// each.
func TestSmallDocuments(t *testing.T) {
	store := &pageStore{}
	for i := range 3000 {
		d := newDocument(store, []part{one(func(e *encoder) { e.quoted(strings.Repeat("x", 5000)) })})
		r := d.reader(i%2 == 0)
		for more := true; more; {
			var err error
			if _, _, more, err = r.next(); err != nil {
				t.Fatal(err)
			}
		}
		r.close()
	}
	takes := 0
	for _, p := range store.kept {
		takes += cap(p.plain) + cap(p.packed)
	}
	for _, b := range store.free {
		takes += cap(b)
	}
	if takes > 2*storeSize || store.held > storeSize || len(store.kept) < 1000 {
		t.Errorf("%d pages and %d empty buffers take %d bytes, %d by the book", len(store.kept), len(store.free), takes, store.held)
	}
}
