package render

import "testing"

func TestRemovedDirectivesAreRewritten(t *testing.T) {
	for in, want := range map[string]string{
		`  rspadd  Strict-Transport-Security:\ max-age=15768000`: `  http-response add-header Strict-Transport-Security "max-age=15768000"`,
		`  rspadd "X-A: b c" if { ssl_fc }`:                      `  http-response add-header X-A "b c" if { ssl_fc }`,
		`  reqadd X-Forwarded-Proto:\ https\ only`:               `  http-request add-header X-Forwarded-Proto "https only"`,
		`  rspidel ^Server:.*`:                                   `  http-response del-header Server`,
		`  reqdel "^X-Secret:"`:                                  `  http-request del-header X-Secret`,
		`  reqirep  "^([^ :]*)\ {proxypath}/?(.*)" "\1\ /\2"`:    `  http-request replace-path ^{proxypath}(/(.*))?$ /\2`,
		`  reqrep ^([^ :]*)\ /old/?(.*) \1\ /\2 if x`:            `  http-request replace-path ^/old(/(.*))?$ /\2 if x`,
		`  rspirep "^Location: (https?://{hostname}(:[0-9]+)?)?(/.*)" "Location:   {rootpath}" if hdr_location`: `  http-response replace-header Location ^((https?://{hostname}(:[0-9]+)?)?)(/.*)$ \1{rootpath}\4 if hdr_location`,
		// Their meaning is the user's to say.
		`  reqirep ^Host:\ (.*) Host:\ x`: `  reqirep ^Host:\ (.*) Host:\ x`,
		`  option httplog`:                `  option httplog`,
	} {
		if got := modernise(in); got != want {
			t.Errorf("%s\nbecame\n%s\nwant\n%s", in, got, want)
		}
		if got := modernise(in + "\n" + in); got != want+"\n"+want {
			t.Errorf("two lines became\n%s", got)
		}
	}
}
