package libprocess

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"

	"github.com/stoa-project/stoa/internal/fault"
)

// AddressFlags are the command line's address options as text; empty means not given.
// IP may come from --ip or from the output of --ip_discovery_command.
type AddressFlags struct {
	IP, Port, AdvertiseIP, AdvertisePort string
}

// AddressConfig fills Listen, Advertise and RequirePeerIP from flags, else from
// LIBPROCESS_IP, LIBPROCESS_PORT, LIBPROCESS_ADVERTISE_IP, LIBPROCESS_ADVERTISE_PORT and
// LIBPROCESS_REQUIRE_PEER_ADDRESS_IP_MATCH as getenv gives them (os.Getenv). The bind
// address defaults to 0.0.0.0 and port 0, a free one; New completes what is not
// advertised. Errors are of kind fault.Invalid and name the option or variable.
// (libprocess.md, 1.3)
func AddressConfig(flags AddressFlags, getenv func(string) string) (Config, error) {
	var cfg Config
	pick := func(flag, name, env string) (string, string) {
		if flag != "" {
			return flag, "--" + name
		}
		return getenv(env), env
	}
	ip, err := parseIP(pick(flags.IP, "ip", "LIBPROCESS_IP"))
	if err != nil {
		return cfg, err
	}
	port, err := parsePort(pick(flags.Port, "port", "LIBPROCESS_PORT"))
	if err != nil {
		return cfg, err
	}
	outIP, err := parseIP(pick(flags.AdvertiseIP, "advertise_ip", "LIBPROCESS_ADVERTISE_IP"))
	if err != nil {
		return cfg, err
	}
	text, source := pick(flags.AdvertisePort, "advertise_port", "LIBPROCESS_ADVERTISE_PORT")
	outPort, err := parsePort(text, source)
	if err == nil && text != "" && outPort == 0 {
		err = fault.New("read address", fault.Invalid, source, errors.New("0 cannot be advertised: give the port peers connect to"))
	}
	if err != nil {
		return cfg, err
	}
	cfg.Listen = netip.AddrPortFrom(ip, port)
	cfg.Advertise = netip.AddrPortFrom(outIP, outPort)
	const env = "LIBPROCESS_REQUIRE_PEER_ADDRESS_IP_MATCH"
	if v := strings.TrimSpace(getenv(env)); v != "" {
		if cfg.RequirePeerIP, err = strconv.ParseBool(v); err != nil {
			return cfg, fault.New("read address", fault.Invalid, env, errors.New(strconv.Quote(v)+" is neither true nor false"))
		}
	}
	return cfg, nil
}

func parseIP(text, source string) (netip.Addr, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return netip.IPv4Unspecified(), nil
	}
	ip, err := netip.ParseAddr(text)
	if err != nil || !ip.Is4() {
		return netip.Addr{}, fault.New("read address", fault.Invalid, source,
			errors.New(strconv.Quote(text)+" is not an IPv4 address; libprocess cannot use IPv6 or names"))
	}
	return ip, nil
}

func parsePort(text, source string) (uint16, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0, fault.New("read address", fault.Invalid, source, errors.New(strconv.Quote(text)+" is not a port number from 0 to 65535"))
	}
	return uint16(n), nil
}
