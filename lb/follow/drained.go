package follow

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Drained tells the framework that tasks have no requests left here, so that it may kill
// them. When it does not hear this it waits a few seconds and kills all the same.
func (f *Follower) Drained(ctx context.Context, tasks []string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	body, err := json.Marshal(map[string]any{"balancer": f.name, "tasks": tasks})
	if err != nil {
		return err
	}
	u := f.base() + "/v2/events/drained"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if err := f.authorize(ctx, req); err != nil {
		return err
	}
	res, err := f.list.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode/100 != 2 {
		said, _ := io.ReadAll(io.LimitReader(res.Body, 300))
		return fmt.Errorf("POST %s: %s: %s", u, res.Status, strings.TrimSpace(string(said)))
	}
	return nil
}

// authorize adds the credentials for Marathon.
func (f *Follower) authorize(ctx context.Context, req *http.Request) error {
	switch {
	case f.cfg.Token != nil:
		token, err := f.cfg.Token.Authorization(ctx)
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", token)
	case f.cfg.User != "":
		req.SetBasicAuth(f.cfg.User, f.cfg.Password)
	}
	return nil
}
