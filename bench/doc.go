// Command bench measures what one decision costs: akprox, built as it is
// released, beside a floor (a bare net/http server that sets the same reply
// headers), in interleaved rounds over kept-alive connections on loopback. It
// counts the CPU time of the server's process as the operating system tells
// it, so that a busy machine disturbs the figures little, and prints medians
// and ratios as a table in Markdown.
//
//	go run ./bench [-case WORD] [-rounds 5] [-requests 50000]
package main
