use sekisho_identity::Standing;

use super::*;

const A: &str = "/spire/agent/a";

async fn with_agents(agents: &[&str]) -> Run {
    let run = Run::begin(MemoryStore::default()).await;
    for agent in agents {
        run.node(node(agent, &[])).await;
    }
    run
}

async fn connected(run: &Run, path: &str) -> Agent {
    let mut agent = Agent::new(path);
    agent.connect(run);
    agent.read().await;
    agent
}

#[test]
fn a_change_wakes_those_whom_it_concerns() {
    simulated(1, async {
        let run = with_agents(&[A, "/spire/agent/b", "/spire/agent/c"]).await;
        run.node(node("/spire/agent/c", &["node:zone:1", "node:kind:x"])).await;
        let mut agents = vec![];
        for path in [A, "/spire/agent/b", "/spire/agent/c"] {
            agents.push(connected(&run, path).await);
        }
        let woken = |changes: Vec<sekisho_store::Change>| {
            let concerned = run.view.apply(None, &changes);
            run.delivery.streams.index().wake(&concerned)
        };
        let put = |entry: Entry| sekisho_store::Change::Entry(Arc::new(entry));
        assert_eq!(woken(vec![put(entry("1", "/spire/agent/none", "/w"))]), 0);
        assert_eq!(woken(vec![put(entry("1", A, "/w"))]), 1, "it came");
        assert_eq!(woken(vec![put(entry("1", "/spire/agent/b", "/w"))]), 2, "one lost it, one got it");
        let zone = Selector::parse("node:zone:1").unwrap();
        let alias = |selectors: &[&Selector]| Entry {
            selectors: selectors.iter().copied().cloned().collect(),
            ..entry("2", "/spire/server", "/alias")
        };
        assert_eq!(woken(vec![put(alias(&[&zone]))]), 1, "the one node that it selects");
        for agent in &mut agents {
            agent.read().await;
        }
        assert_eq!(woken(vec![put(entry("3", "/alias", "/w"))]), 1);
        assert_eq!(woken(vec![sekisho_store::Change::EntryRemoved(EntryId::parse("3").unwrap())]), 1);
        assert_eq!(
            woken(vec![put(alias(&[&zone, &Selector::parse("node:kind:none").unwrap()]))]),
            1,
            "it selected one"
        );
        assert_eq!(woken(vec![put(alias(&[&zone, &Selector::parse("node:kind:none").unwrap()]))]), 0);
        assert_eq!(woken(vec![sekisho_store::Change::Node(Arc::new(node(A, &[])))]), 1);
        drop(agents);
        assert_eq!(run.delivery.streams.index().len(), 0, "streams that went leave nothing");
    });
}

#[test]
fn a_returning_agent_gets_only_changes() {
    simulated(2, async {
        let run = with_agents(&[A]).await;
        for number in 0..20 {
            run.put(entry(&format!("e{number}"), A, "/w")).await;
        }
        let mut agent = connected(&run, A).await;
        assert_eq!(agent.held.len(), 20);
        agent.feed = None;
        run.put(Entry { revision_number: 1, ..entry("e3", A, "/w") }).await;
        run.write(Write::RemoveEntry(EntryId::parse("e4").unwrap())).await;
        // To the same run, and to the next one, which knows the past from its database.
        agent.connect(&run);
        let sent = agent.read().await;
        assert_eq!((sent.len(), sent[0].complete, sent[0].entries.len()), (1, false, 1));
        assert_eq!(sent[0].removed_entry_ids, ["e4"]);
        agent.feed = None;
        let next = Run::begin(run.store.clone()).await;
        next.put(entry("new", A, "/w")).await;
        agent.connect(&next);
        let sent = agent.read().await;
        assert_eq!((sent.len(), sent[0].complete, sent[0].entries.len()), (1, false, 1));
        assert_eq!(agent.held, next.authorized(&agent.id));
        // Without a position, everything.
        agent.position = None;
        agent.connect(&next);
        let sent = agent.read().await;
        assert_eq!((sent[0].complete, sent[0].entries.len()), (true, 20));
    });
}

