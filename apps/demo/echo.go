package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strconv"
	"time"
)

type echoCmd struct {
	Port   int    `default:"7000" env:"PORT0" help:"Port to listen on."`
	Prefix string `default:"echo" help:"First word of each answered line."`
}

// Run answers each line with the prefix and the line, until ctx ends.
func (c echoCmd) Run(ctx context.Context) error {
	l, err := net.Listen("tcp", net.JoinHostPort("", strconv.Itoa(c.Port)))
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { l.Close() })
	fmt.Println("listening on", l.Addr())
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		go func() {
			defer conn.Close()
			lines := bufio.NewScanner(conn)
			for conn.SetReadDeadline(time.Now().Add(time.Minute)) == nil && lines.Scan() {
				if _, err := fmt.Fprintln(conn, c.Prefix, lines.Text()); err != nil {
					return
				}
			}
		}()
	}
}
