package operators

import (
	"net/http"
	"time"

	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/master/ledger"
)

// writeWait bounds one write to a subscriber, which may have stopped reading.
const writeWait = 30 * time.Second

// subscribe opens the event stream (mesos-master.md 5.3): SUBSCRIBED with the state,
// HEARTBEAT at once and then at its interval, and every event after that state.
//
// Nothing is lost or doubled in between: the queue is opened and the snapshot taken in
// one go on the goroutine that owns the ledger, between two events, and the same
// goroutine publishes. What happened before is in the snapshot, what happens later in
// the queue; the snapshot is encoded here while the queue fills.
func (s *Shell) subscribe(w http.ResponseWriter, r *http.Request, codec wire.Codec) {
	sub := newSubscriber(codec, r.RemoteAddr)
	defer s.hub.remove(sub)
	var b *ledger.Snapshot
	err := s.views.Atomically(r.Context(), func(now *ledger.Snapshot) {
		b = now
		s.hub.add(sub)
	})
	if err != nil {
		s.unavailable(w, r, err)
		return
	}
	b = s.partOf(b)
	sub.watch = s.sight.watch(b)
	first := s.lists[snapshotOf(codec)].at(b)
	length, err := first.length()
	if err != nil {
		s.unavailable(w, r, err)
		return
	}
	beat, err := codec.Marshal(&masterapi.Event{Type: masterapi.Event_HEARTBEAT.Enum()})
	if err != nil {
		s.unavailable(w, r, err)
		return
	}
	w.Header().Set("Content-Type", codec.MediaType)
	w.WriteHeader(http.StatusOK)
	s.log.Info("operator subscribed", "subscriber", sub.from, "media_type", codec.MediaType)
	heartbeat := wire.AppendRecord(nil, beat)
	why := writeSnapshot(w, first, length)
	if why == "" {
		why = stream(w, r.Context().Done(), sub, heartbeat, s.cfg.Heartbeat)
	}
	s.log.Info("operator stream ended", "subscriber", sub.from, "reason", why)
}

// writeSnapshot writes the first event: one record, however long. With many tasks it
// passes the 4 MiB that some clients take for one record; Mesos sends it whole too.
// The answer is empty or why it failed.
func writeSnapshot(w http.ResponseWriter, d *document, length int) string {
	control := http.NewResponseController(w)
	rd := d.reader(false)
	defer rd.close()
	if why := writeAll(w, control, [][]byte{wire.AppendRecordHead(nil, length)}); why != "" {
		return why
	}
	for {
		plain, _, more, err := rd.next()
		switch {
		case err != nil:
			return "the snapshot cannot be encoded: " + err.Error()
		case !more:
			return ""
		}
		if why := writeAll(w, control, [][]byte{plain}); why != "" {
			return why
		}
	}
}

// stream writes a heartbeat, then what is queued, until the subscription or the client
// ends; it returns why.
func stream(w http.ResponseWriter, gone <-chan struct{}, sub *subscriber, heartbeat []byte, interval time.Duration) string {
	control := http.NewResponseController(w)
	if why := writeAll(w, control, [][]byte{heartbeat}); why != "" {
		return why
	}
	beat := time.NewTicker(interval)
	defer beat.Stop()
	for {
		events, over := sub.take()
		events = sub.watch.seen(events)
		if why := writeEvents(w, control, events, sub.codec); why != "" {
			return why
		}
		if over != "" {
			return over
		}
		select {
		case <-sub.wake:
		case <-beat.C:
			if why := writeAll(w, control, [][]byte{heartbeat}); why != "" {
				return why
			}
		case <-gone:
			return "the client closed its stream"
		}
	}
}

// chunk is how many events are written between two flushes.
const chunk = 256

func writeEvents(w http.ResponseWriter, control *http.ResponseController, events []*event, codec wire.Codec) string {
	var records [][]byte
	for i, e := range events {
		record, err := e.record(codec)
		if err != nil {
			return "an event cannot be encoded: " + err.Error() // never skipped: the stream would lie
		}
		records = append(records, record)
		if len(records) == chunk || i == len(events)-1 {
			if why := writeAll(w, control, records); why != "" {
				return why
			}
			records = records[:0]
		}
	}
	return ""
}

// writeAll writes records and flushes them; the answer is empty or why it failed. Each
// call has its own deadline, so that a large backlog may take its time while the client
// reads.
func writeAll(w http.ResponseWriter, control *http.ResponseController, records [][]byte) string {
	_ = control.SetWriteDeadline(time.Now().Add(writeWait)) // not every writer has deadlines
	for _, r := range records {
		if _, err := w.Write(r); err != nil {
			return "writing failed: " + err.Error()
		}
	}
	if err := control.Flush(); err != nil {
		return "writing failed: " + err.Error()
	}
	_ = control.SetWriteDeadline(time.Time{}) // as above
	return ""
}
