package dialect

import (
	"fmt"
	"strings"
)

// beside finds the document's other applications that a proxy with all of them
// could take for this one, or this one for them.
func (v *snippetView) beside(s Site) error {
	for _, app := range s.Others {
		if app == s.App {
			continue
		}
		s := s
		s.App, s.Others = app, nil
		o, err := newSnippetView(s)
		if err != nil {
			return err
		}
		if o.within(v) {
			v.Narrower = append(v.Narrower, o)
		}
		v.Wider = v.Wider || v.within(o)
		if v.Domain == "" && o.Domain == "" && v.External.Host == o.External.Host {
			v.Housemates = append(v.Housemates, o)
		}
	}
	return nil
}

// within reports whether all requests of v would be o's if there was no v:
// outpost.Applications.Find takes the narrower one.
func (v *snippetView) within(o *snippetView) bool {
	if o.Domain == "" {
		return v.Domain == "" && v.External.Host == o.External.Host && v.Path != o.Path &&
			strings.HasPrefix(v.Path, strings.TrimSuffix(o.Path, "/")+"/")
	}
	return v.Domain != o.Domain && strings.HasSuffix("."+v.Top(), "."+o.Domain)
}

// Top answers the domain of the site, or its one host.
func (v *snippetView) Top() string {
	if v.Domain != "" {
		return v.Domain
	}
	return v.Host
}

// HAProxyAsked answers the condition for the requests that are asked about. The
// host's other paths are this application's to refuse, unless they are another's.
func (v *snippetView) HAProxyAsked() string {
	condition := fmt.Sprintf("%s_host !%[1]s_own", v.ID)
	if v.Wider && v.Path != "/" {
		condition += fmt.Sprintf(" %s_path", v.ID)
	}
	if len(v.Narrower) > 0 {
		condition += fmt.Sprintf(" !%s_other", v.ID)
	}
	return condition
}

// TraefikPriority answers the priority of a whole domain's router. Traefik's own
// is the length of the rule, by which a domain's pattern would win over its
// hosts. This is one less than that of the shortest rule with a host in the
// domain, so that of two domains the closer wins, and a router for all hosts
// there are does not, if the domain has nine characters or more.
func (v *snippetView) TraefikPriority() int { return len("Host(``)") + len(v.Domain) - 1 }
