package load

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/tlsport"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
)

const (
	connections   = 4        // per framework
	maxOnTheWay   = 1024     // calls per connection whose answers are awaited
	maxAnswer     = 64 << 10 // bytes of an answer's body
	dialTimeout   = 10 * time.Second
	answerTimeout = time.Minute
)

// session is one subscription: its stream and where its calls go.
type session struct {
	codec     wire.Codec
	framework string
	target    *url.URL // of the master that took the subscription
	streamID  string
	body      io.Closer
	records   *wire.Reader
	lanes     []*lane
	next      int
	tls       *tlsport.Port // of calls; nil: plain connections
}

// subscribe opens the stream, following redirects to the leader, and reads SUBSCRIBED.
func subscribe(ctx context.Context, client *http.Client, at *url.URL, codec wire.Codec, call *scheduler.Call) (*session, error) {
	const op = "subscribe"
	body, err := codec.Marshal(call)
	if err != nil {
		return nil, err
	}
	req, err := request(ctx, at, codec, "", body)
	if err != nil {
		return nil, fault.New(op, fault.Invalid, at.Redacted(), err)
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, fault.New(op, fault.Unavailable, at.Host, err)
	}
	if res.StatusCode != http.StatusOK {
		defer res.Body.Close()
		why, _ := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
		return nil, fault.New(op, fault.Unavailable, res.Request.URL.Host, fmt.Errorf("%s: %s", res.Status, why))
	}
	target := *res.Request.URL
	target.User = at.User
	s := &session{codec: codec, target: &target, streamID: res.Header.Get("Mesos-Stream-Id"), body: res.Body,
		records: wire.NewReader(bufio.NewReaderSize(res.Body, 64<<10), 0)}
	ev, err := s.event()
	switch {
	case err != nil:
	case ev.GetType() == scheduler.Event_ERROR:
		err = fault.New(op, fault.Forbidden, res.Request.URL.Host, errors.New(ev.GetError().GetMessage()))
	case ev.GetType() != scheduler.Event_SUBSCRIBED:
		err = fault.New(op, fault.Malformed, res.Request.URL.Host, fmt.Errorf("the first event is %s, not SUBSCRIBED", ev.GetType()))
	}
	if err != nil {
		res.Body.Close()
		return nil, err
	}
	s.framework = ev.GetSubscribed().GetFrameworkId().GetValue()
	return s, nil
}

func request(ctx context.Context, at *url.URL, codec wire.Codec, streamID string, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", codec.MediaType)
	req.Header.Set("Accept", codec.MediaType)
	if u := at.User; u != nil { // also after a redirect to another host, which is the leader
		secret, _ := u.Password()
		req.SetBasicAuth(u.Username(), secret)
	}
	if streamID != "" {
		req.Header.Set("Mesos-Stream-Id", streamID)
	}
	return req, nil
}

// event reads the next event of the stream.
func (s *session) event() (*scheduler.Event, error) {
	b, err := s.records.ReadRecord()
	if err != nil {
		return nil, fault.New("event stream", fault.Unavailable, s.target.Host, err)
	}
	ev := &scheduler.Event{}
	return ev, s.codec.Unmarshal(b, ev)
}

// dial opens the connections for calls. answered is told of each answer, in any order
// and from several goroutines; the first failure ends its lane.
func (s *session) dial(ctx context.Context, answered func(id int, err error)) error {
	d := net.Dialer{Timeout: dialTimeout}
	host := s.target.Host
	if s.target.Port() == "" {
		host = net.JoinHostPort(s.target.Hostname(), "80")
	}
	who := ""
	if u := s.target.User; u != nil {
		secret, _ := u.Password()
		r := http.Request{Header: http.Header{}}
		r.SetBasicAuth(u.Username(), secret)
		who = "Authorization: " + r.Header.Get("Authorization") + "\r\n"
	}
	for range connections {
		nc, err := d.DialContext(ctx, "tcp", host)
		if err != nil {
			s.close()
			return fault.New("connect", fault.Unavailable, host, err)
		}
		if s.target.Scheme == "https" {
			nc = tls.Client(nc, s.tls.Client(s.target.Hostname()))
		}
		l := &lane{nc: nc, calls: make(chan outgoing, maxOnTheWay), sent: make(chan int, maxOnTheWay), answered: answered, stopped: make(chan struct{})}
		l.head = fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nAccept: %s\r\nMesos-Stream-Id: %s\r\n%sContent-Length: ",
			s.target.RequestURI(), s.target.Host, s.codec.MediaType, s.codec.MediaType, s.streamID, who)
		s.lanes = append(s.lanes, l)
		l.wg.Go(l.write)
		l.wg.Go(l.read)
	}
	return nil
}

// send queues a call; answered(id) follows when id is not negative. Calls may overtake
// each other. It waits while the master is far behind.
func (s *session) send(ctx context.Context, call *scheduler.Call, id int) error {
	body, err := s.codec.Marshal(call)
	if err != nil {
		return err
	}
	s.next++
	l := s.lanes[s.next%len(s.lanes)]
	select {
	case l.calls <- outgoing{body, id}:
		return nil
	case <-l.stopped:
		return fault.New("call "+call.GetType().String(), fault.Unavailable, s.target.Host, errors.New("the connection is closed"))
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close ends the stream and the lanes.
func (s *session) close() {
	s.body.Close()
	for _, l := range s.lanes {
		l.stop()
		l.wg.Wait()
	}
}

// outgoing is one encoded call.
type outgoing struct {
	body []byte
	id   int
}

// lane is one connection with several calls on the way.
type lane struct {
	nc       net.Conn
	head     []byte
	calls    chan outgoing
	sent     chan int
	answered func(int, error)
	once     sync.Once
	stopped  chan struct{}
	wg       sync.WaitGroup
}

func (l *lane) stop() {
	l.once.Do(func() {
		close(l.stopped)
		l.nc.Close()
	})
}

// write sends calls until the lane stops; several go in one segment when they wait.
func (l *lane) write() {
	defer l.stop()
	w := bufio.NewWriterSize(l.nc, 32<<10)
	for {
		var c outgoing
		select {
		case c = <-l.calls:
		default:
			if err := w.Flush(); err != nil {
				return
			}
			select {
			case c = <-l.calls:
			case <-l.stopped:
				return
			}
		}
		_, _ = w.Write(l.head)
		_, _ = fmt.Fprintf(w, "%d\r\n\r\n", len(c.body))
		if _, err := w.Write(c.body); err != nil {
			return
		}
		select {
		case l.sent <- c.id:
		default: // as many as allowed are on the way: they must leave before waiting
			if err := w.Flush(); err != nil {
				return
			}
			select {
			case l.sent <- c.id:
			case <-l.stopped:
				return
			}
		}
	}
}

// read takes the answers in order.
func (l *lane) read() {
	defer l.stop()
	r := bufio.NewReaderSize(l.nc, 16<<10)
	for {
		var id int
		select {
		case id = <-l.sent:
		case <-l.stopped:
			return
		}
		_ = l.nc.SetReadDeadline(time.Now().Add(answerTimeout))
		err := answer(r)
		select {
		case <-l.stopped: // closed here, which is no failure of the master
			return
		default:
		}
		l.answered(id, err)
		if err != nil {
			return
		}
	}
}

// answer reads one answer; anything but 202 is an error with what the master said.
func answer(r *bufio.Reader) error {
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err == nil && res.StatusCode != http.StatusAccepted {
		err = fmt.Errorf("%s: %s", res.Status, body)
	}
	return err
}
