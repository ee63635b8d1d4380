package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/akprox/akprox/providers/apikey"
	"github.com/akprox/akprox/providers/password"
)

// maxInput bounds what is read from stdin, in bytes.
const maxInput = 4 << 10

func runHash(_ context.Context, c *console) int {
	words, status, ok := c.parse("password or key")
	if !ok {
		return status
	}
	text, err := c.line()
	if err != nil {
		return c.fail(err)
	}
	var hash string
	switch words[0] {
	case "password":
		hash, err = password.Hash(text)
	case "key":
		hash = apikey.Hash(text)
	default:
		err = fmt.Errorf("hash what? write akprox hash password or akprox hash key, not %q", words[0])
	}
	if err != nil {
		return c.fail(err)
	}
	fmt.Fprintln(c.out, hash)
	return 0
}

// line reads one line of stdin, so that no secret stands in a command line.
func (c *console) line() (string, error) {
	data, err := io.ReadAll(io.LimitReader(c.in, maxInput+1))
	if err != nil {
		return "", err
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	switch {
	case text == "":
		return "", errors.New("nothing came on standard input; type it there, and end with Ctrl-D")
	case len(data) > maxInput, strings.ContainsAny(text, "\r\n"):
		return "", errors.New("standard input holds more than one line")
	}
	return text, nil
}

func runGenerate(_ context.Context, c *console) int {
	words, status, ok := c.parse("key")
	if !ok {
		return status
	}
	if words[0] != "key" {
		return c.fail(fmt.Errorf("generate what? write akprox generate key, not %q", words[0]))
	}
	key, hash, err := apikey.Generate()
	if err != nil {
		return c.fail(err)
	}
	fmt.Fprintf(c.out, "key   %s\nhash  %s\n", key, hash)
	return 0
}
