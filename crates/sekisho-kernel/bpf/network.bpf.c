// Network rules of workloads, enforced by cgroup programs (docs/decisions/0072).
//
// Every program takes the state of its workload from the storage of the cgroup to which it is attached, and judges what the
// socket does: by the exact flow, then by address class and port, then by the default. All addresses have one form of 128
// bits. What cannot be read is denied. Nothing here needs a helper that is newer than Linux 6.1, nor one that the kernel
// gives only to programs under the GPL, so the licence is the project's.
//
// Compile: clang -O2 -target bpfel -mcpu=v3 -c network.bpf.c -o network.bpf.o
#include "network.h"

char LICENSE[] SEC("license") = "Apache-2.0";

// The loader creates the maps (src/maps.rs); here they are names for relocations.
extern char workloads, exact_of, classes_of, ports_of, counts_of, sockets, peers, lease, counters, events;

struct flow {
	u32 addr[4];
	u16 port, local_port;
	u8 proto, syn, ack, problem;
};

struct decision {
	u32 rule;
	u8 deny, reason;
};

INLINE void count(u32 which)
{
	u64 *counter = map_lookup(&counters, &which);
	if (counter)
		*counter += 1;
}

INLINE void count_rule(u32 slot, u32 rule, u8 deny)
{
	void *counts = map_lookup(&counts_of, &slot);
	struct rule_count *row = counts ? map_lookup(counts, &rule) : 0;
	if (!row)
		return;
	if (deny)
		__sync_fetch_and_add(&row->denied, 1);
	else
		__sync_fetch_and_add(&row->allowed, 1);
}

INLINE void mapped(u32 *addr, u32 ip4)
{
	addr[0] = addr[1] = 0;
	addr[2] = MAPPED;
	addr[3] = ip4;
}

INLINE void copy(u32 *to, const u32 *from)
{
	to[0] = from[0], to[1] = from[1], to[2] = from[2], to[3] = from[3];
}

INLINE int same_address(const u32 *a, const u32 *b)
{
	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3];
}

// To the unspecified address means to this machine.
INLINE void no_wildcard(u32 *addr)
{
	if (addr[0] | addr[1] | addr[3])
		return;
	if (addr[2] == MAPPED)
		addr[3] = 0x0100007f;
	else if (!addr[2])
		addr[3] = 0x01000000;
}

// A protocol by one number: both kinds of ICMP are one, and what MPTCP opens is TCP.
INLINE u8 protocol(u32 number)
{
	return number == PROTO_MPTCP ? PROTO_TCP : number == PROTO_ICMPV6 ? PROTO_ICMP : number;
}

INLINE int lapsed(const struct workload *w)
{
	u32 first = 0;
	u64 *until;
	if (w->fallback == KEEP_POLICY)
		return 0;
	until = map_lookup(&lease, &first);
	return !until || ktime_get_coarse_ns() > *until;
}

INLINE void look_up(u32 slot, u8 tables, u8 denies, const struct flow_key *key, struct decision *out)
{
	struct verdict *verdict = 0;
	out->rule = NO_RULE, out->deny = 1, out->reason = BY_NO_POLICY;
	if (tables & EXACT) {
		void *exact = map_lookup(&exact_of, &slot);
		if (!exact)
			return;
		verdict = map_lookup(exact, key);
	}
	if (!verdict && tables & BLOCKS) {
		struct address_key address = {.bits = 128};
		void *classes = map_lookup(&classes_of, &slot), *ports = map_lookup(&ports_of, &slot);
		u32 *class;
		if (!classes || !ports)
			return;
		copy(address.addr, key->addr);
		class = map_lookup(classes, &address);
		if (class) {
			struct port_key port = {.bits = 64, .class = *class, .direction = key->direction,
						.proto = key->proto, .port = key->port};
			verdict = map_lookup(ports, &port);
		}
	}
	if (verdict) {
		out->rule = verdict->rule, out->deny = verdict->deny != 0, out->reason = BY_RULE;
	} else {
		out->deny = (denies >> (key->direction & 3)) & 1, out->reason = BY_DEFAULT;
	}
}