#[test]
fn a_restored_state_is_another_history() {
    simulated(3, async {
        let run = with_agents(&[A]).await;
        run.put(entry("kept", A, "/w")).await;
        // The folder is copied here, with the epoch of this run.
        let copy = MemoryStore::default();
        let epoch = run.store.past(&domain(), 0).await.unwrap().epochs[0].epoch;
        let node: Write = Write::PutNode(Arc::new(node(A, &[])));
        for write in [Write::BeginEpoch(epoch), node, Write::PutEntry(Arc::new(entry("kept", A, "/w")))] {
            copy.commit(Batch::of(&domain(), write)).await.unwrap();
        }
        run.put(entry("lost", A, "/w")).await;
        let mut agent = connected(&run, A).await;
        assert_eq!((agent.held.len(), agent.position.as_ref().unwrap().1), (2, 3));
        agent.feed = None;
        let other = Run::begin(copy).await;
        for number in 0..5 {
            other.put(entry(&format!("o{number}"), A, "/w")).await;
        }
        agent.connect(&other);
        let sent = agent.read().await;
        assert!(sent[0].complete && sent[0].revision > 3);
        assert_eq!(agent.held, other.authorized(&agent.id));
    });
}

#[test]
fn a_second_stream_replaces_the_first() {
    simulated(4, async {
        let run = with_agents(&[A]).await;
        let mut first = connected(&run, A).await;
        let mut second = connected(&run, A).await;
        let ended = first.next().await.unwrap().unwrap_err();
        assert_eq!(ended, CloseReason::Replaced);
        assert!(first.next().await.is_none(), "its status is the last that it says");
        drop(first);
        run.put(entry("e", A, "/w")).await;
        assert_eq!(second.read().await.len(), 1, "the second goes on when the first is gone");
        for _ in 0..1000 {
            second = connected(&run, A).await;
        }
        assert_eq!((run.delivery.streams.index().len(), second.held.len()), (1, 1));
    });
}

#[test]
fn law_l6_a_slow_reader_gets_nothing_removed() {
    simulated(5, async {
        let run = with_agents(&[A]).await;
        for number in 0..1200 {
            run.put(entry(&format!("e{number:04}"), A, "/w")).await;
        }
        let mut agent = Agent::new(A);
        agent.connect(&run);
        let first = agent.next().await.unwrap().unwrap();
        assert!(first.more && first.complete && first.entries.len() == 500);
        run.write(Write::RemoveEntry(EntryId::parse("e0600").unwrap())).await;
        let second = agent.next().await.unwrap().unwrap();
        assert!(second.more && second.entries.iter().all(|entry| entry.id != "e0600") && second.entries.len() == 499);
        run.node(Node { banned: true, ..node(A, &[]) }).await;
        let refused = agent.next().await.unwrap().unwrap_err();
        assert_eq!(refused, CloseReason::Standing(Standing::Banned));
        assert!(agent.next().await.is_none());
    });
}

#[test]
fn law_l12_expired_entries_and_banned_agents_are_dropped() {
    simulated(6, async {
        let run = with_agents(&[A]).await;
        let mut agent = connected(&run, A).await;
        run.put(Entry { expires_at: Some(now().plus_seconds(3)), ..entry("short", A, "/w") }).await;
        agent.read().await;
        assert_eq!(agent.held.len(), 1);
        let began = sekisho_ports::instant();
        let message = agent.feed.as_mut().unwrap().next().await.unwrap().unwrap();
        assert_eq!(message.removed_entry_ids, ["short"]);
        let took = began.elapsed();
        assert!(took > Duration::from_millis(2900) && took < Duration::from_millis(3100), "{took:?}");
        run.node(Node { banned: true, ..node(A, &[]) }).await;
        assert_eq!(agent.next().await.unwrap().unwrap_err(), CloseReason::Standing(Standing::Banned));
    });
}

#[test]
fn law_l9_a_stalled_reader_is_not_buffered() {
    simulated(7, async {
        let run = with_agents(&[A]).await;
        let mut agent = connected(&run, A).await;
        run.put(entry("mine", A, "/w")).await;
        let others: Vec<_> = (0..=KEPT)
            .map(|number| sekisho_store::Change::Entry(Arc::new(entry(&format!("o{number}"), "/spire/agent/o", "/w"))))
            .collect();
        run.view.apply(None, &others);
        let sent = agent.read().await;
        assert!(sent.len() == 1 && sent[0].complete, "what changed meanwhile is known no more");
        assert_eq!(agent.held, run.authorized(&agent.id));
    });
}
