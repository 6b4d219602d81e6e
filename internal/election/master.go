package election

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/stoa-project/stoa/internal/fault"
)

// Master is what a master publishes about itself, as far as clients need it to find it
// (MasterInfo as JSON, mesos-master.md 7.1).
type Master struct {
	ID       string
	PID      string // master@ip:port
	Hostname string
	IP       string // empty when only a host name is known
	Port     int
	Version  string
}

// Addr gives host:port to connect to, preferring the IP.
func (m Master) Addr() string {
	host := m.IP
	if host == "" {
		host = m.Hostname
	}
	return net.JoinHostPort(host, strconv.Itoa(m.Port))
}

// masterJSON mirrors the wire form. The numeric ip holds an IPv4 address whose bytes in
// network order were read as a little-endian number.
type masterJSON struct {
	ID       string       `json:"id,omitempty"`
	IP       uint32       `json:"ip,omitempty"`
	Port     int          `json:"port,omitempty"`
	PID      string       `json:"pid,omitempty"`
	Hostname string       `json:"hostname,omitempty"`
	Version  string       `json:"version,omitempty"`
	Address  *addressJSON `json:"address,omitempty"`
}

type addressJSON struct {
	Hostname string `json:"hostname,omitempty"`
	IP       string `json:"ip,omitempty"`
	Port     int    `json:"port,omitempty"`
}

// ParseMaster reads the data of a Leader that a master detector delivered. address wins
// over pid, pid over the numeric ip. Errors: fault.Malformed.
func ParseMaster(data []byte) (Master, error) {
	var w masterJSON
	if err := json.Unmarshal(data, &w); err != nil {
		return Master{}, fault.New("election.ParseMaster", fault.Malformed, "MasterInfo", err)
	}
	m := Master{ID: w.ID, PID: w.PID, Hostname: w.Hostname, Version: w.Version, Port: w.Port}
	if w.IP != 0 {
		m.IP = netip.AddrFrom4([4]byte{byte(w.IP), byte(w.IP >> 8), byte(w.IP >> 16), byte(w.IP >> 24)}).String()
	}
	if _, at, ok := strings.Cut(w.PID, "@"); ok {
		if host, port, err := net.SplitHostPort(at); err == nil {
			if _, err := netip.ParseAddr(host); err == nil {
				m.IP = host
			}
			m.Port, _ = strconv.Atoi(port)
		}
	}
	if a := w.Address; a != nil {
		if a.IP != "" {
			m.IP = a.IP
		}
		if a.Hostname != "" {
			m.Hostname = a.Hostname
		}
		if a.Port != 0 {
			m.Port = a.Port
		}
	}
	if m.Port <= 0 || m.Port > 65535 || (m.IP == "" && m.Hostname == "") {
		return Master{}, fault.New("election.ParseMaster", fault.Malformed, "MasterInfo",
			errors.New("no usable address, pid or ip and port"))
	}
	return m, nil
}

// JSON gives the form that ParseMaster reads, for a master known only by address.
func (m Master) JSON() []byte {
	w := masterJSON{
		ID: m.ID, PID: m.PID, Hostname: m.Hostname, Port: m.Port, Version: m.Version,
		Address: &addressJSON{Hostname: m.Hostname, IP: m.IP, Port: m.Port},
	}
	if ip, err := netip.ParseAddr(m.IP); err == nil && ip.Is4() {
		b := ip.As4()
		w.IP = uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
	}
	data, err := json.Marshal(w)
	if err != nil {
		panic(fmt.Sprintf("election: MasterInfo of plain fields: %v", err)) // strings and numbers always encode
	}
	return data
}

// MasterAt describes the master at host:port, master@host:port or http(s)://host:port.
// Errors: fault.Invalid.
func MasterAt(address string) (Master, error) {
	rest := address
	for _, prefix := range []string{"http://", "https://"} {
		rest = strings.TrimPrefix(rest, prefix)
	}
	rest = strings.TrimSuffix(rest, "/")
	if _, at, ok := strings.Cut(rest, "@"); ok {
		rest = at
	}
	host, portText, err := net.SplitHostPort(rest)
	if err != nil {
		return Master{}, fault.New("master address", fault.Invalid, address,
			errors.New("it must be host:port, master@host:port, http://host:port or zk://host:port/path"))
	}
	port, err := strconv.Atoi(portText)
	if err != nil || port < 1 || port > 65535 || host == "" {
		return Master{}, fault.New("master address", fault.Invalid, address, errors.New("host must be set and port in 1 to 65535"))
	}
	m := Master{PID: "master@" + net.JoinHostPort(host, portText), Hostname: host, Port: port}
	if ip, err := netip.ParseAddr(host); err == nil {
		m.IP = ip.String()
	}
	return m, nil
}
