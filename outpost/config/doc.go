// Package config turns a document into compiled applications, or says
// everything that is wrong with it, each problem with its line. It owns the
// document's keys, their defaults and what they may be; how YAML is read into
// structs is package strict's. It reads no file but a secret's, and only when
// it is asked to; which kinds of providers and stores there are, it is told.
package config
