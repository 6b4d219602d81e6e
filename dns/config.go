package dns

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stoa-project/stoa/dns/answer"
	"github.com/stoa-project/stoa/dns/follow"
	"github.com/stoa-project/stoa/dns/names"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/zk"
)

// Config holds the keys of Mesos-DNS' configuration file (mesos-dns.md section 9), in the
// order and spelling of its /v1/config, and after them our own. Files are read without
// regard to the case of keys. Fill it from Defaults.
type Config struct {
	RefreshSeconds         int // between polls of /master/state
	Port                   int // of DNS, UDP and TCP; 0: any free one
	Timeout                int // of one try of a resolver, seconds
	StateTimeoutSeconds    int
	ZkDetectionTimeout     int // seconds without a leader before Run fails; 0: never (the original: 30)
	HTTPPort               int `json:"HttpPort"` // 0: any free one
	TTL                    int // seconds; 0: 5 while following events, 60 while polling
	SRVRecordDefaultWeight uint16
	SOASerial              uint32 // overwritten with each new zone
	SOARefresh             uint32
	SOARetry               uint32
	SOAExpire              uint32
	SOAMinttl              uint32   // seconds that negative answers may be kept; 0: as TTL
	SOAMname               string   // empty: ns1.<domain>
	SOARname               string   // empty: root.ns1.<domain>
	Masters                []string // host:port
	ZoneResolvers          map[string][]string
	Resolvers              []string // IPs with optional ports; empty: those of /etc/resolv.conf
	IPSources              []string
	Zk                     string
	Domain                 string
	File                   string // the file it was read from, for display
	Listener               string // IP
	HTTPListener           string // IP
	RecurseOn              bool
	DNSOn                  bool `json:"DnsOn"`
	HTTPOn                 bool `json:"HttpOn"`
	ExternalOn             bool
	EnforceRFC952          bool
	SetTruncateBit         bool
	EnumerationOn          bool
	MesosHTTPSOn           bool
	CACertFile             string
	CertFile               string
	KeyFile                string
	MesosCredentials       Credentials
	IAMConfigFile          string
	MesosAuthentication    string // "" or "basic"

	Source       string // auto, subscribe or poll
	HealthFilter string // off, soft or strict
	MaxUDPSize   int    // octets of the largest UDP reply
	InsecureTLS  bool   // do not verify the master's certificate
	LegacySRV    bool   // an empty answer to SRV queries for names that do not exist, as the original gives
	MaxAnswers   int    // records of one kind in an answer; 0: all that fit
	MaxStale     int    // seconds that a master may be silent before /readyz fails
	FailoverHold int    // seconds that names of agents missing in a new list stay
	StateCache   string // file that keeps the view for the next start; empty: none
}

// Credentials for basic authentication at the master.
type Credentials struct {
	Principal string
	Secret    string
}

// MarshalJSON hides the secret.
func (c Credentials) MarshalJSON() ([]byte, error) {
	hidden := struct{ Principal, Secret string }{c.Principal, ""}
	if c.Secret != "" {
		hidden.Secret = "***"
	}
	return json.Marshal(hidden)
}

// Defaults gives the configuration of an empty file. Zk or Masters must be added.
func Defaults() Config {
	return Config{
		RefreshSeconds: 60, Port: 53, Timeout: 5, StateTimeoutSeconds: 300, HTTPPort: 8123,
		SRVRecordDefaultWeight: 1, SOARefresh: 60, SOARetry: 600, SOAExpire: 86400,
		Resolvers: []string{"8.8.8.8"}, ZoneResolvers: map[string][]string{},
		IPSources: []string{"netinfo", "mesos", "host"}, Domain: "mesos",
		Listener: "0.0.0.0", HTTPListener: "0.0.0.0",
		RecurseOn: true, DNSOn: true, HTTPOn: true, ExternalOn: true, SetTruncateBit: true, EnumerationOn: true,
		Source: "auto", HealthFilter: "soft", MaxUDPSize: 1232, MaxStale: 300, FailoverHold: 10,
	}
}

// ParseConfig reads the JSON of a configuration file over the defaults. Unknown keys are
// ignored, as by the original. Errors: fault.Malformed.
func ParseConfig(text []byte, file string) (Config, error) {
	c := Defaults()
	d := json.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(&c); err != nil {
		return Config{}, fault.New("dns config", fault.Malformed, file, readable(text, err))
	}
	c.File = file
	return c, nil
}

