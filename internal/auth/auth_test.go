package auth

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func write(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCredentialsFiles(t *testing.T) {
	for _, c := range []struct {
		text, principal, secret string
		n                       int
	}{
		{`{"credentials":[{"principal":"a","secret":"x"},{"principal":"b","secret":"y z"}]}`, "b", "y z", 2},
		{"a x\nb y\n", "b", "y", 2},
		{"# comment\n\n  a\tx  ", "a", "x", 1},
		{`{"credentials":[{"principal":"a","secret":""}]}`, "a", "", 1},
		{`{"credentials":[{"principal":"a","secret":"x"},{"principal":"a","secret":"y"}]}`, "a", "y", 1},
	} {
		got, warnings, err := ReadCredentials("file://" + write(t, c.text, 0o600))
		if err != nil || len(warnings) > 0 || got.Len() != c.n || !got.Check(c.principal, c.secret) || got.Check(c.principal, c.secret+"x") {
			t.Errorf("%q: %+v %v %v", c.text, got, warnings, err)
		}
	}
	if (*Credentials)(nil).Check("", "") || NewCredentials(Credential{"a", "x"}).Check("b", "") {
		t.Error("an unknown principal was accepted")
	}
}

func TestRefusedCredentialsFiles(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "at least one"},
		{`{"credentials":[]}`, "at least one"},
		{`{"credentials":[{"secret":"hidden"}]}`, "credentials[0].principal is empty"},
		{`{"credentials":[{"principal":"a"}]}`, "credentials[0].secret is missing"},
		{`{"credentials":[{"principal":"a","secret":hidden}]}`, "not JSON"},
		{`{"credentials":"hidden"}`, "it must be"},
		{"one\n", "line 1 has 1 words"},
		{"a b\nc d hidden", "line 2 has 3 words"},
		{"\xff\xfe", "UTF-8"},
	} {
		_, _, err := ReadCredentials(write(t, c.text, 0o600))
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%q: %v, want %q and no secret", c.text, err, c.want)
		}
	}
	if _, _, err := ReadCredentials("/nowhere/at/all"); err == nil {
		t.Error("a missing file was accepted")
	}
	if _, warnings, err := ReadCredentials(write(t, "a b", 0o644)); err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "mode 0644") {
		t.Errorf("a file that others may read: %q %v", warnings, err)
	}
}

func TestOwnCredential(t *testing.T) {
	for _, text := range []string{`{"principal":"a","secret":"x"}`, "a x\n"} {
		c, _, err := ReadCredential(write(t, text, 0o600))
		if err != nil || c != (Credential{"a", "x"}) {
			t.Errorf("%q: %v %v", text, c, err)
		}
	}
	for _, text := range []string{"", "a x\nb y", `{"principal":"a"}`, `[]`} {
		if _, _, err := ReadCredential(write(t, text, 0o600)); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	if s := (Credential{"a", "hidden"}).String(); s != "a" {
		t.Error(s)
	}
}

func ask(t *testing.T, a Authenticator, header string) (Principal, string, bool) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	if header != "" {
		r.Header.Set("Authorization", header)
	}
	p, challenges, ok := a.Authenticate(r)
	return p, strings.Join(challenges, ", "), ok
}

func basic(principal, secret string) string {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.SetBasicAuth(principal, secret)
	return r.Header.Get("Authorization")
}

func TestBasic(t *testing.T) {
	b := &Basic{Realm: "mesos-master-readonly", Credentials: NewCredentials(Credential{"a", "x"}, Credential{"b", ""})}
	for _, c := range []struct {
		header string
		want   string
	}{
		{basic("a", "x"), "a"}, {basic("b", ""), "b"},
		{"", ""}, {basic("a", "y"), ""}, {basic("a", ""), ""}, {basic("", ""), ""}, {basic("c", "x"), ""},
		{"Basic !!", ""}, {"Bearer x", ""}, {"Basic", ""},
	} {
		p, challenge, ok := ask(t, b, c.header)
		if ok != (c.want != "") || p.Value != c.want || (!ok && challenge != `Basic realm="mesos-master-readonly"`) {
			t.Errorf("%q: %v %q %v", c.header, p, challenge, ok)
		}
	}
}

