package operators_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/master/operators"
)

// Answers of many pages are whole in both codecs, by GET_STATE and as the first event of
// a subscription.
func TestLongAnswers(t *testing.T) {
	book := largeBook(300, 4000)
	srv := serve(t, mux(operators.New(operators.Config{}, &door{book: book, leading: book.Master})))
	var all []*masterapi.Response_GetState
	for _, codec := range []wire.Codec{wire.JSON, wire.Protobuf} {
		req, err := http.NewRequest(http.MethodPost, srv.URL+"/api/v1", strings.NewReader(`{"type":"GET_STATE"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", wire.MediaJSON)
		req.Header.Set("Accept", codec.MediaType)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.Header.Get("Content-Type") != codec.MediaType || len(body) < 1<<20 {
			t.Fatalf("%d bytes, %v, %v", len(body), resp.Header, err)
		}
		answer := &masterapi.Response{}
		if err := codec.Unmarshal(body, answer); err != nil {
			t.Fatal(err)
		}
		if answer.GetType() != masterapi.Response_GET_STATE {
			t.Errorf("%s", answer.GetType())
		}
		first := listen(t, srv.URL, codec).next()
		if first.GetType() != masterapi.Event_SUBSCRIBED || first.GetSubscribed().GetHeartbeatIntervalSeconds() != 15 {
			t.Errorf("%s, heartbeat %v", first.GetType(), first.GetSubscribed().GetHeartbeatIntervalSeconds())
		}
		all = append(all, answer.GetGetState(), first.GetSubscribed().GetGetState())
	}
	if n, m := len(all[0].GetGetTasks().GetTasks()), len(all[0].GetGetAgents().GetAgents()); n != 4000 || m != 300 {
		t.Errorf("%d tasks, %d agents", n, m)
	}
	// The JSON form prints defaults, so that the two codecs are compared in it.
	if !proto.Equal(all[0], all[1]) || !proto.Equal(all[2], all[3]) {
		t.Error("GET_STATE and SUBSCRIBED differ")
	}
	a, err := wire.MarshalJSON(all[0])
	b, err2 := wire.MarshalJSON(all[2])
	if err != nil || err2 != nil || string(a) != string(b) {
		t.Errorf("the codecs differ: %d and %d bytes, %v, %v", len(a), len(b), err, err2)
	}
}