INLINE void report(const struct workload *w, u8 hook, const struct flow *flow, u8 direction, void *ctx,
		   const struct decision *made, const struct decision *candidate)
{
	struct event event = {
		.at = ktime_get_coarse_ns(),
		.workload = w->id,
		.socket = ctx ? get_socket_cookie(ctx) : 0,
		.generation = w->generation,
		.rule = made->rule,
		.port = flow->port,
		.local_port = flow->local_port,
		.proto = flow->proto,
		.direction = direction,
		.hook = hook,
		.deny = made->deny,
		.reason = made->reason,
		.mode = w->mode,
		.candidate_rule = candidate->rule,
	};
	copy(event.addr, flow->addr);
	if (w->candidate && candidate->deny != made->deny) {
		event.different = 1;
		count(DIFFERENT);
	}
	if (made->deny)
		count(w->mode == ENFORCE ? DENIED : WOULD_DENY);
	if (ringbuf_output(&events, &event, sizeof(event), 0))
		count(LOST_EVENTS);
}

INLINE struct flow_key key_of(const struct flow *flow, u8 direction)
{
	struct flow_key key = {.proto = flow->proto, .direction = direction};
	copy(key.addr, flow->addr);
	key.port = direction == IN ? flow->local_port : flow->port;
	return key;
}

// Whether the policy would allow a flow in one direction. Nothing is counted.
INLINE int allows(const struct workload *w, const struct flow *flow, u8 direction)
{
	struct flow_key key = key_of(flow, direction);
	struct decision found;
	look_up(w->live, w->tables, w->denies, &key, &found);
	return !found.deny;
}

// A new flow in one direction. `made` holds the decision of the policy, in whatever mode.
INLINE void judge(const struct workload *w, u8 hook, const struct flow *flow, u8 direction, void *ctx,
		  struct decision *made)
{
	struct decision candidate = {.rule = NO_RULE};
	struct flow_key key = key_of(flow, direction);
	look_up(w->live, w->tables, w->denies, &key, made);
	if (w->candidate) {
		look_up(w->candidate, w->candidate_tables, w->candidate_denies, &key, &candidate);
		count_rule(w->candidate, candidate.rule, candidate.deny);
	}
	count(JUDGED);
	count_rule(w->live, made->rule, made->deny);
	report(w, hook, flow, direction, ctx, made, &candidate);
}

// A refusal that no rule made.
INLINE void refuse(const struct workload *w, u8 hook, const struct flow *flow, u8 direction, void *ctx, u8 reason,
		   struct decision *made)
{
	made->rule = NO_RULE, made->deny = 1, made->reason = reason;
	report(w, hook, flow, direction, ctx, made, made);
}

INLINE int passes(const struct workload *w, const struct decision *made)
{
	return !made->deny || w->mode == MONITOR;
}

INLINE void remember(struct bpf_sock *sk, const struct workload *w, const struct flow *flow, u8 direction,
		     const struct decision *made)
{
	struct socket *socket = sk_storage_get(&sockets, sk, 0, STORAGE_CREATE);
	if (!socket)
		return;
	spin_lock(&socket->lock);
	socket->generation = w->generation;
	socket->rule = made->rule;
	copy(socket->addr, flow->addr);
	socket->port = flow->port;
	socket->local_port = flow->local_port;
	socket->proto = flow->proto;
	socket->deny = made->deny;
	socket->direction = direction;
	socket->has_direction = 1;
	spin_unlock(&socket->lock);
}

INLINE struct peer_key peer_of(const struct workload *w, const struct flow *flow)
{
	struct peer_key key = {
		.workload = w->id, .port = flow->port, .local_port = flow->local_port, .proto = flow->proto};
	copy(key.addr, flow->addr);
	return key;
}

