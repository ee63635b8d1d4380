package proxy

import (
	"encoding/json"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/akprox/akprox/outpost"
)

// event is one decision as the log tells it.
type event struct {
	application, dialect, id string
	request                  *outpost.Request
	decision                 *outpost.Decision
	took                     time.Duration
}

// decisionLog writes decisions, one line each, with exactly the keys
// application, dialect, outcome, rule, reason, identity, client, method, host,
// path and duration (seconds) beside logrus's own. It renders them itself, into
// the logger's output: the map that a logrus entry needs for eleven fields
// costs more than the decision.
type decisionLog struct {
	out     io.Writer // safe for concurrent use
	text    bool
	buffers sync.Pool
}

func newDecisionLog(out io.Writer, format string) *decisionLog {
	return &decisionLog{out: out, text: format == "text", buffers: sync.Pool{New: func() any { return new([512]byte) }}}
}

func (l *decisionLog) write(e *event) {
	scratch := l.buffers.Get().(*[512]byte)
	line := scratch[:0]
	if l.text {
		line = e.appendText(line, time.Now())
	} else {
		line = e.appendJSON(line, time.Now())
	}
	_, _ = l.out.Write(line) // there is nowhere to tell
	l.buffers.Put(scratch)
}

func (e *event) appendJSON(b []byte, now time.Time) []byte {
	b = append(b, `{"time":"`...)
	b = now.AppendFormat(b, time.RFC3339)
	b = append(b, `","level":"info"`...)
	b = appendField(b, "msg", e.id)
	for _, f := range e.fields() {
		b = appendField(b, f[0], f[1])
	}
	b = append(b, `,"duration":`...)
	b = strconv.AppendFloat(b, e.took.Seconds(), 'f', 7, 64)
	return append(b, "}\n"...)
}

func (e *event) appendText(b []byte, now time.Time) []byte {
	b = append(b, "time="...)
	b = now.AppendFormat(b, time.RFC3339)
	b = append(append(b, " level=info msg="...), e.id...)
	for _, f := range e.fields() {
		b = append(append(append(b, ' '), f[0]...), '=')
		b = strconv.AppendQuote(b, f[1])
	}
	b = append(append(b, " duration="...), e.took.String()...)
	return append(b, '\n')
}

// fields answers the keys and values of a decision, but for its duration.
func (e *event) fields() [10][2]string {
	var method, client, host, path string
	if r := e.request; r != nil {
		method, host, path = r.Method, r.Host, r.Path.Raw()
		if r.Client != (netip.Addr{}) {
			client = r.Client.String()
		}
	}
	d := e.decision
	return [10][2]string{
		{"application", e.application},
		{"dialect", e.dialect},
		{"outcome", d.Outcome.String()},
		{"rule", d.Rule},
		{"reason", string(d.Reason)},
		{"identity", d.Identity.Label()},
		{"client", client},
		{"method", method},
		{"host", host},
		{"path", path},
	}
}

func appendField(b []byte, key, value string) []byte {
	b = append(b, `,"`...)
	b = append(b, key...)
	b = append(b, `":`...)
	for i := 0; i < len(value); i++ {
		if c := value[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			// Text always marshals. A clone, so that a decision need not live on the
			// heap for the sake of the odd one that is quoted.
			quoted, _ := json.Marshal(strings.Clone(value))
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, value...)
	return append(b, '"')
}
