//! Answers, connections that are open while rules change, and what is reported.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};

use sekisho_kernel::bypass::{ALLOWED_PORT, DENIED_PORT};
use sekisho_kernel::{Direction, Enforcement, Enforcer, Fallback, InForce, Mode, Ports, Protocol, Verdict, in_force};

use crate::child::Workload;
use crate::{LOCAL, SOON, in_a_network, is_refused, is_refused_to, only, rule, to_port};

#[test]
fn an_answer_passes_and_a_call_does_not() {
    in_a_network("an_answer_passes_and_a_call_does_not", |_| {
        let workload = Workload::start();
        let mut enforcer = Enforcer::load().unwrap();
        let policy = to_port(ALLOWED_PORT);
        enforcer.attach(workload.cgroup.path(), &policy, Mode::Enforce, Fallback::KeepPolicy).unwrap();
        let served = workload.udp4();
        rustix::net::bind(&served, &SocketAddr::from((LOCAL, 9000))).unwrap();
        let (caller, stranger) = (UdpSocket::bind((LOCAL, 0)).unwrap(), UdpSocket::bind((LOCAL, 0)).unwrap());
        caller.set_read_timeout(Some(SOON)).unwrap();
        caller.send_to(b"question", (LOCAL, 9000)).unwrap();
        let (length, from) = served.recv_from(&mut [0; 16]).unwrap();
        assert_eq!((length, from), (8, caller.local_addr().unwrap()));
        served.send_to(b"answer", from).unwrap();
        assert_eq!(caller.recv(&mut [0; 16]).unwrap(), 6);
        // From the port that it serves, too, the workload calls only whom it may.
        let refused = served.send_to(b"call", stranger.local_addr().unwrap()).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
        // And it receives answers of peers that it may call.
        let client = workload.udp4();
        client.set_read_timeout(Some(SOON)).unwrap();
        for _ in 0..2 {
            client.send_to(b"ping", (LOCAL, ALLOWED_PORT)).unwrap();
            assert_eq!(client.recv(&mut [0; 16]).unwrap(), 4);
        }
        let own = client.local_addr().unwrap();
        stranger.send_to(b"not asked for", (LOCAL, own.port())).unwrap();
        client.set_nonblocking(true).unwrap();
        assert!(client.recv(&mut [0; 16]).is_err());
    });
}

#[test]
fn a_refused_caller_can_still_be_called() {
    in_a_network("a_refused_caller_can_still_be_called", |_| {
        let workload = Workload::start();
        let mut enforcer = Enforcer::load().unwrap();
        let peer = UdpSocket::bind((LOCAL, 9100)).unwrap();
        peer.set_read_timeout(Some(SOON)).unwrap();
        // Older than the programs, so that they know nothing of it.
        let older = workload.udp4();
        rustix::net::connect(&older, &SocketAddr::from((LOCAL, 9100))).unwrap();
        let policy = only(vec![
            rule("out", Direction::Out, "127.0.0.1", Protocol::Udp, Ports::one(9100), Verdict::Allow),
            rule("bind", Direction::Bind, "any", Protocol::Any, Ports::one(9200), Verdict::Allow),
        ]);
        enforcer.attach(workload.cgroup.path(), &policy, Mode::Enforce, Fallback::KeepPolicy).unwrap();
        let own = workload.udp4();
        rustix::net::bind(&own, &SocketAddr::from((LOCAL, 9200))).unwrap();
        own.set_read_timeout(Some(SOON)).unwrap();
        peer.send_to(b"not asked for", (LOCAL, 9200)).unwrap();
        peer.send_to(b"not asked for", older.local_addr().unwrap()).unwrap();
        older.send(b"first").unwrap();
        assert_eq!(peer.recv(&mut [0; 16]).unwrap(), 5);
        own.send_to(b"question", (LOCAL, 9100)).unwrap();
        assert_eq!(peer.recv(&mut [0; 16]).unwrap(), 8);
        peer.send_to(b"answer", (LOCAL, 9200)).unwrap();
        assert_eq!(own.recv(&mut [0; 16]).unwrap(), 6);
    });
}

