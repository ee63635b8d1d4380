package control

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/akprox/akprox/outpost"
)

// Query is what `akprox sessions` was asked.
type Query struct {
	Verb              string // list or end
	Subject, Provider string
	JSON              bool
}

// Check answers what is wrong with the query's words.
func (q Query) Check() error {
	switch {
	case q.Verb != "list" && q.Verb != "end":
		return fmt.Errorf("there is no sessions %q; there are list and end", q.Verb)
	case q.Verb == "end" && q.Subject == "":
		return errors.New("--subject is missing; akprox sessions list shows the subjects")
	}
	return nil
}

// Run asks s, and prints the answer for a person or, with JSON, for a program.
func (q Query) Run(ctx context.Context, s Sessions, out io.Writer) error {
	if q.Verb == "end" {
		n, err := s.End(ctx, q.Subject, q.Provider)
		if err == nil {
			q.printEnded(out, n)
		}
		return err
	}
	found := []Session{}
	err := s.List(ctx, q.Subject, q.Provider, func(one Session) error {
		found = append(found, one)
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(found, func(a, b Session) int {
		return cmp.Or(strings.Compare(a.User, b.User), strings.Compare(a.Subject, b.Subject), strings.Compare(a.Provider, b.Provider), a.Since.Compare(b.Since), strings.Compare(a.Application, b.Application))
	})
	return q.printList(out, found)
}

func (q Query) printEnded(out io.Writer, n int) {
	switch {
	case q.JSON:
		fmt.Fprintf(out, "{\"ended\":%d}\n", n)
	case n == 0:
		fmt.Fprintf(out, "nobody with the subject %q is signed in; akprox sessions list shows who is\n", q.Subject)
	case n == 1:
		fmt.Fprintln(out, "1 session ended")
	default:
		fmt.Fprintf(out, "%d sessions ended\n", n)
	}
}

func (q Query) printList(out io.Writer, found []Session) error {
	if q.JSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(found)
	}
	if len(found) == 0 {
		fmt.Fprintln(out, "nobody is signed in")
		return nil
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "SUBJECT\tUSER\tPROVIDER\tAPPLICATION\tSINCE\tUNTIL")
	for _, s := range found {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", shown(s.Subject), shown(s.User), shown(s.Provider), shown(s.Application), moment(s.Since), moment(s.Until))
	}
	return table.Flush()
}

func moment(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }

// shown keeps what a terminal would obey out of the table.
func shown(s string) string {
	if s == "" {
		return "-"
	}
	if !outpost.CleanText(s) {
		return strconv.Quote(s)
	}
	return s
}
