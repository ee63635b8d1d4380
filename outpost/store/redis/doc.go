// Package redis keeps items in Redis 7 or Valkey: a single server, a primary
// that Sentinel watches, or a Cluster. Any number of processes share it. It
// knows nothing of what its items mean.
//
// # What stands in Redis
//
// Under the prefix and an item's key stands its record, a string that expires
// with the item (PXAT): a head in the clear with a random token, the expiry, a
// random id that Replace keeps, and digests of the tags; then value and tags,
// sealed with AES-256-GCM and bound to that very key (package record). Who can
// read Redis learns keys, sizes and times; keys of sessions are digests, those
// of leases hold the address. Who can write to it can end items, lengthen their
// life and put back an older record of the same key, but cannot make one up nor
// move one to another key.
//
// What stands under a key and is no record that one of our secrets opens
// (another program's value, another version's record, one of another secret)
// is an error that wraps record.ErrUnreadable and store.ErrUnavailable: never an
// item, and never "not found", which would send people to sign in again and
// again while two instances have different secrets. Get, Take, Touch, Replace
// and DeleteTagged leave it as it is; Put writes over a string, and refuses
// other types. List tells what it can read, and then the error.
//
// # Tags
//
// Each tag has an index under "~tag:" and a digest (HMAC, so no name stands in
// the clear): a sorted set of token and key, scored by when the entry may be
// dropped. No command touches two keys, so Cluster may keep each where it
// likes. Put writes the entries first, then the record. So an item that was put
// before DeleteTagged began is in the index. While it is replaced its entry is
// another at each moment, and a scan of several pages may miss them all: so
// DeleteTagged then reads what such a scan has left at one moment. It asks the
// record itself, at once with its deletion, whether it carries the tag, by the
// digest of any of our secrets, each of which has an index. An entry is removed
// only by who removed the record with its token, so nobody removes the entry of
// a Put under way. One left by a process that died between the two steps is
// dropped a minute after the item's expiry, and costs DeleteTagged one look
// until then. An index that Redis evicts takes items out of DeleteTagged's sight
// until they are touched or written again, so Redis has to run with
// maxmemory-policy noeviction.
//
// # Watch
//
// Every connection has CLIENT TRACKING on, without OPTIN: what Get reads, the
// server remembers, and it tells once when that key is written, deleted,
// expired or evicted, by whomever, on the same connection and in order: behind
// the answer of the Get that read the value. The client library keeps nothing
// itself, so no read is served from a cache of its own. The rules for who
// caches what Get answered:
//
//   - The call of changed can run before the Get that it concerns has returned
//     to its caller, never before the server has answered it. So take a mark
//     before Get, and keep the answer only if no change of that key, and no "",
//     came since.
//   - changed("") comes when any connection ends for whatever reason, when a
//     database was flushed, when the set of primaries changes (failover), and
//     while a node does not answer or says that its Cluster is down. Nothing
//     that was read before it may be used after it.
//   - A connection that is dead without a word (a partition, a stopped server)
//     is noticed by a PING: at most 3 × Timeout after the last answer, and
//     changed("") follows. So a change is known within milliseconds, and in the
//     worst case within 3 × Timeout.
//   - Sentinel is asked every second who is primary, beside listening to it. A
//     primary is connected to when most of the listed sentinels name it.
//     While a part of the network holds this process, the old primary and no
//     majority of the sentinels, the old primary goes on for this process: what
//     the others end meanwhile is not seen here until the partition heals. A
//     Cluster's primary without a majority stops after cluster-node-timeout.
//   - The server expires items by its own clock, and may tell late of one that
//     nobody asks for. Who caches an item looks at Expires too, as Get does.
//
// # What a failover loses
//
// Redis replicates after it answers. A primary that dies may take the last
// writes with it, usually those of less than a second: a session that was made
// then is gone (its person signs in again), and one that was ended then is back.
// Against the second, each store remembers what it deleted in the last
// 30 seconds and, once connections were lost, deletes it again by its id: also
// what a Replace that was lost too had replaced, and nothing that was put later.
// What is left: the time until the new primary is reached, deletions whose
// process died with the primary, and an item that Put, not Replace, wrote over
// in those same moments.
// min-replicas-to-write in Redis bounds how far a primary may run ahead of its
// replicas; WAIT would add a round trip to each write and still promise nothing
// (the replica that is chosen may be another), so there is no option for it.
//
// # Errors and time
//
// Every call ends within Timeout and answers an error that wraps
// store.ErrUnavailable when Redis could not be asked or refused (no connection,
// LOADING, READONLY, CLUSTERDOWN, MASTERDOWN, NOAUTH, OOM and so on);
// DeleteTagged, List and Count, which ask many times, need Timeout for each
// step. A write that failed may have happened or not. Reads are tried again
// within Timeout, writes are not. New connects in the background and never
// fails for want of Redis; a connection is made anew by itself.
package redis