#[test]
fn a_server_may_connect_to_its_caller() {
    in_a_network("a_server_may_connect_to_its_caller", |_| {
        let workload = Workload::start();
        let mut enforcer = Enforcer::load().unwrap();
        let policy = to_port(ALLOWED_PORT);
        let id = enforcer.attach(workload.cgroup.path(), &policy, Mode::Enforce, Fallback::KeepPolicy).unwrap();
        let (caller, stranger) = (UdpSocket::bind((LOCAL, 0)).unwrap(), UdpSocket::bind((LOCAL, 0)).unwrap());
        caller.set_read_timeout(Some(SOON)).unwrap();
        let served = workload.udp4();
        rustix::net::sockopt::set_socket_reuseaddr(&served, true).unwrap();
        rustix::net::bind(&served, &SocketAddr::from((LOCAL, 9000))).unwrap();
        caller.send_to(b"question", (LOCAL, 9000)).unwrap();
        let (_, from) = served.recv_from(&mut [0; 16]).unwrap();
        // By the socket that received it, or by another one for this caller.
        let own = workload.udp4();
        rustix::net::sockopt::set_socket_reuseaddr(&own, true).unwrap();
        rustix::net::bind(&own, &SocketAddr::from((LOCAL, 9000))).unwrap();
        for socket in [&served, &own] {
            rustix::net::connect(socket, &from).unwrap();
            socket.send(b"answer").unwrap();
            assert_eq!(caller.recv(&mut [0; 16]).unwrap(), 6);
        }
        let strange = stranger.local_addr().unwrap();
        assert!(is_refused(rustix::net::connect(&served, &strange)), "it did not call");
        // Only from the port that was called: from another one it is a call of the workload.
        assert!(is_refused(rustix::net::connect(workload.udp4(), &from)));
        // The caller's flow is what is judged: without its rule, the answer is refused.
        enforcer.replace(id, &only(Vec::new())).unwrap();
        assert_eq!(served.send(b"answer").unwrap_err().raw_os_error(), Some(libc::EPERM));
    });
}

#[test]
fn monitor_mode_counts_each_call_once() {
    in_a_network("monitor_mode_counts_each_call_once", |listeners| {
        let workload = Workload::start();
        let mut enforcer = Enforcer::load().unwrap();
        let deny = rule("never", Direction::Out, "any", Protocol::Any, Ports::ALL, Verdict::Deny);
        let path = workload.cgroup.path();
        let id = enforcer.attach(path, &only(vec![deny]), Mode::Monitor, Fallback::KeepPolicy).unwrap();
        let stream = workload.tcp4();
        assert!(!is_refused_to(&stream, DENIED_PORT));
        TcpStream::from(stream).write_all(b"by TCP").unwrap();
        assert!(listeners.received(b"by TCP", SOON));
        let (connected, unconnected) = (workload.udp4(), workload.udp4());
        assert!(!is_refused_to(&connected, DENIED_PORT));
        for socket in [&connected, &unconnected] {
            socket.set_read_timeout(Some(SOON)).unwrap();
        }
        // The listener sends back what it gets.
        for _ in 0..3 {
            connected.send(b"connected").unwrap();
            assert_eq!(connected.recv(&mut [0; 16]).unwrap(), 9);
            unconnected.send_to(b"unconnected", (LOCAL, DENIED_PORT)).unwrap();
            assert_eq!(unconnected.recv(&mut [0; 16]).unwrap(), 11);
        }
        let counted = enforcer.counters().unwrap();
        assert_eq!((counted.judged, counted.would_deny, counted.denied), (3, 3, 0), "{counted:?}");
        assert_eq!(enforcer.events().len(), 3);
        assert_eq!(enforcer.receipts(id).unwrap()[0].denied, 3);
        enforcer.set_mode(id, Mode::Enforce).unwrap();
        assert_eq!(connected.send(b"no more").unwrap_err().raw_os_error(), Some(libc::EPERM));
        assert!(unconnected.send_to(b"no more", (LOCAL, DENIED_PORT)).is_err());
    });
}

#[test]
fn an_older_connection_is_counted_once() {
    in_a_network("an_older_connection_is_counted_once", |_| {
        let workload = Workload::start();
        let mut enforcer = Enforcer::load().unwrap();
        let listener = workload.listener(9000);
        let mut caller = TcpStream::connect((LOCAL, 9000)).unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        let path = workload.cgroup.path();
        enforcer.attach(path, &to_port(ALLOWED_PORT), Mode::Enforce, Fallback::KeepPolicy).unwrap();
        accepted.write_all(b"passes").unwrap();
        caller.set_read_timeout(Some(SOON)).unwrap();
        caller.read_exact(&mut [0; 6]).unwrap();
        let counted = enforcer.counters().unwrap();
        assert_eq!((counted.judged, counted.denied), (1, 0), "{counted:?}");
        let events = enforcer.events();
        assert!(matches!(events.as_slice(), [event] if event.direction == Direction::In), "{events:?}");
    });
}

#[test]
fn accepted_connections_are_judged_as_calls_in() {
    in_a_network("accepted_connections_are_judged_as_calls_in", |_| {
        let workload = Workload::start();
        let mut enforcer = Enforcer::load().unwrap();
        let id = enforcer
            .attach(workload.cgroup.path(), &to_port(ALLOWED_PORT), Mode::Enforce, Fallback::KeepPolicy)
            .unwrap();
        let listener = workload.listener(9000);
        let mut caller = TcpStream::connect((LOCAL, 9000)).unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        accepted.set_read_timeout(Some(SOON)).unwrap();
        caller.set_read_timeout(Some(SOON)).unwrap();
        caller.write_all(b"question").unwrap();
        accepted.read_exact(&mut [0; 8]).unwrap();
        accepted.write_all(b"answer").unwrap();
        caller.read_exact(&mut [0; 6]).unwrap();
        let serve = enforcer.receipts(id).unwrap().into_iter().find(|receipt| receipt.rule == "serve").unwrap();
        assert!(serve.allowed >= 1 && serve.denied == 0, "{serve:?}");
        // Without the rule, the open connection is silent in both directions.
        enforcer.replace(id, &only(Vec::new())).unwrap();
        caller.write_all(b"more").unwrap();
        accepted.set_read_timeout(Some(SOON / 4)).unwrap();
        accepted.read_exact(&mut [0; 4]).unwrap_err();
        // With it, what TCP sends again arrives.
        enforcer.replace(id, &to_port(ALLOWED_PORT)).unwrap();
        accepted.set_read_timeout(Some(SOON * 4)).unwrap();
        accepted.read_exact(&mut [0; 4]).unwrap();
    });
}

