// Package knock is the credential kind of addresses: who knows a key knocks,
// and the address that it knocked from, or a range that it names, is admitted
// for a while. That is a lease.
//
// A lease belongs to an address (or range) and a key: it is lengthened by that
// key alone, never shortened, and it ends with its time or with its key. It is
// kept in the store before anybody is told of it, and found again from there
// after a restart; requests are answered from memory.
//
// The package knows nothing of HTTP: package proxy/knock is its face.
package knock
