package dns

import (
	"encoding/json"
	"reflect"
	"strings"
)

// Key explains one key of the configuration file.
type Key struct {
	Name    string // as in the original's documentation; case does not matter
	Default string // as JSON
	Meaning string
}

// Keys explains every key of the configuration file in the order of Config.
func Keys() []Key {
	defaults := reflect.ValueOf(Defaults())
	var out []Key
	for i := range defaults.NumField() {
		field := defaults.Type().Field(i)
		name, meaning, ok := strings.Cut(meanings[field.Name], ": ")
		if !ok {
			continue
		}
		text, err := json.Marshal(defaults.Field(i).Interface())
		if err != nil {
			continue
		}
		out = append(out, Key{name, string(text), meaning})
	}
	return out
}

// meanings of keys by the field of Config: the spelling of files, and what it is for.
var meanings = map[string]string{
	"Zk":                     "zk: where masters register in ZooKeeper, zk://[user:password@]host:port,host:port/path; this or masters is needed",
	"Masters":                "masters: masters as host:port; several are asked for their leader",
	"ZkDetectionTimeout":     "zkDetectionTimeout: seconds without a leading master before the program ends with an error; 0: never, the last records are served (Mesos-DNS: 30)",
	"RefreshSeconds":         "refreshSeconds: seconds between two polls of /master/state, where the master offers no event stream",
	"StateTimeoutSeconds":    "stateTimeoutSeconds: seconds that one poll may take",
	"TTL":                    "ttl: seconds that resolvers may keep records; 0: 5 while following events, 60 while polling",
	"SRVRecordDefaultWeight": "srvRecordDefaultWeight: weight of SRV records",
	"Domain":                 "domain: the zone",
	"Port":                   "port: DNS port, UDP and TCP; 0: any free one",
	"Timeout":                "timeout: seconds that a resolver has to answer; 0: 5",
	"Resolvers":              "resolvers: IP addresses, with or without a port, that names outside the zone are forwarded to; []: those of /etc/resolv.conf but for this server",
	"ZoneResolvers":          "zoneResolvers: resolvers by zone, for names below it: {\"corp.example\": [\"10.0.0.1\"]}",
	"Listener":               "listener: IP address DNS is served on; also the address of SOAMname",
	"HTTPListener":           "HTTPListener: IP address of the HTTP API; 127.0.0.1 keeps it from others",
	"HTTPPort":               "httpport: port of the HTTP API; 0: any free one",
	"DNSOn":                  "dnson: serve DNS",
	"HTTPOn":                 "httpon: serve HTTP",
	"ExternalOn":             "externalon: forward names outside the zone; else they are refused",
	"RecurseOn":              "recurseon: set the bit \"recursion available\" in answers",
	"SetTruncateBit":         "SetTruncateBit: set the bit TC when records were left out; else it is cleared in all replies",
	"EnforceRFC952":          "enforceRFC952: labels of at most 24 characters that begin with a letter",
	"IPSources":              "IPSources: where addresses of tasks come from, the first that has any: netinfo (container networks), mesos and docker (labels of old containerizers), host (the agent), auto (the container's when its network is reachable from outside its host, else the agent's)",
	"EnumerationOn":          "EnumerationOn: serve /v1/enumerate and /v1/axfr",
	"SOAMname":               "SOAMname: name of this server in SOA and NS records; empty: ns1.<domain>",
	"SOARname":               "SOARname: mail address of the zone's keeper; empty: root.ns1.<domain>",
	"SOASerial":              "SOASerial: taken and overwritten: the time of the last change",
	"SOARefresh":             "SOARefresh: refresh time of the SOA record, seconds",
	"SOARetry":               "SOARetry: retry time of the SOA record, seconds",
	"SOAExpire":              "SOAExpire: expire time of the SOA record, seconds",
	"SOAMinttl":              "SOAMinttl: seconds that resolvers may keep negative answers; 0: as ttl",
	"MesosHTTPSOn":           "MesosHTTPSOn: speak https to masters",
	"CACertFile":             "CACertFile: PEM certificates that masters' are verified by; empty: those of the system",
	"CertFile":               "CertFile: PEM certificate to show to masters; with KeyFile",
	"KeyFile":                "KeyFile: PEM key of CertFile",
	"MesosAuthentication":    "mesosAuthentication: \"\" or \"basic\"",
	"MesosCredentials":       "mesosCredentials: {\"principal\": …, \"secret\": …} for basic authentication; never shown",
	"IAMConfigFile":          "IAMConfigFile: taken and ignored, as mesosAuthentication \"iam\" is not offered",
	"File":                   "File: overwritten with the path of the file, for /v1/config",
	"Source":                 "source: subscribe (the master's event stream), poll (/master/state), or auto: the stream where it is offered",
	"HealthFilter":           "healthFilter: off: checks do not matter; strict: unhealthy tasks leave the names they share; soft: unless these would be empty",
	"MaxUDPSize":             "maxUDPSize: octets of the largest UDP reply, for clients that take so much",
	"InsecureTLS":            "insecureTLS: do not verify masters' certificates",
	"LegacySRV":              "legacySRV: answer SRV queries for names that do not exist with nothing instead of NXDOMAIN, as Mesos-DNS does",
	"MaxAnswers":             "maxAnswers: most records of one kind in an answer; 0: all that fit. When not all are shown, the next answer has others",
	"MaxStale":               "maxStale: seconds that masters may be silent before /readyz fails",
	"FailoverHold":           "failoverHold: seconds that names of agents stay that a new master does not list; agents it awaits stay for 10 minutes",
	"StateCache":             "stateCache: file that keeps what is known about the cluster; the next start serves it, with a TTL of 1 s, until a master answers. Empty: none",
}
