package libprocess

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"time"
)

// helloByte starts every TLS connection and no HTTP request.
const helloByte = 0x16

// serverTLS shakes hands when TLS is configured. With Downgrade the first byte decides,
// and may be waited for without a limit, as on any silent link.
func (t *Transport) serverTLS(nc net.Conn) (net.Conn, *tls.ConnectionState, error) {
	if t.cfg.TLS == nil {
		return nc, nil, nil
	}
	if t.cfg.Downgrade {
		var first [1]byte
		if _, err := io.ReadFull(nc, first[:]); err != nil {
			return nil, nil, err
		}
		nc = &handedConn{Conn: nc, early: first[:]}
		if first[0] != helloByte {
			return nc, nil, nil
		}
	}
	_ = nc.SetDeadline(time.Now().Add(t.cfg.RequestTimeout))
	tc := tls.Server(nc, t.cfg.TLS)
	if err := tc.Handshake(); err != nil {
		return nil, nil, err
	}
	_ = nc.SetDeadline(time.Time{})
	state := tc.ConnectionState()
	return tc, &state, nil
}

// clientTLS shakes hands on a dialled connection. UPIDs are numeric, so without a
// ServerName in the configuration the certificate must carry the peer's IP.
func clientTLS(ctx context.Context, nc net.Conn, cfg *tls.Config, addr netip.AddrPort) (net.Conn, error) {
	if cfg.ServerName == "" {
		cfg = cfg.Clone()
		cfg.ServerName = addr.Addr().String()
	}
	tc := tls.Client(nc, cfg)
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return tc, nil
}

// speaksTLS tells from a failed handshake whether the peer speaks TLS: it showed a
// certificate that was refused, or answered with an alert.
func speaksTLS(err error) bool {
	var refused *tls.CertificateVerificationError
	var alert tls.AlertError
	return errors.As(err, &refused) || errors.As(err, &alert)
}