func TestJWT(t *testing.T) {
	key := []byte("a key of this test")
	j := &JWT{Realm: "r", Key: key}
	token := func(key []byte, claims map[string]any) string {
		s, err := Token(key, claims)
		if err != nil {
			t.Fatal(err)
		}
		return "Bearer " + s
	}
	now := time.Now().Unix()
	p, _, ok := ask(t, j, token(key, map[string]any{"sub": "ops", "n": 5, "exp": now + 60}))
	if !ok || p.Value != "ops" || p.Claims["n"] != "5" || p.Claims["sub"] != "ops" {
		t.Errorf("%+v %v", p, ok)
	}
	p, _, ok = ask(t, j, token(key, map[string]any{"fid": "f"}))
	if !ok || p.Value != "" || p.Claims["fid"] != "f" {
		t.Errorf("claims only: %+v %v", p, ok)
	}
	good := token(key, map[string]any{"sub": "ops"})
	none := "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJvcHMifQ."
	for _, c := range []struct{ header, want string }{
		{"", `Bearer realm="r"`},
		{"Basic eA==", "Scheme 'Basic' unsupported"},
		{"Bearer", "Malformed"},
		{"Bearer a b", "Malformed"},
		{"Bearer abc", "Invalid JWT: it is not three"},
		{token([]byte("other"), map[string]any{"sub": "ops"}), "signature does not match"},
		{good[:len(good)-2] + "xx", "signature"},
		{none, "signature does not match, or the algorithm"},
		{token(key, map[string]any{"sub": "ops", "exp": now - 5}), "token has expired"},
		{token(key, map[string]any{"sub": "ops", "nbf": now + 60}), "not valid yet"},
		{token(key, map[string]any{}), "claims missing"},
	} {
		_, challenge, ok := ask(t, j, c.header)
		if ok || !strings.Contains(challenge, c.want) {
			t.Errorf("%q: %v %q, want %q", c.header, ok, challenge, c.want)
		}
	}
}

func TestCombined(t *testing.T) {
	both := Combined{
		&Basic{Realm: "r", Credentials: NewCredentials(Credential{"a", "x"})},
		&JWT{Realm: "r", Key: []byte("k")},
	}
	token, err := Token([]byte("k"), map[string]any{"sub": "b"})
	if err != nil {
		t.Fatal(err)
	}
	for header, want := range map[string]string{basic("a", "x"): "a", "Bearer " + token: "b"} {
		if p, _, ok := ask(t, both, header); !ok || p.Value != want {
			t.Errorf("%q: %v %v", header, p, ok)
		}
	}
	w := httptest.NewRecorder()
	_, challenges, ok := both.Authenticate(httptest.NewRequest(http.MethodGet, "/", nil))
	if ok {
		t.Fatal("nobody was let in")
	}
	Refuse(w, challenges)
	//lint:ignore SA1008 it is written as Mesos does
	if got := strings.Join(w.Header()["WWW-Authenticate"], ""); w.Code != 401 || got != `Basic realm="r", Bearer realm="r"` || w.Body.String() != "401 Unauthorized." {
		t.Errorf("%d %q %q", w.Code, got, w.Body)
	}
}

// What a client sends comes back in the challenge only with its quotes disarmed.
func TestChallengeIsNotInjected(t *testing.T) {
	_, challenge, _ := ask(t, &JWT{Realm: "r", Key: []byte("k")}, "x\"y\\z a")
	if strings.Count(challenge, `"`) != 6 || strings.Contains(challenge, `\`) {
		t.Errorf("%q", challenge)
	}
}