// Keeps a flow that passes. A row of this generation that denies exists in monitor mode only.
INLINE void keep_peer(const struct peer_key *key, const struct workload *w, u8 direction, const struct decision *made)
{
	struct peer_flow row = {
		.generation = w->generation, .rule = made->rule, .direction = direction, .deny = made->deny};
	if (map_update(&peers, key, &row, BPF_ANY))
		count(LOST_FLOWS);
}

// --- Calls that name an address ---

// Asked before anything else: 0 and 1 are answers, 2 goes on.
INLINE int without_policy(const struct workload *w, u8 lapse)
{
	if (w->mode == UNSET) {
		count(DENIED);
		return 0;
	}
	if (w->mode == MONITOR || !lapse)
		return 2;
	count(LAPSED);
	return w->fallback == DANGER_ALLOW ? 1 : 2;
}

INLINE int to_peer(struct bpf_sock_addr *ctx, u8 hook, u8 is_v6)
{
	const struct workload *w = get_local_storage(&workloads, 0);
	struct flow flow = {.port = ctx->user_port, .proto = protocol(ctx->protocol)};
	struct bpf_sock *sk = ctx->sk;
	struct decision made;
	struct peer_flow *known;
	u8 lapse = lapsed(w) && w->mode == ENFORCE;
	int answer = without_policy(w, lapse);
	if (answer != 2)
		return answer;
	if (is_v6) {
		flow.addr[0] = ctx->user_ip6[0], flow.addr[1] = ctx->user_ip6[1];
		flow.addr[2] = ctx->user_ip6[2], flow.addr[3] = ctx->user_ip6[3];
	} else {
		mapped(flow.addr, ctx->user_ip4);
	}
	no_wildcard(flow.addr);
	// An answer to a peer that asked is not a new flow, also where the socket is connected to that peer first; the
	// packet is judged, in that direction.
	if (flow.proto != PROTO_TCP && sk) {
		struct peer_key key;
		flow.local_port = __builtin_bswap16(sk->src_port);
		key = peer_of(w, &flow);
		known = map_lookup(&peers, &key);
		if (known && (known->direction == IN || (hook >= HOOK_SENDMSG4 && known->generation == w->generation)))
			return 1;
		flow.local_port = 0;
	}
	if (lapse)
		refuse(w, hook, &flow, OUT, ctx, BY_LEASE, &made);
	else
		judge(w, hook, &flow, OUT, ctx, &made);
	// A refused call leaves the socket as it was: what it knows of its flow stays valid. One that passes in monitor mode
	// has been counted, so its packets must not be.
	if (sk && passes(w, &made))
		remember(sk, w, &flow, OUT, &made);
	return passes(w, &made);
}

SEC("cgroup/connect4") int connect4(struct bpf_sock_addr *ctx) { return to_peer(ctx, HOOK_CONNECT4, 0); }
SEC("cgroup/connect6") int connect6(struct bpf_sock_addr *ctx) { return to_peer(ctx, HOOK_CONNECT6, 1); }
SEC("cgroup/sendmsg4") int sendmsg4(struct bpf_sock_addr *ctx) { return to_peer(ctx, HOOK_SENDMSG4, 0); }
SEC("cgroup/sendmsg6") int sendmsg6(struct bpf_sock_addr *ctx) { return to_peer(ctx, HOOK_SENDMSG6, 1); }

