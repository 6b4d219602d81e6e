package libprocess

import (
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// verdict is what is known about a message before its body: the mailbox it goes to,
// or why it goes nowhere and what to answer.
type verdict struct {
	box    *mailbox // nil: skip the body
	msg    Message
	status int
	reason string // body of the answer
	cause  string // drop cause
}

func refuse(status int, reason, cause string) verdict {
	return verdict{status: status, reason: reason, cause: cause}
}

// judge applies the rules of libprocess.md, 2.2, 2.3 and 6.4 that need no body.
func (t *Transport) judge(h head, peer netip.AddrPort, parse func(string) (UPID, error)) verdict {
	from, err := parse(h.from)
	if err != nil || !from.Valid() {
		return refuse(http.StatusBadRequest, "the sender is not a UPID like master@10.0.0.1:5050", DropBadSender)
	}
	if t.cfg.RequirePeerIP && from.Addr.Addr() != peer.Addr().Unmap() {
		return refuse(http.StatusBadRequest,
			"the sender's IP "+from.Addr.Addr().String()+" is not the connection's "+peer.Addr().Unmap().String(), DropPeerIP)
	}
	id, name := splitTarget(h.target)
	box := t.process(id)
	switch {
	case box == nil:
		return refuse(http.StatusNotFound, "404 Not Found.", DropNoProcess)
	case h.encoding != "":
		return refuse(http.StatusUnsupportedMediaType, "content encodings are not accepted in messages", DropEncoding)
	case box.dec != nil && !box.dec.Accepts(name):
		return refuse(http.StatusAccepted, "", DropUnknownName)
	}
	return verdict{box: box, msg: Message{From: from, To: t.PID(id), Name: name}, status: http.StatusAccepted}
}

// splitTarget cuts "/id/name": the id is percent-decoded, the name is not.
func splitTarget(target string) (id, name string) {
	path, _, _ := strings.Cut(target, "?")
	id, name, _ = strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if strings.Contains(id, "%") {
		decoded, err := url.PathUnescape(id)
		if err != nil {
			return "", name
		}
		id = decoded
	}
	return id, name
}

// take delivers an admitted message. Whatever happens to it here, the answer is 202:
// it says "received", as in Mesos.
func (t *Transport) take(v verdict) {
	switch err := v.box.deliver(v.msg); {
	case errors.Is(err, ErrUnwanted):
		t.stats.dropped.add(DropUnwanted, 1) // the process knows why
	case err != nil:
		t.drop(dropCause(err), 1, "from", v.msg.From, "to", v.box.id, "name", clip(v.msg.Name), "err", err)
	}
}

// appendAnswer writes a response: 202 as Mesos does, others with a line of text.
func (t *Transport) appendAnswer(b []byte, status int, reason string) []byte {
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	b = append(b, http.StatusText(status)...)
	b = append(b, "\r\nDate: "...)
	b = append(b, t.date.now()...)
	if reason != "" {
		b = append(b, "\r\nContent-Type: text/plain"...)
	}
	b = append(b, "\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(reason)), 10)
	b = append(b, "\r\n\r\n"...)
	return append(b, reason...)
}

// dateLine keeps the text of the present second for the Date header.
type dateLine struct{ last atomic.Pointer[datedSecond] }

type datedSecond struct {
	unix int64
	text string
}

func (d *dateLine) now() string {
	now := time.Now()
	if last := d.last.Load(); last != nil && last.unix == now.Unix() {
		return last.text
	}
	s := &datedSecond{now.Unix(), now.UTC().Format(http.TimeFormat)}
	d.last.Store(s)
	return s.text
}
