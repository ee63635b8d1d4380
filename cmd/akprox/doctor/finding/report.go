package finding

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// State is how a check ended.
type State string

// The states.
const (
	OK      State = "ok"
	Fault   State = "fault"
	Unknown State = "unknown" // not checked; Note says why, and what to do
)

// Finding is one thing that is wrong with this site.
type Finding struct {
	ID       string   `json:"id"`
	Severity Severity `json:"severity"`
	What     string   `json:"what"`
	Mend     string   `json:"mend"`
	Evidence []string `json:"evidence"`
	Lines    []string `json:"lines,omitempty"` // of the proxy's configuration
}

// Check is one question and how it was answered.
type Check struct {
	Name     string    `json:"name"`
	State    State     `json:"state"`
	Note     string    `json:"note,omitempty"` // what is good, or why it is not known
	Findings []Finding `json:"findings,omitempty"`
}

// Report is everything that was seen.
type Report struct {
	URL      string  `json:"url"`
	Proxy    string  `json:"proxy"` // "" when it was not recognised
	Checks   []Check `json:"checks"`
	Requests int     `json:"requests"`
}

// Findings answers the findings of all checks, in order.
func (r *Report) Findings() []Finding {
	var all []Finding
	for _, c := range r.Checks {
		all = append(all, c.Findings...)
	}
	return all
}

// JSON writes the report for programs.
func (r *Report) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(r)
}

// Text writes the report for a person.
func (r *Report) Text(w io.Writer) {
	unknown := 0
	for _, c := range r.Checks {
		if c.State == Unknown {
			unknown++
		}
		if len(c.Findings) == 0 {
			fmt.Fprintf(w, "%-8s %-16s %s\n", c.State, c.Name, c.Note)
		}
		for _, f := range c.Findings {
			fmt.Fprintf(w, "%-8s %-16s %s (%s): %s\n", c.State, c.Name, f.ID, f.Severity, f.What)
			f.text(w)
		}
	}
	fmt.Fprintf(w, "\n%s: %s, %s not checked, %s\n", r.URL, Count(len(r.Findings()), "finding"), Count(unknown, "thing"), Count(r.Requests, "request"))
}

func (f Finding) text(w io.Writer) {
	const indent = "                          "
	for _, e := range f.Evidence {
		fmt.Fprintf(w, "%sseen: %s\n", indent, e)
	}
	fmt.Fprintf(w, "%smend: %s\n", indent, f.Mend)
	for _, line := range f.Lines {
		fmt.Fprintln(w, strings.TrimRight(indent+"| "+line, " "))
	}
}

// Count answers n of what the word says.
func Count(n int, word string) string {
	if n != 1 {
		word += "s"
	}
	return fmt.Sprintf("%d %s", n, word)
}
