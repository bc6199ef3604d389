//! For random sequences of commits, reads, losses and restarts: what an agent holds is what it may have.

use super::*;

/// A number below `count`, by the seed.
fn random(count: u64) -> u64 {
    Machine::current().unwrap().random() % count.max(1)
}

fn pick<T: Copy>(from: &[T]) -> T {
    from[usize::try_from(random(from.len() as u64)).unwrap()]
}

const AGENTS: [&str; 2] = ["/spire/agent/a", "/spire/agent/b"];
const SELECTORS: [&[&str]; 4] = [&[], &["node:zone:1"], &["node:zone:1", "node:kind:x"], &["node:kind:y"]];

/// An entry below an agent, below an alias, or below another entry's identity; or an alias itself.
fn some_entry(number: u64) -> Entry {
    let name = format!("e{}", random(14));
    let path = pick(&["/w/1", "/w/2", "/inner/1", "/inner/2"]);
    let mut made = match random(10) {
        0 | 1 => Entry {
            selectors: pick(&SELECTORS[1..]).iter().map(|text| Selector::parse(text).unwrap()).collect(),
            ..entry(&name, "/spire/server", pick(&["/alias/1", "/alias/2"]))
        },
        2 | 3 => entry(&name, pick(&["/alias/1", "/alias/2"]), path),
        4 | 5 => entry(&name, pick(&["/inner/1", "/inner/2"]), path),
        _ => entry(&name, pick(&AGENTS), path),
    };
    made.revision_number = i64::try_from(number).unwrap();
    if random(4) == 0 {
        made.expires_at = Some(UnixTime::from_seconds(now().seconds() + i64::try_from(random(40)).unwrap()));
    }
    made
}

struct Simulation {
    run: Run,
    /// All that was written, so that a state can be put back to an earlier moment.
    writes: Vec<Write>,
    agents: Vec<Agent>,
}

impl Simulation {
    async fn write(&mut self, write: Write) {
        // Shown if the test fails.
        println!("{write:?}");
        self.writes.push(write.clone());
        self.run.write(write).await;
    }

    /// A state that holds the first `count` writes.
    async fn put_back(&mut self, count: usize) {
        println!("put back to {count} of {} writes", self.writes.len());
        self.writes.truncate(count);
        let store = MemoryStore::default();
        for write in &self.writes {
            store.commit(Batch::of(&domain(), write.clone())).await.unwrap();
        }
        self.begin(store).await;
    }

    async fn begin(&mut self, store: MemoryStore) {
        println!("a run begins");
        self.run = Run::begin(store).await;
        let epoch = self.run.store.past(&domain(), 0).await.unwrap().epochs.last().unwrap().epoch;
        self.writes.push(Write::BeginEpoch(epoch));
        self.agents.iter_mut().for_each(|agent| agent.feed = None);
    }

    async fn step(&mut self, number: u64) {
        match random(20) {
            0..=7 => self.write(Write::PutEntry(Arc::new(some_entry(number)))).await,
            8..=10 => {
                let id = EntryId::parse(&format!("e{}", random(14))).unwrap();
                self.write(Write::RemoveEntry(id)).await;
            }
            11 => {
                let node = Node { banned: random(4) == 0, ..node(pick(&AGENTS), pick(&SELECTORS)) };
                self.write(Write::PutNode(Arc::new(node))).await;
            }
            12 => tokio::time::sleep(Duration::from_secs(random(15))).await,
            13..=15 => drop(self.agents[usize::try_from(random(2)).unwrap()].read().await),
            // The connection is lost, or a second one opened.
            16 => self.agents[usize::try_from(random(2)).unwrap()].feed = None,
            17 => self.agents[usize::try_from(random(2)).unwrap()].connect(&self.run),
            18 if random(4) == 0 => self.begin(self.run.store.clone()).await,
            19 if random(6) == 0 => {
                // Both agents have a node from the third write on.
                let count = 3 + random(self.writes.len() as u64 - 3);
                self.put_back(usize::try_from(count).unwrap()).await;
            }
            _ => self.check().await,
        }
    }

    async fn check(&mut self) {
        // Ends that have passed by now.
        tokio::time::sleep(Duration::from_millis(1001)).await;
        for agent in &mut self.agents {
            let banned = self.run.view.read(|state| state.nodes[&agent.id].banned);
            if agent.feed.is_none() {
                agent.connect(&self.run);
            }
            let sent = agent.read().await;
            assert!(!banned || sent.is_empty(), "law L6");
            if banned {
                continue;
            }
            let (held, expected) = (&agent.held, self.run.authorized(&agent.id));
            assert_eq!(*held, expected, "{}", agent.id);
        }
    }
}

#[test]
fn an_agent_holds_exactly_its_own_entries() {
    let seeds = std::env::var("SEKISHO_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(40);
    for seed in 0..seeds {
        simulated(seed, async {
            let run = Run::begin(MemoryStore::default()).await;
            let epoch = run.store.past(&domain(), 0).await.unwrap().epochs[0].epoch;
            let agents = AGENTS.map(Agent::new).into();
            let mut simulation = Simulation { run, writes: vec![Write::BeginEpoch(epoch)], agents };
            for path in AGENTS {
                simulation.write(Write::PutNode(Arc::new(node(path, &[])))).await;
            }
            for number in 0..300 {
                simulation.step(number).await;
            }
            simulation.check().await;
        });
    }
}