#[test]
fn law_l15_every_rule_has_a_receipt() {
    in_a_network("law_l15_every_rule_has_a_receipt", |_| {
        let workload = Workload::start();
        let mut enforcer = Enforcer::load().unwrap();
        let policy = to_port(ALLOWED_PORT);
        let path = workload.cgroup.path();
        let id = enforcer.attach(path, &policy, Mode::Monitor, Fallback::KeepPolicy).unwrap();
        assert!(!is_refused_to(workload.tcp4(), DENIED_PORT), "monitor mode lets everything pass");
        assert!(!is_refused_to(workload.tcp4(), ALLOWED_PORT));
        let counted = enforcer.counters().unwrap();
        assert!(counted.would_deny >= 1 && counted.denied == 0, "{counted:?}");
        let receipts = enforcer.receipts(id).unwrap();
        assert_eq!(receipts.len(), policy.rules().len());
        assert!(receipts.iter().all(|receipt| receipt.enforcement == Enforcement::ReportedOnly));
        enforcer.set_mode(id, Mode::Enforce).unwrap();
        assert!(is_refused_to(workload.tcp4(), DENIED_PORT));
        for receipt in enforcer.receipts(id).unwrap() {
            assert_eq!(receipt.enforcement, Enforcement::Enforced);
            assert!(!receipt.points.is_empty() && receipt.map > 0 && receipt.digest.len() == 64, "{receipt:?}");
            let tags = enforcer.tags();
            for point in &receipt.points {
                assert!(point.link > 0 && point.program > 0);
                assert_eq!(in_force(point.link, &point.tag), InForce::Yes { cgroup: id.0 });
                assert_eq!(in_force(point.link, "0000000000000000"), InForce::No);
                assert!(tags.contains(&(point.hook.name(), point.tag.clone())), "{point:?}");
            }
        }
        let digests = |enforcer: &Enforcer| {
            enforcer.receipts(id).unwrap().into_iter().map(|receipt| receipt.digest).collect::<Vec<_>>()
        };
        let before = digests(&enforcer);
        enforcer.replace(id, &policy).unwrap();
        assert_eq!(digests(&enforcer), before, "equal rules have equal digests");
        enforcer.replace(id, &to_port(DENIED_PORT)).unwrap();
        assert_ne!(digests(&enforcer), before);
        let out = receipts.iter().find(|receipt| receipt.rule == "out").unwrap();
        let link = out.points[0].link;
        enforcer.detach(id).unwrap();
        assert_eq!(in_force(link, &out.points[0].tag), InForce::No);
        let places: Vec<&str> = out.points.iter().map(|point| point.hook.name()).collect();
        assert_eq!(places, ["connect4", "connect6", "sendmsg4", "sendmsg6", "ingress", "egress"]);
        assert_eq!((out.allowed, out.denied), (1, 0), "{out:?}");
    });
}

#[test]
fn a_candidate_is_judged_without_effect() {
    in_a_network("a_candidate_is_judged_without_effect", |listeners| {
        let workload = Workload::start();
        let mut enforcer = Enforcer::load().unwrap();
        let path = workload.cgroup.path();
        let id = enforcer.attach(path, &to_port(ALLOWED_PORT), Mode::Enforce, Fallback::KeepPolicy).unwrap();
        let deny = rule("never", Direction::Out, "127.0.0.0/8", Protocol::Tcp, Ports::ALL, Verdict::Deny);
        enforcer.shadow(id, Some(&only(vec![deny]))).unwrap();
        enforcer.events();
        let mut stream = workload.tcp4();
        assert!(!is_refused_to(&stream, ALLOWED_PORT));
        let mut connected = TcpStream::from(std::mem::replace(&mut stream, workload.tcp4()));
        connected.write_all(b"judged twice").unwrap();
        assert!(listeners.received(b"judged twice", SOON));
        let events = enforcer.events();
        let differs = events.iter().find(|event| event.candidate_differs).expect("an event of the difference");
        assert_eq!((differs.verdict, differs.candidate_rule), (Verdict::Allow, Some(0)), "{differs:?}");
        assert_eq!(enforcer.counters().unwrap().candidate_differs, 1);
        enforcer.shadow(id, None).unwrap();
        assert!(!is_refused_to(&stream, ALLOWED_PORT));
        assert_eq!(enforcer.counters().unwrap().candidate_differs, 1);
    });
}
