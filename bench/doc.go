// Command bench measures what akprox costs beside a floor (a bare net/http
// server that sends the same answer) and beside other programs of its kind,
// and holds every line of the performance targets against what it found.
//
//	go run ./bench [-case WORDS] [-rounds 5] [-requests 50000] [-markdown FILE]
//	go run ./bench generate -dir FOLDER [-sessions 1000000]
//
// akprox is built with the flags of the Dockerfile. The cost of a request is the
// CPU time of the server's process, user and system, as the operating system
// counts it, over kept-alive connections on loopback and after a warm-up. What
// is compared is measured in turn (A B A B …), so that a busy machine disturbs
// a ratio little; all figures are medians.
//
// Other programs are built in modules of their own under peers, into the user's
// cache folder; the reverse proxies are those of `make parts`.
package main
