package proxy

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strconv"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/akprox/akprox/outpost"
)

// eventKey is the one field of a decision's log entry. The formatter below
// writes its parts; the map that logrus would need for eleven fields costs
// more than the decision.
const eventKey = "decision"

// event is one decision as the log tells it.
type event struct {
	application, dialect, id string
	request                  *outpost.Request
	decision                 *outpost.Decision
	duration                 time.Duration
}

// Formatter answers the log's formatter: "text" for people, else JSON. A
// decision is one line with exactly the keys application, dialect, outcome,
// rule, reason, identity, client, method, host, path and duration (seconds)
// beside logrus's own; every other entry is logrus's business.
func Formatter(format string) logrus.Formatter {
	if format == "text" {
		return textFormatter{&logrus.TextFormatter{DisableColors: true, FullTimestamp: true}}
	}
	return jsonFormatter{&logrus.JSONFormatter{}}
}

type jsonFormatter struct{ other logrus.Formatter }

// Format implements logrus.Formatter.
func (f jsonFormatter) Format(entry *logrus.Entry) ([]byte, error) {
	e, ok := entry.Data[eventKey].(*event)
	if !ok {
		return f.other.Format(entry)
	}
	b := make([]byte, 0, 384)
	b = append(b, `{"time":"`...)
	b = entry.Time.AppendFormat(b, time.RFC3339)
	b = append(b, `","level":"info"`...)
	b = appendField(b, "msg", e.id)
	for _, f := range e.fields() {
		b = appendField(b, f[0], f[1])
	}
	b = append(b, `,"duration":`...)
	b = strconv.AppendFloat(b, e.duration.Seconds(), 'f', 7, 64)
	return append(b, "}\n"...), nil
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
			quoted, _ := json.Marshal(value) // text always marshals
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, value...)
	return append(b, '"')
}

type textFormatter struct{ other logrus.Formatter }

// Format implements logrus.Formatter.
func (f textFormatter) Format(entry *logrus.Entry) ([]byte, error) {
	e, ok := entry.Data[eventKey].(*event)
	if !ok {
		return f.other.Format(entry)
	}
	var b bytes.Buffer
	b.WriteString("time=" + entry.Time.Format(time.RFC3339) + " level=info msg=" + e.id)
	for _, f := range e.fields() {
		b.WriteString(" " + f[0] + "=" + strconv.Quote(f[1]))
	}
	b.WriteString(" duration=" + e.duration.String() + "\n")
	return b.Bytes(), nil
}
