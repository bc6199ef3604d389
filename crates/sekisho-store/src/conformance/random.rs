use std::sync::{Arc, Mutex};

use sekisho_identity::{Entry, Node, Revoked};
use sekisho_types::Revision;

use super::samples::{at, creation, domain, entry, entry_id, id, leaf, node};
use crate::{Batch, EntryVersion, Expect, Item, SpoolPosition, Store, TokenRecord, Write};

const ROUNDS: u64 = 400;

/// xorshift64*: the same sequence each time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit
    }

    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[usize::try_from(self.below(all.len() as u64)).unwrap()]
    }

    fn item(&mut self, round: u64) -> Item {
        let (name, parent) = (self.of(&["a", "b", "c", "d"]), self.of(&["/p", "/q", "/a", "/b"]));
        let (path, agent) = (self.of(&["/a", "/b", "/c"]), self.of(&["/n", "/m"]));
        let serial = self.of(&["1", "2", "3"]);
        let seconds = i64::try_from(self.below(5000)).unwrap();
        let item = match self.below(16) {
            0..=3 => creation(name, parent, path),
            4 => {
                let after = Entry { revision_number: 1, ..entry(name, parent, path) };
                let before = EntryVersion::of(&entry(name, parent, path));
                Item::default().expect(Expect::Entry(before)).write(Write::PutEntry(Arc::new(after)))
            }
            5 => Write::RemoveEntry(entry_id(name)).into(),
            6 => Item::from(Write::RemoveEntry(entry_id(name)))
                .expect(Expect::Children { parent: id(path), ids: [].into() }),
            7 => Write::PutNode(Arc::new(Node { banned: self.below(4) == 0, ..node(agent, serial) })).into(),
            8 => {
                let renewal = Write::RenewNode {
                    id: id(agent),
                    serial: serial.into(),
                    previous_serial: Some(self.of(&["1", "2"]).into()),
                    expires_at: at(seconds),
                };
                let stands = Expect::Standing { agent: id(agent), serial: self.of(&["1", "2", "3"]).into() };
                Item::from(renewal).expect(stands)
            }
            9 => Write::RemoveNode { id: id(agent), at: at(9) }.into(),
            10 => {
                let token = TokenRecord { hash: name.into(), agent_id: id(agent), expires_at: at(seconds) };
                Item::from(Write::PutToken(token)).expect(Expect::NoToken(name.into()))
            }
            11 => Item::from(Write::SpendToken(name.into())).expect(Expect::Token { hash: name.into(), at: at(2000) }),
            12 => {
                let position = SpoolPosition { next: self.below(3), log_index: round, lost: 0 };
                Write::PutSpool { node: id(agent), spool: name.into(), position }.into()
            }
            13 | 14 => {
                let (what, until) = (Revoked::SpiffeId(id(path)), at(seconds + 100));
                Write::Revoke { what, reason: "was deleted".into(), at: at(seconds), until }.into()
            }
            _ => Write::PutFormerParent { id: id(path), parent: id(parent), until: at(seconds) }.into(),
        };
        if self.below(2) == 0 { item.record(leaf(name)) } else { item }
    }
}

pub(super) async fn compare(one: &dyn Store, two: &dyn Store) {
    let mut random = Random(0x5eed);
    let heard = [one, two].map(|store| {
        let heard = Arc::new(Mutex::new(String::new()));
        let to = heard.clone();
        store.observe(Box::new(move |delta| *to.lock().unwrap() = format!("{delta:?}")));
        heard
    });
    let (mut conflicts, mut kept) = (0, 0);
    for round in 0..ROUNDS {
        let items: Vec<Item> = (0..=random.below(4)).map(|_| random.item(round)).collect();
        let batch = Batch::new(&domain(), items);
        let committed = one.commit(batch.clone()).await.unwrap();
        assert_eq!(two.commit(batch.clone()).await.unwrap(), committed, "{batch:?}");
        assert_eq!(*heard[0].lock().unwrap(), *heard[1].lock().unwrap(), "{batch:?}");
        conflicts += committed.outcomes.iter().filter(|outcome| outcome.is_err()).count();
        kept += committed.outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        if round % 20 == 0 {
            assert_eq!(everything(one).await, everything(two).await);
        }
    }
    assert_eq!(everything(one).await, everything(two).await);
    assert!(conflicts > 100 && kept > 100, "{conflicts} of {} conflicted", conflicts + kept);
}

async fn everything(store: &dyn Store) -> String {
    let td = domain();
    let mut spools = vec![];
    for (agent, name) in [("/n", "a"), ("/n", "b"), ("/m", "c"), ("/m", "d")] {
        spools.push(store.spool(&td, &id(agent), name).await.unwrap());
    }
    let leaves: Vec<_> = store.outbox(&td, 1 << 20).await.unwrap().into_iter().map(|l| (l.leaf, l.side)).collect();
    format!(
        "{:#?} {:#?} {:#?} {spools:?} {leaves:?} {:?}",
        store.snapshot(&td).await.unwrap(),
        store.history(&td, Revision(0)).await.unwrap(),
        store.tokens(&td).await.unwrap(),
        store.former_parents(&td, &id("/a")).await.unwrap(),
    )
}
