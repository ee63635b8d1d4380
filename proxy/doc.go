// Package proxy is the HTTP face: it mounts the endpoints, asks the dialect
// for the question and outpost for the decision, and writes one log event and
// one metric per decision. It holds the applications of one document; Live
// swaps to those of the next. How a proxy asks is package dialect's business,
// how people sign in is package signin's, and who may pass is outpost's.
package proxy