INLINE int to_local(struct bpf_sock_addr *ctx, u8 hook, u8 is_v6)
{
	const struct workload *w = get_local_storage(&workloads, 0);
	struct flow flow = {.port = ctx->user_port, .proto = protocol(ctx->protocol)};
	struct decision made;
	u8 lapse = lapsed(w) && w->mode == ENFORCE;
	int answer = without_policy(w, lapse);
	if (answer != 2)
		return answer;
	// The kernel will choose the port: `listen` alone does the same and asks no program.
	if (!flow.port)
		return 1;
	if (is_v6) {
		flow.addr[0] = ctx->user_ip6[0], flow.addr[1] = ctx->user_ip6[1];
		flow.addr[2] = ctx->user_ip6[2], flow.addr[3] = ctx->user_ip6[3];
	} else {
		mapped(flow.addr, ctx->user_ip4);
	}
	if (lapse) {
		refuse(w, hook, &flow, BIND, ctx, BY_LEASE, &made);
		return passes(w, &made);
	}
	judge(w, hook, &flow, BIND, ctx, &made);
	// `::` takes IPv4 as well.
	if (!made.deny && !(flow.addr[0] | flow.addr[1] | flow.addr[2] | flow.addr[3])) {
		flow.addr[2] = MAPPED;
		judge(w, hook, &flow, BIND, ctx, &made);
	}
	return passes(w, &made);
}

SEC("cgroup/bind4") int bind4(struct bpf_sock_addr *ctx) { return to_local(ctx, HOOK_BIND4, 0); }
SEC("cgroup/bind6") int bind6(struct bpf_sock_addr *ctx) { return to_local(ctx, HOOK_BIND6, 1); }

// Only sockets whose every packet the programs below can read.
SEC("cgroup/sock_create") int sock_create(struct bpf_sock *ctx)
{
	const struct workload *w = get_local_storage(&workloads, 0);
	struct flow flow = {.proto = ctx->protocol};
	struct decision made;
	u32 type = ctx->type, proto = ctx->protocol;
	u8 readable = (type == SOCK_STREAM && (proto == PROTO_TCP || proto == PROTO_MPTCP)) ||
		      (type == SOCK_DGRAM && (proto == PROTO_UDP || proto == PROTO_ICMP || proto == PROTO_ICMPV6));
	if (w->mode == UNSET) {
		count(DENIED);
		return 0;
	}
	if (readable || (w->fallback == DANGER_ALLOW && lapsed(w)))
		return 1;
	refuse(w, HOOK_SOCKET, &flow, OUT, 0, BY_KIND_OF_SOCKET, &made);
	return passes(w, &made);
}

// --- Packets ---

INLINE void ports(struct __sk_buff *skb, u32 offset, u8 egress, struct flow *flow)
{
	u16 pair[2] = {};
	u8 flags = 0;
	if (flow->proto != PROTO_TCP && flow->proto != PROTO_UDP)
		return;
	if (skb_load_bytes(skb, offset, pair, sizeof(pair)))
		flow->problem = BY_UNREADABLE;
	flow->port = egress ? pair[1] : pair[0];
	flow->local_port = egress ? pair[0] : pair[1];
	if (flow->proto != PROTO_TCP)
		return;
	if (skb_load_bytes(skb, offset + 13, &flags, 1))
		flow->problem = BY_UNREADABLE;
	flow->syn = !!(flags & 0x02);
	flow->ack = !!(flags & 0x10);
}

struct ip4 {
	u8 version, tos;
	u16 len, id, fragment;
	u8 ttl, proto;
	u16 check;
	u32 source, destination;
};

// The usual packet, without a call for each header: IPv4 without options, whole, with TCP or UDP.
INLINE int parse_usual(const struct __sk_buff *skb, u8 egress, struct flow *flow)
{
	const u8 *at = (const u8 *)(long)skb->data, *end = (const u8 *)(long)skb->data_end;
	const struct ip4 *ip = (const struct ip4 *)at;
	const u16 *pair = (const u16 *)(at + 20);
	if (at + 28 > end || ip->version != 0x45 || ip->fragment & 0xff1f)
		return 0;
	if (ip->proto == PROTO_TCP) {
		if (at + 34 > end)
			return 0;
		flow->syn = !!(at[33] & 0x02);
		flow->ack = !!(at[33] & 0x10);
	} else if (ip->proto != PROTO_UDP) {
		return 0;
	}
	mapped(flow->addr, egress ? ip->destination : ip->source);
	flow->proto = ip->proto;
	flow->port = egress ? pair[1] : pair[0];
	flow->local_port = egress ? pair[0] : pair[1];
	return 1;
}