// readable tells where in a text JSON is wrong, and what a key wants.
func readable(text []byte, err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		before := text[:min(int(syntax.Offset), len(text))]
		return fmt.Errorf("line %d: %w", 1+bytes.Count(before, []byte("\n")), err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the JSON object does not end, or there is none; the least is {\"masters\": [\"host:5050\"]}")
	case errors.As(err, &kind) && kind.Field == "":
		return fmt.Errorf("holds a JSON %s, and must hold an object", kind.Value)
	case errors.As(err, &kind):
		want := map[reflect.Kind]string{
			reflect.String: "a text in quotes", reflect.Bool: "true or false", reflect.Slice: "a list", reflect.Map: "an object", reflect.Struct: "an object",
		}[kind.Type.Kind()]
		if want == "" {
			want = "a number without quotes, not negative and not too large"
		}
		line := 1 + bytes.Count(text[:min(int(kind.Offset), len(text))], []byte("\n"))
		return fmt.Errorf("line %d: %s must be %s, and is a JSON %s", line, kind.Field, want, kind.Value)
	}
	return err
}

// settled is a checked configuration in the forms the rooms inside use.
type settled struct {
	Config // with defaults filled in, for display
	follow follow.Config
	answer answer.Config
	listen netip.Addr
	http   netip.Addr
}

// settle checks every key. Errors are fault.Invalid and name key, value and rule.
func (c Config) settle() (*settled, error) {
	s := &settled{Config: c}
	for _, check := range []func() error{s.zone, s.sockets, s.master, s.credentials, s.resolvers, s.health} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func bad(key string, value any, rule string) error {
	return fault.New("dns config", fault.Invalid, fmt.Sprintf("%s %v", key, value), errors.New(rule))
}

func (s *settled) zone() error {
	s.Domain = strings.ToLower(s.Domain)
	if !validDomain(s.Domain) {
		return bad("domain", strconv.Quote(s.Domain), "must be labels of letters, digits and dashes joined by dots, without dots at the ends")
	}
	for key, text := range map[string]*string{"SOAMname": &s.SOAMname, "SOARname": &s.SOARname} {
		if *text == "" {
			*text = map[string]string{"SOAMname": "ns1.", "SOARname": "root.ns1."}[key] + s.Domain
		}
		*text = strings.ToLower(strings.TrimSuffix(strings.ReplaceAll(*text, "@", "."), "."))
		if !validDomain(*text) {
			return bad(key, strconv.Quote(*text), "must be a domain name")
		}
		*text += "."
	}
	if s.TTL < 0 || s.TTL > 1<<31-1 {
		return bad("ttl", s.TTL, "must be 0 to 2147483647 seconds")
	}
	rules := names.Rules{
		Domain: s.Domain, Labels: names.Labels{RFC952: s.EnforceRFC952},
		NameHost: s.SOAMname,
	}
	known := []names.Source{names.SourceNetInfo, names.SourceMesos, names.SourceDocker, names.SourceHost, names.SourceAuto}
	for _, w := range s.IPSources {
		source := names.Source(w)
		if !slices.Contains(known, source) {
			return bad("IPSources", strconv.Quote(w), "must be one of netinfo, mesos, docker, host, auto")
		}
		if slices.Contains(rules.Sources, source) {
			return bad("IPSources", strconv.Quote(w), "is given twice")
		}
		rules.Sources = append(rules.Sources, source)
	}
	if len(rules.Sources) == 0 {
		return bad("IPSources", "[]", "must name at least one source")
	}
	s.follow.Rules = rules
	return nil
}

func (s *settled) sockets() error {
	if !s.DNSOn && !s.HTTPOn {
		return bad("dnson and httpon", false, "at least one must be true")
	}
	for key, port := range map[string]int{"port": s.Port, "httpport": s.HTTPPort} {
		if port < 0 || port > 65535 {
			return bad(key, port, "must be 0 to 65535")
		}
	}
	var err error
	if s.listen, err = netip.ParseAddr(s.Listener); err != nil {
		return bad("listener", strconv.Quote(s.Listener), "must be an IP address")
	}
	if s.http, err = netip.ParseAddr(s.HTTPListener); err != nil {
		return bad("HTTPListener", strconv.Quote(s.HTTPListener), "must be an IP address")
	}
	if s.MaxUDPSize < 512 || s.MaxUDPSize > 65535 {
		return bad("maxUDPSize", s.MaxUDPSize, "must be 512 to 65535")
	}
	if s.MaxAnswers < 0 {
		return bad("maxAnswers", s.MaxAnswers, "must not be negative")
	}
	s.answer.MaxAnswers, s.answer.LegacySRV = s.MaxAnswers, s.LegacySRV
	s.follow.Rules.NameAddrs = listenAddrs(s.listen)
	s.answer.Domain = s.Domain
	s.answer.RecurseOn, s.answer.SetTruncate, s.answer.MaxUDP = s.RecurseOn, s.SetTruncateBit, s.MaxUDPSize
	return nil
}

func (s *settled) master() error {
	if s.Zk == "" && len(s.Masters) == 0 {
		return bad("zk and masters", `""`, "one of them must be set: zk://host:port/mesos, or a list of host:port")
	}
	if s.Zk != "" && !strings.HasPrefix(s.Zk, "zk://") && !strings.HasPrefix(s.Zk, "file://") {
		s.Masters, s.Zk = []string{s.Zk}, "" // the original's detector takes host:port there
	}
	seen := map[string]bool{}
	for _, m := range s.Masters {
		host, port, err := net.SplitHostPort(m)
		n, numErr := strconv.Atoi(port)
		if err != nil || numErr != nil || host == "" || n < 1 || n > 65535 {
			return bad("masters", strconv.Quote(m), "must be host:port with a port of 1 to 65535")
		}
		if seen[strings.ToLower(m)] {
			return bad("masters", strconv.Quote(m), "is given twice")
		}
		seen[strings.ToLower(m)] = true
	}
	for key, v := range map[string]int{"refreshSeconds": s.RefreshSeconds, "stateTimeoutSeconds": s.StateTimeoutSeconds, "maxStale": s.MaxStale} {
		if v <= 0 {
			return bad(key, v, "must be more than 0")
		}
	}
	if s.ZkDetectionTimeout < 0 {
		return bad("zkDetectionTimeout", s.ZkDetectionTimeout, "must not be negative")
	}
	if s.FailoverHold < 0 {
		return bad("failoverHold", s.FailoverHold, "must not be negative")
	}
	s.follow.Hold = max(time.Duration(s.FailoverHold)*time.Second, time.Nanosecond)
	mode := follow.Mode(s.Source)
	if mode != follow.Auto && mode != follow.Subscribe && mode != follow.Poll {
		return bad("source", strconv.Quote(s.Source), "must be auto, subscribe or poll")
	}
	s.follow.ZK, s.follow.Masters, s.follow.Source = s.Zk, s.Masters, mode
	if u, err := zk.Parse(s.Zk); err == nil {
		s.Zk = u.String() // shown without the password from here on
	}
	s.follow.Refresh = time.Duration(s.RefreshSeconds) * time.Second
	s.follow.StateTimeout = time.Duration(s.StateTimeoutSeconds) * time.Second
	s.follow.DetectionTimeout = time.Duration(s.ZkDetectionTimeout) * time.Second
	s.follow.Lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
		return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	}
	return nil
}

