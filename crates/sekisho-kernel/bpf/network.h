// The rows that this object shares with the loader. `src/abi.rs` holds the same layouts.
#pragma once
#include "kernel.h"

enum { OUT, IN, BIND };
enum { UNSET, MONITOR, ENFORCE };
enum { KEEP_POLICY, DENY_NEW, DENY_ALL, DANGER_ALLOW };
enum { BY_RULE, BY_DEFAULT, BY_KIND_OF_SOCKET, BY_SOURCE_ROUTE, BY_UNREADABLE, BY_NO_POLICY, BY_LEASE };
enum { HOOK_CONNECT4, HOOK_CONNECT6, HOOK_SENDMSG4, HOOK_SENDMSG6, HOOK_BIND4, HOOK_BIND6, HOOK_SOCKET, HOOK_INGRESS,
       HOOK_EGRESS };
enum { EXACT = 1, BLOCKS = 2 };
// Counters, of each CPU.
enum { JUDGED, REMEMBERED, DENIED, WOULD_DENY, DIFFERENT, LAPSED, LOST_EVENTS, LOST_FLOWS, COUNTERS };

#define NO_RULE 0xffffffff
#define MAPPED 0xffff0000 // the third word of ::ffff:a.b.c.d, little endian

// The state of one workload, in the storage of its cgroup. The loader replaces it as a whole, so a program never sees half
// of a change. A new state has a new generation, and no other state of this object ever had it.
struct workload {
	u64 id;
	u32 generation;
	u32 live, candidate; // slots; 0: none
	u8 mode, fallback;
	u8 denies, candidate_denies; // the defaults: a bit for each direction
	u8 tables, candidate_tables; // those with rows: EXACT, BLOCKS
	u8 unused[6];
};

struct flow_key {
	u32 addr[4]; // IPv4 in its mapped form
	u16 port;    // network byte order
	u8 proto, direction;
};

struct address_key {
	u32 bits, addr[4];
};

struct port_key {
	u32 bits, class;
	u8 direction, proto;
	u16 port;
};

struct verdict {
	u32 rule;
	u32 deny;
};

struct rule_count {
	u64 allowed, denied;
};

// What is known of a socket and its last peer. The lock keeps two threads from mixing the rows of two peers.
struct socket {
	struct bpf_spin_lock lock;
	u32 generation, rule, addr[4];
	u16 port, local_port; // network byte order; no local port before the first packet
	u8 proto, deny, direction, has_direction;
};

// Flows of sockets with many peers, so that an answer is judged in the direction of the question.
struct peer_key {
	u64 workload;
	u32 addr[4];
	u16 port, local_port;
	u32 proto;
};

struct peer_flow {
	u32 generation, rule;
	u8 direction, deny, unused[2];
};

struct event {
	u64 at, workload, socket;
	u32 generation, rule;
	u32 addr[4];
	u16 port, local_port;
	u8 proto, direction, hook, deny;
	u8 reason, mode, different, unused;
	u32 candidate_rule;
};

_Static_assert(sizeof(struct workload) == 32 && sizeof(struct flow_key) == 20 && sizeof(struct address_key) == 20, "abi.rs");
_Static_assert(sizeof(struct port_key) == 12 && sizeof(struct verdict) == 8 && sizeof(struct rule_count) == 16, "abi.rs");
_Static_assert(sizeof(struct socket) == 36 && sizeof(struct peer_key) == 32 && sizeof(struct peer_flow) == 12, "abi.rs");
_Static_assert(sizeof(struct event) == 64 && COUNTERS == 8, "abi.rs");
