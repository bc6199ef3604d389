// What this object uses of the kernel's stable interface (include/uapi/linux/bpf.h), declared here so that the compiled
// object depends on no installed header. Layouts and numbers of that interface never change.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))

#define AF_INET 2
#define AF_INET6 10
#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define PROTO_ICMP 1
#define PROTO_TCP 6
#define PROTO_UDP 17
#define PROTO_ICMPV6 58
#define PROTO_MPTCP 262
#define STATE_LISTEN 10
#define BPF_ANY 0
#define STORAGE_CREATE 1

struct bpf_spin_lock {
	u32 val;
};

struct bpf_sock {
	u32 bound_dev_if, family, type, protocol, mark, priority;
	u32 src_ip4, src_ip6[4];
	u32 src_port; // host byte order
	u16 dst_port, : 16;
	u32 dst_ip4, dst_ip6[4];
	u32 state;
	int rx_queue_mapping;
};

struct bpf_sock_addr {
	u32 user_family, user_ip4, user_ip6[4];
	u32 user_port; // network byte order
	u32 family, type, protocol, msg_src_ip4, msg_src_ip6[4];
	struct bpf_sock *sk;
};

struct __sk_buff {
	u32 len, pkt_type, mark, queue_mapping, protocol, vlan_present, vlan_tci, vlan_proto, priority;
	u32 ingress_ifindex, ifindex, tc_index, cb[5], hash, tc_classid, data, data_end, napi_id;
	u32 family, remote_ip4, local_ip4, remote_ip6[4], local_ip6[4], remote_port, local_port, data_meta;
	u64 flow_keys, tstamp;
	u32 wire_len, gso_segs;
	struct bpf_sock *sk;
};

static void *(*const map_lookup)(const void *map, const void *key) = (void *)1;
static long (*const map_update)(const void *map, const void *key, const void *value, u64 flags) = (void *)2;
static long (*const skb_load_bytes)(const void *skb, u32 offset, void *to, u32 len) = (void *)26;
static u64 (*const get_socket_cookie)(const void *ctx) = (void *)46;
static void *(*const get_local_storage)(const void *map, u64 flags) = (void *)81;
static long (*const spin_lock)(struct bpf_spin_lock *lock) = (void *)93;
static long (*const spin_unlock)(struct bpf_spin_lock *lock) = (void *)94;
static struct bpf_sock *(*const sk_fullsock)(struct bpf_sock *sk) = (void *)95;
static void *(*const sk_storage_get)(const void *map, void *sk, void *value, u64 flags) = (void *)107;
static long (*const ringbuf_output)(const void *map, const void *data, u64 size, u64 flags) = (void *)130;
static u64 (*const ktime_get_coarse_ns)(void) = (void *)160;
