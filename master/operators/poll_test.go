package operators_test

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stoa-project/stoa/master/ledger"
)

func TestGzip(t *testing.T) {
	shell, _ := recordedShell(t, nil)
	h := mux(shell)
	plain := get(t, h, "/state").Body.String()
	for _, c := range []struct {
		url, accept string
		packed      bool
	}{
		{"/state", "gzip", true},
		{"/state", "deflate, gzip;q=0.5", true},
		{"/state", "gzip;q=0", false},
		{"/state", "identity", false},
		{"/version", "gzip", false}, // too small to be worth it
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, c.url, nil)
		r.Header.Set("Accept-Encoding", c.accept)
		h.ServeHTTP(w, r)
		if packed := w.Header().Get("Content-Encoding") == "gzip"; packed != c.packed {
			t.Errorf("%s %q: packed %v", c.url, c.accept, packed)
		}
		if !c.packed {
			continue
		}
		z, err := gzip.NewReader(w.Body)
		if err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(z); err != nil || string(text) != plain {
			t.Errorf("%s %q: %d bytes, %v", c.url, c.accept, len(text), err)
		}
	}
}

func TestJSONP(t *testing.T) {
	shell, _ := recordedShell(t, nil)
	h := mux(shell)
	want := record(t, "http/state-jsonp.http")
	got := get(t, h, "/state?jsonp=cb")
	if got.Header().Get("Content-Type") != want.header.Get("Content-Type") {
		t.Errorf("%v", got.Header())
	}
	if body := got.Body.String(); body != "cb("+get(t, h, "/state").Body.String()+")" {
		t.Errorf("%.100s", body)
	}
	if got := get(t, h, "/version?jsonp=a.b$_1"); !strings.HasPrefix(got.Body.String(), "a.b$_1({") {
		t.Errorf("%s", got.Body)
	}
	if got := get(t, h, "/version?jsonp=alert(1)//"); got.Code != 400 {
		t.Errorf("%d %s", got.Code, got.Body)
	}
}

// Texts from outside cannot break the JSON.
func TestOddTexts(t *testing.T) {
	shell, d := recordedShell(t, nil)
	odd := "a\"b\\c\n\x01\xff\u2028é"
	d.book.Frameworks[0].Info.Name = &odd
	d.book.Agents[0].Info.Attributes[0].Name = &odd
	v := ordered(t, get(t, mux(shell), "/state").Body.Bytes()).(object)
	if got := v.values["frameworks"].([]any)[0].(object).values["name"]; got != "a\"b\\c\n\x01\uFFFD\u2028é" {
		t.Errorf("%q", got)
	}
}

// Many who poll at once share few encodings, and nobody sees a state from before the
// request.
func TestPollersShare(t *testing.T) {
	shell, d := recordedShell(t, nil)
	h := mux(shell)
	get(t, h, "/state")
	before := d.views
	for range 10 {
		get(t, h, "/state")
	}
	if d.views != before+10 {
		t.Errorf("%d views for 10 polls one after the other: each must look", d.views-before)
	}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if w := get(t, h, "/state"); w.Code != 200 || w.Body.Len() < 10000 {
				t.Errorf("%d, %d bytes", w.Code, w.Body.Len())
			}
		})
	}
	wg.Wait()
	// A new snapshot is seen by the next poll.
	d.mu.Lock()
	d.book = &ledger.Snapshot{Master: d.leading}
	d.mu.Unlock()
	if w := get(t, h, "/state"); !strings.Contains(w.Body.String(), `"slaves":[],`) {
		t.Errorf("%.300s", w.Body)
	}
}