INLINE void parse4(struct __sk_buff *skb, u8 egress, struct flow *flow)
{
	struct ip4 ip;
	if (skb_load_bytes(skb, 0, &ip, sizeof(ip))) {
		flow->problem = BY_UNREADABLE;
		return;
	}
	mapped(flow->addr, egress ? ip.destination : ip.source);
	flow->proto = ip.proto;
	// A packet with options may go another way than its address says. In, the kernel has dealt with them.
	if (egress && (ip.version & 0xf) > 5)
		flow->problem = BY_SOURCE_ROUTE;
	if (ip.fragment & 0xff1f)
		flow->problem = BY_UNREADABLE;
	ports(skb, (ip.version & 0xf) * 4, egress, flow);
}

INLINE void parse6(struct __sk_buff *skb, u8 egress, struct flow *flow)
{
	u8 next = 0, header[8];
	u32 offset = 40;
	if (skb_load_bytes(skb, 6, &next, 1) || skb_load_bytes(skb, egress ? 24 : 8, flow->addr, 16)) {
		flow->problem = BY_UNREADABLE;
		return;
	}
#pragma unroll
	for (int i = 0; i < 6; i++) {
		// Hop by hop, routing, fragment, destination options, in any order.
		if (next != 0 && next != 43 && next != 44 && next != 60)
			break;
		if (skb_load_bytes(skb, offset, header, sizeof(header))) {
			flow->problem = BY_UNREADABLE;
			return;
		}
		if (next == 43 && egress)
			flow->problem = BY_SOURCE_ROUTE;
		if (next == 44 && (header[2] | (header[3] & 0xf8)))
			flow->problem = BY_UNREADABLE;
		offset += next == 44 ? 8 : (header[1] + 1) * 8;
		next = header[0];
	}
	if (next == 0 || next == 43 || next == 44 || next == 60)
		flow->problem = BY_UNREADABLE;
	flow->proto = protocol(next);
	ports(skb, offset, egress, flow);
}

INLINE void parse(struct __sk_buff *skb, u8 egress, struct flow *flow)
{
	u8 version = 0;
	skb_load_bytes(skb, 0, &version, 1);
	if (version >> 4 == 4)
		parse4(skb, egress, flow);
	else if (version >> 4 == 6)
		parse6(skb, egress, flow);
	else
		flow->problem = BY_UNREADABLE;
}

enum { UNKNOWN_DIRECTION = 3 };

// Which end began the flow. A first packet shows it whatever the socket did before; `known` is what the socket remembers.
INLINE u8 direction_of(const struct flow *flow, const struct bpf_sock *sk, u8 egress, u8 known)
{
	if (flow->proto != PROTO_TCP)
		return egress ? OUT : IN;
	if (flow->syn && !flow->ack)
		return egress ? OUT : IN;
	if (sk->state == STATE_LISTEN)
		return IN;
	return known;
}

// The flow of one packet is not remembered: judge it, and remember.
INLINE int new_flow(struct __sk_buff *ctx, const struct workload *w, struct bpf_sock *sk, struct flow *flow, u8 hook,
		    u8 direction, u8 lapse)
{
	u8 egress = hook == HOOK_EGRESS;
	struct decision made;
	struct peer_key key = peer_of(w, flow);
	struct peer_flow *known = 0;
	if (flow->proto != PROTO_TCP) {
		known = map_lookup(&peers, &key);
		if (known)
			direction = known->direction & 1;
		if (known && known->generation == w->generation) {
			made.rule = known->rule, made.deny = known->deny, made.reason = BY_RULE;
			remember(sk, w, flow, direction, &made);
			count(REMEMBERED);
			return passes(w, &made);
		}
	}
	if (lapse) {
		refuse(w, hook, flow, egress ? OUT : IN, ctx, BY_LEASE, &made);
		return passes(w, &made);
	}
	// A connection that is older than the programs: either direction may allow it, and only that one is counted.
	if (direction == UNKNOWN_DIRECTION)
		direction = allows(w, flow, IN) && !allows(w, flow, OUT) ? IN : OUT;
	judge(w, hook, flow, direction, ctx, &made);
	remember(sk, w, flow, direction, &made);
	if (flow->proto != PROTO_TCP && passes(w, &made))
		keep_peer(&key, w, direction, &made);
	return passes(w, &made);
}