func (s *settled) credentials() error {
	switch s.MesosAuthentication {
	case "":
	case "basic":
		if s.MesosCredentials.Principal == "" || s.MesosCredentials.Secret == "" {
			return bad("mesosCredentials", "{}", "principal and secret are needed for basic authentication")
		}
		s.follow.Principal, s.follow.Secret = s.MesosCredentials.Principal, s.MesosCredentials.Secret
	case "iam":
		return fault.New("dns config", fault.Unsupported, "mesosAuthentication iam", errors.New("only basic is offered"))
	default:
		return bad("mesosAuthentication", strconv.Quote(s.MesosAuthentication), `must be "" or "basic"`)
	}
	if !s.MesosHTTPSOn {
		return nil
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: s.InsecureTLS} //nolint:gosec // asked for by name
	if s.CACertFile != "" {
		pem, err := os.ReadFile(s.CACertFile)
		if err != nil {
			return fault.New("dns config", fault.Invalid, "CACertFile", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return bad("CACertFile", s.CACertFile, "holds no PEM certificate")
		}
	}
	if (s.CertFile == "") != (s.KeyFile == "") {
		return bad("CertFile and KeyFile", s.CertFile+s.KeyFile, "both or neither must be set")
	}
	if s.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(s.CertFile, s.KeyFile)
		if err != nil {
			return fault.New("dns config", fault.Invalid, "CertFile", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	s.follow.TLS = conf
	return nil
}

func (s *settled) health() error {
	filters := map[string]names.Filter{"off": names.FilterOff, "soft": names.FilterSoft, "strict": names.FilterStrict}
	f, ok := filters[s.HealthFilter]
	if !ok {
		return bad("healthFilter", strconv.Quote(s.HealthFilter), "must be off, soft or strict")
	}
	s.follow.Rules.Filter = f
	return nil
}
