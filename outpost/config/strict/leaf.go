package strict

import (
	"encoding"
	"errors"
	"math"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// leaf is a Go type that is written as one plain word in the document.
type leaf struct {
	words  string         // what a person calls it
	many   string         // and a list of it
	tags   string         // the YAML types in which it may be written
	schema map[string]any // as JSON Schema
	read   func(text string, v reflect.Value) error
}

// leafOf answers the leaf for t; false when t is not written as one word.
func leafOf(t reflect.Type) (leaf, bool) {
	text := map[string]any{"type": "string"}
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return leaf{
			"a duration such as 30s, 8h or 1d", "durations", "!!str !!int",
			map[string]any{"type": []string{"string", "integer"}, "pattern": `^(0|([0-9.]+(ns|us|µs|ms|s|m|h|d))+)$`, "maximum": 0, "minimum": 0},
			readDuration,
		}, true
	case t == reflect.TypeFor[netip.Prefix]():
		return leaf{"a network such as 10.0.0.0/8", "networks", "!!str", text, readNetwork}, true
	case t == reflect.TypeFor[time.Time]():
		return leaf{"a date such as 2027-12-31", "dates", "!!str !!timestamp", text, readTime}, true
	case reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()):
		return leaf{"a string", "strings", "!!str", text, readText}, true
	}
	switch t.Kind() {
	case reflect.String:
		return leaf{"a string", "strings", "!!str", text, readString}, true
	case reflect.Bool:
		return leaf{"true or false", "true or false", "!!bool", map[string]any{"type": "boolean"}, readBool}, true
	case reflect.Int, reflect.Int64:
		return leaf{"a whole number", "whole numbers", "!!int", map[string]any{"type": "integer"}, readInt}, true
	default:
		return leaf{}, false
	}
}

func readString(text string, v reflect.Value) error {
	v.SetString(text)
	return nil
}

func readBool(text string, v reflect.Value) error {
	v.SetBool(strings.EqualFold(text, "true"))
	return nil
}

func readInt(text string, v reflect.Value) error {
	n, err := strconv.ParseInt(text, 0, 64)
	if err != nil || v.OverflowInt(n) {
		return errors.New("expected a whole number that is not as large")
	}
	v.SetInt(n)
	return nil
}

func readText(text string, v reflect.Value) error {
	return v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(text)) // leafOf has looked
}

func readTime(text string, v reflect.Value) error {
	for _, layout := range []string{time.DateOnly, time.RFC3339, time.DateTime} {
		if t, err := time.Parse(layout, text); err == nil {
			v.Set(reflect.ValueOf(t))
			return nil
		}
	}
	return errors.New("expected a date such as 2027-12-31 or 2027-12-31T08:00:00Z")
}

func readDuration(text string, v reflect.Value) error {
	d, err := ParseDuration(text)
	v.SetInt(int64(d))
	return err
}

// ParseDuration reads a duration as Go writes it, with days before the hours
// ("1d12h"); it is never negative.
func ParseDuration(text string) (time.Duration, error) {
	wrong := errors.New("expected a duration such as 30s, 8h or 1d")
	days, rest, found := strings.Cut(text, "d")
	if !found {
		days, rest = "0", text
	}
	n, err := strconv.ParseUint(days, 10, 16)
	if err != nil {
		return 0, wrong
	}
	if found && rest == "" {
		rest = "0"
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d < 0 {
		return 0, wrong
	}
	whole := time.Duration(n) * 24 * time.Hour
	if d > math.MaxInt64-whole {
		return 0, wrong
	}
	return whole + d, nil
}

func readNetwork(text string, v reflect.Value) error {
	p, err := ParseNetwork(text)
	v.Set(reflect.ValueOf(p))
	return err
}

// ParseNetwork reads a network, or an address as the network of itself. What
// IPv6 holds of IPv4 (::ffff:0:0/96) becomes IPv4.
func ParseNetwork(text string) (netip.Prefix, error) {
	none, wrong := netip.Prefix{}, errors.New("expected a network such as 10.0.0.0/8, or an address")
	p, err := netip.ParsePrefix(text)
	if err != nil {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return none, wrong
		}
		if a.Zone() != "" {
			return none, errors.New("an address with a zone is no network")
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	if m := p.Masked(); m != p {
		return none, errors.New("has bits set beyond its mask; write " + m.String())
	}
	return p, nil
}