// The call that named this peer passed; the packet adds the local port.
INLINE void adopt(const struct workload *w, struct bpf_sock *sk, struct flow *flow, u8 direction, u32 rule, u8 deny)
{
	struct decision made = {.rule = rule, .deny = deny, .reason = BY_RULE};
	struct peer_key key = peer_of(w, flow);
	remember(sk, w, flow, direction, &made);
	if (flow->proto != PROTO_TCP)
		keep_peer(&key, w, direction, &made);
}

INLINE int packet(struct __sk_buff *skb, u8 hook)
{
	const struct workload *w = get_local_storage(&workloads, 0);
	u8 egress = hook == HOOK_EGRESS, lapse, same = 0, deny = 0, direction = UNKNOWN_DIRECTION;
	u32 rule = NO_RULE;
	u16 local_port = 0;
	struct flow flow = {};
	struct bpf_sock *sk = skb->sk;
	struct socket *socket;
	struct decision made;
	int answer;

	lapse = lapsed(w) && w->mode == ENFORCE;
	answer = without_policy(w, lapse);
	if (answer != 2)
		return answer;
	if (!parse_usual(skb, egress, &flow))
		parse(skb, egress, &flow);
	sk = sk ? sk_fullsock(sk) : 0;
	if (!sk)
		flow.problem = BY_UNREADABLE;
	if (lapse && w->fallback == DENY_ALL)
		flow.problem = BY_LEASE;
	if (flow.problem || !sk) {
		refuse(w, hook, &flow, egress ? OUT : IN, skb, flow.problem, &made);
		return passes(w, &made);
	}

	socket = sk_storage_get(&sockets, sk, 0, 0);
	if (socket) {
		spin_lock(&socket->lock);
		same = socket->generation == w->generation && socket->port == flow.port &&
		       socket->proto == flow.proto && same_address(socket->addr, flow.addr);
		local_port = socket->local_port;
		deny = socket->deny;
		rule = socket->rule;
		if (socket->has_direction)
			direction = socket->direction;
		spin_unlock(&socket->lock);
	}
	// Without connections, a peer that may not call may still be called. Where a denied call passes, its answer is part
	// of it.
	if (deny && w->mode == ENFORCE && flow.proto != PROTO_TCP && (direction == OUT) != egress)
		same = 0;
	if (same && local_port == flow.local_port) {
		count(REMEMBERED);
		return !deny || w->mode == MONITOR;
	}
	if (same && !local_port && (!deny || w->mode == MONITOR)) {
		adopt(w, sk, &flow, direction, rule, deny);
		return 1;
	}
	return new_flow(skb, w, sk, &flow, hook, direction_of(&flow, sk, egress, direction), lapse);
}

SEC("cgroup_skb/ingress") int ingress(struct __sk_buff *skb) { return packet(skb, HOOK_INGRESS); }
SEC("cgroup_skb/egress") int egress(struct __sk_buff *skb) { return packet(skb, HOOK_EGRESS); }

// Attached first, and removed last: it makes the storage of the cgroup, so that the state is there before the others are.
SEC("cgroup/sock_release") int anchor(struct bpf_sock *ctx)
{
	get_local_storage(&workloads, 0);
	return 1;
}
