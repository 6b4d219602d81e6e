package carry

import (
	"context"
	"errors"
	"os"
)

// talk hands the agent's answers to those who asked.
type talk struct {
	conn    *Conn
	answers []chan answer // one for each URI
}

type answer struct {
	m    Message
	file *os.File // of Have and Write
}

// newTalk listens until the agent is gone, which ends this process: nobody is left to
// carry for.
func newTalk(conn *Conn, uris int) *talk {
	t := &talk{conn: conn}
	for range uris {
		t.answers = append(t.answers, make(chan answer, 1))
	}
	go func() {
		for {
			m, file, err := conn.Receive()
			if err != nil || m.URI < 0 || m.URI >= uris {
				os.Exit(exitAlone)
			}
			t.answers[m.URI] <- answer{m, file}
		}
	}()
	return t
}

// ask says something and waits for the answer.
func (t *talk) ask(ctx context.Context, m Message) (answer, error) {
	if err := t.conn.Send(m, nil); err != nil {
		return answer{}, err
	}
	select {
	case a := <-t.answers[m.URI]:
		if (a.m.Kind == Have || a.m.Kind == Write) && a.file == nil {
			return answer{}, errors.New("the agent sent no file")
		}
		return a, nil
	case <-ctx.Done():
		return answer{}, context.Cause(ctx)
	}
}
